"""Compiled blocks compute what they did before."""

from __future__ import annotations

import copy
import shutil

import pytest
import torch

from pcm3.encoders.transformer import Block
from pcm3.methods.mamp import MAMPSettings
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.skeleton import NTU25
from pcm3.training.devices import compile_blocks


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
def test_mamp() -> None:
    torch.manual_seed(0)
    settings = MAMPSettings(frames=16, width=8, depth=1, heads=2, decoder_depth=1, mask_ratio=0.8)
    model = settings.build(NTU25, persons=1)
    compiled = copy.deepcopy(model)
    compile_blocks(compiled)
    blocks = [module for module in compiled.modules() if isinstance(module, Block)]
    assert len(blocks) == 2
    assert all(block._compiled_call_impl is not None for block in blocks)
    views = model.make_views(torch.randn(2, 3, 20, 25, 1))
    totals = [each.loss(views).total for each in (model, compiled)]
    torch.testing.assert_close(totals[1], totals[0])
    for total in totals:
        total.backward()
    for own, theirs in zip(compiled.parameters(), model.parameters(), strict=True):
        torch.testing.assert_close(own.grad, theirs.grad, rtol=1e-3, atol=1e-6)
    assert compiled.state_dict().keys() == model.state_dict().keys()


def test_nothing_to_compile() -> None:
    model = PCM3Settings(hidden=4, layers=1, frames=16, queue_size=4).build(NTU25, persons=1)
    with pytest.raises(ValueError, match=r"blocks.*PCM3"):
        compile_blocks(model)
