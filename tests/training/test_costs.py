"""Counted operations against their formulas."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pcm3.skeleton import NTU25
from pcm3.training.config import MAMPConfig, PCM3Config
from pcm3.training.costs import count

HIDDEN, FRAMES, QUEUE, WIDTH = 6, 16, 10, 4
RECURRENT = PCM3Config(
    hidden=HIDDEN, layers=2, frames=FRAMES, embedding=WIDTH, decoder_hidden=5, queue_size=QUEUE
)


def gru(size: int, hidden: int) -> int:
    """Of a frame."""
    return 3 * hidden * (size + hidden)


@pytest.mark.parametrize("persons", [1, 2])
def test_pcm3(persons: int) -> None:
    frame, features = 75 * persons, 2 * HIDDEN
    encoding = FRAMES * 2 * (gru(frame, HIDDEN) + gru(features, HIDDEN))
    decoding = FRAMES * (features * 5 + 5 * 5 + 2 * gru(5, 5) + 5 * frame)
    projection = features * features + features * WIDTH
    losses = 4 * (WIDTH * QUEUE) * 2  # of queries, once for both losses, and of keys
    projector = count(RECURRENT.build(NTU25, persons)).forward - 5 * encoding - 2 * decoding
    assert projector == 5 * projection + losses


def test_the_clip_view_is_one_more_encoding() -> None:
    more = replace(RECURRENT, positives=(*RECURRENT.positives, "clip"))
    one, other = (count(config.build(NTU25, 1)) for config in (RECURRENT, more))
    encoding = FRAMES * 2 * (gru(75, HIDDEN) + gru(2 * HIDDEN, HIDDEN))
    assert other.forward - one.forward > encoding
    assert other.step - one.step > 2.5 * encoding  # both gradients of nearly every product


def test_mamp_counts_visible_tokens_in_the_encoder_and_attention() -> None:
    settings = MAMPConfig(frames=16, width=8, depth=2, heads=2, decoder_depth=1, mask_ratio=0.8)
    tokens, width = 4 * 25, 8
    model = settings.build(NTU25, 1)
    visible = model.masking.visible(tokens)

    def block(count: int) -> int:
        return count * 12 * width * width + 2 * count * count * width

    encoding = visible * 12 * width + 2 * block(visible)
    decoding = visible * width * width + block(tokens) + tokens * width * 12
    assert count(model).forward == encoding + decoding


def test_the_model_is_left_as_it_is() -> None:
    model = RECURRENT.build(NTU25, 1).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    costs = count(model)
    assert costs.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert not model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())
