"""Prompts: where they go, how they start, and when they act at all."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pcm3.encoders import GRUEncoder
from pcm3.methods import PCM3
from pcm3.methods.pcm3 import PromptPosition
from pcm3.prompts import DomainPrompt, TaskPrompt
from pcm3.skeleton import SBU15


@settings(deadline=None, max_examples=40)
@given(
    blocks=st.integers(1, 3),
    block=st.integers(1, 12),
    share=st.integers(1, 12),
    offset=st.integers(0, 11),
    leading=st.sampled_from([(2,), (2, 3)]),
)
def test_task_prompt_adds_its_share_to_every_block(
    blocks: int, block: int, share: int, offset: int, leading: tuple[int, ...]
) -> None:
    share = min(share, block)
    prompt = TaskPrompt(blocks * block, blocks, width=blocks * share)
    offset = min(offset, prompt.offsets - 1)
    features = torch.randn(*leading, blocks * block)
    expected = features.detach().clone()
    for index in range(blocks):
        for channel in range(share):
            expected[..., index * block + offset + channel] += prompt.vector[
                index * share + channel
            ].detach()
    result = prompt(features, torch.tensor(offset))
    torch.testing.assert_close(result, expected, rtol=0, atol=0)


def test_published_task_prompt_has_896_offsets_and_fits_at_all_of_them() -> None:
    prompt = TaskPrompt(2048, blocks=2)
    assert prompt.vector.shape == (256,)
    assert prompt.offsets == 896
    for offset in (0, 895):
        changed = prompt(torch.zeros(1, 2048), torch.tensor(offset)).nonzero()[:, 1]
        assert changed.tolist() == [
            *range(offset, offset + 128),
            *range(1024 + offset, 1024 + offset + 128),
        ]


def test_task_prompt_gets_the_gradient_of_its_channels() -> None:
    prompt = TaskPrompt(8, blocks=2, width=4)
    weight = torch.arange(8.0)
    (prompt(torch.zeros(8), torch.tensor(1)) * weight).sum().backward()
    assert prompt.vector.grad is not None
    assert prompt.vector.grad.tolist() == [1, 2, 5, 6]


@pytest.mark.parametrize(
    ("features", "blocks", "width"), [(8, 3, 3), (8, 2, 3), (8, 2, 10), (8, 1, 0)]
)
def test_task_prompt_that_does_not_fit(features: int, blocks: int, width: int) -> None:
    with pytest.raises(ValueError, match=rf"\(0, {features}\] and {blocks} blocks.*width {width}"):
        TaskPrompt(features, blocks, width)


def test_initial_values_are_uniform_within_the_published_bounds() -> None:
    torch.manual_seed(0)
    domain = torch.cat([DomainPrompt().offset.detach().flatten() for _ in range(40)])
    task = torch.cat([TaskPrompt(2048, 2).vector.detach() for _ in range(40)])
    for values, bound in ((domain, 0.1414), (task, 0.1528)):
        assert bound * 0.99 < float(values.abs().max()) < bound * 1.001
        assert abs(float(values.mean())) < bound * 0.05
        assert float(values.std()) == pytest.approx(bound / 3**0.5, rel=0.05)


def test_domain_prompt_adds_itself_to_every_frame() -> None:
    prompt = DomainPrompt(4, 3, 2)
    clips = torch.randn(2, 3, 5, 4, 2)
    expected = torch.stack(
        [clips[:, :, t] + prompt.offset.detach() for t in range(clips.shape[2])], dim=2
    )
    torch.testing.assert_close(prompt(clips).detach(), expected, rtol=0, atol=0)


def test_domain_prompt_of_a_skeleton() -> None:
    assert DomainPrompt(SBU15, persons=1).offset.shape == (3, 15, 1)
    with pytest.raises(ValueError, match=r"Skeleton.*'sbu15'"):
        DomainPrompt("sbu15")  # type: ignore[arg-type]


def prompted_model(position: PromptPosition) -> tuple[PCM3, Tensor]:
    torch.manual_seed(0)
    model = PCM3(
        GRUEncoder(25, hidden=16),
        embedding=16,
        queue_size=64,
        decoder_hidden=16,
        frames=16,
        prompt_position=position,
    )
    return model, torch.randn(8, 3, 20, 25, 2)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("position", ["pre_norm", "post_norm"])
def test_prompts_before_batch_statistics_do_not_act(
    position: PromptPosition, training: bool
) -> None:
    model, clips = prompted_model(position)
    model.train(training)
    plain = model.encoder(clips)
    for name, prompt in model.domain_prompts.items():
        assert isinstance(prompt, DomainPrompt)
        if position == "pre_norm":
            prompted = model.encoder(prompt(clips))
        else:
            prompted = model.encoder(clips, prompt.offset)
        difference = float((prompted - plain).detach().abs().max())
        if position == "pre_norm" and training:
            assert difference < 1e-5, name
        else:
            assert difference > 1e-2, name


@pytest.mark.parametrize("position", ["pre_norm", "post_norm"])
def test_prompts_before_batch_statistics_do_not_learn(position: PromptPosition) -> None:
    model, clips = prompted_model(position)
    model.double()
    model(clips.double()).total.backward()
    contrast = model.task_prompts["contrast"].vector.grad.norm()
    for name, prompt in model.domain_prompts.items():
        assert isinstance(prompt, DomainPrompt)
        assert prompt.offset.grad is not None, name
        ratio = float(prompt.offset.grad.norm() / contrast)
        assert (ratio < 1e-5) == (position == "pre_norm"), (name, ratio)
