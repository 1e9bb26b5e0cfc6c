"""An untrained encoder, for tests that have none of their own."""

from __future__ import annotations

import pytest
import torch

from pcm3.encoders import GRUEncoder
from pcm3.hub import Pretrained
from pcm3.skeleton import NTU25


@pytest.fixture(scope="module")
def pretrained() -> Pretrained:
    torch.manual_seed(0)
    encoder = GRUEncoder(25, persons=1, hidden=8, layers=1, pool="mean").eval()
    return Pretrained(encoder, NTU25, "joint", 16)
