"""Counted operations against their formulas."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pcm3.methods.catalog import PRESETS
from pcm3.methods.mamp import MAMPSettings
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.methods.settings import TrainSettings
from pcm3.skeleton import NTU25
from pcm3.training.costs import count, estimate

HIDDEN, FRAMES, QUEUE, WIDTH = 6, 16, 10, 4
RECURRENT = PCM3Settings(
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
    settings = MAMPSettings(frames=16, width=8, depth=2, heads=2, decoder_depth=1, mask_ratio=0.8)
    tokens, width = 4 * 25, 8
    model = settings.build(NTU25, 1)
    visible = model.masking.visible(tokens)

    def block(count: int) -> int:
        return count * 12 * width * width + 2 * count * count * width

    encoding = visible * 12 * width + 2 * block(visible)
    decoding = visible * width * width + block(tokens) + tokens * width * 12
    assert count(model).forward == encoding + decoding


@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("small")])
def test_presets_cost_what_is_said(name: str) -> None:
    check_about(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PRESETS if name.startswith("ntu60-xsub")])
def test_large_presets_cost_what_is_said(name: str) -> None:
    check_about(name)


@pytest.mark.slow
def test_large_presets_with_a_deeper_decoder_cost_what_is_said() -> None:
    check_about("ntu120-xset-mamp")


def test_presets_of_one_architecture_cost_the_same() -> None:
    costs: dict[object, set[tuple[float, float]]] = {}
    for preset in PRESETS.values():
        model = preset.model
        if isinstance(model, MAMPSettings):
            fields = {"target": "motion", "motion_temperature": 0.0, "normalize_target": "patch"}
            model = replace(model, **fields)  # type: ignore[arg-type]
        costs.setdefault(model, set()).add((preset.parameters, preset.forward))
    assert all(len(each) == 1 for each in costs.values())


def check_about(name: str) -> None:
    costs, about = count(PRESETS[name].model.build(NTU25, 2)), PRESETS[name]
    assert about.parameters == pytest.approx(costs.parameters / 1e6, rel=2e-3)
    assert about.forward == pytest.approx(costs.forward / 1e9, rel=5e-3)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_memory_is_estimated_from_small_batches(precision: str) -> None:
    model = RECURRENT.build(NTU25, 1)
    train = TrainSettings(optimizer="adamw", accelerator="cpu", precision=precision)
    few, more, many = (estimate(model, replace(train, batch_size=size)) for size in (8, 16, 32))
    # what a batch needs grows with it, the rest stays
    assert many.bytes - more.bytes == pytest.approx(2 * (more.bytes - few.bytes), rel=0.05)
    trained = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    states = sum(value.nbytes for value in model.state_dict().values())
    assert few.bytes > states + 3 * trained
    plain = estimate(model, replace(train, batch_size=8, optimizer="sgd"))
    assert few.bytes - plain.bytes == pytest.approx(trained, rel=0.01)
    assert all(each.seconds > 0 for each in (few, more, many))


def test_the_model_is_left_as_it_is() -> None:
    model = RECURRENT.build(NTU25, 1).eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    costs = count(model)
    assert costs.parameters == sum(parameter.numel() for parameter in model.parameters())
    assert not model.training
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in model.parameters())
