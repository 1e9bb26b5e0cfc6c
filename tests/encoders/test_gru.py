"""The recurrent encoder: recorded numbers, torch's own GRUs, and what it promises."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pcm3.encoders import Encoder, GRUEncoder
from pcm3.prompts import DomainPrompt
from pcm3.skeleton import KINECT20


def rich_encoder(dtype: torch.dtype = torch.float32, seed: int = 0, **options: Any) -> GRUEncoder:
    """An encoder whose normalisation is not the identity, in evaluation mode."""
    torch.manual_seed(seed)
    encoder = GRUEncoder(**{"hidden": 16, **options})
    norm = encoder.input_norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    for values, low, high in (
        (norm.weight.data, 0.5, 1.5),
        (norm.bias.data, -0.5, 0.5),
        (norm.running_mean, -0.5, 0.5),
        (norm.running_var, 0.5, 2.0),
    ):
        values.uniform_(low, high)
    return encoder.to(dtype).eval()


def normalized_vectors(encoder: GRUEncoder, clips: Tensor) -> Tensor:
    """The input of the GRUs, entry by entry: joint-major, then coordinate, then person."""
    batch, channels, frames, joints, persons = clips.shape
    norm = encoder.input_norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    vectors = clips.new_zeros(batch, frames, joints * channels * persons)
    for v in range(joints):
        for c in range(channels):
            for m in range(persons):
                at = v * channels * persons + c * persons + m
                scale = norm.weight[at] / (norm.running_var[at] + norm.eps).sqrt()
                shifted = clips[:, c, :, v, m] - norm.running_mean[at]
                vectors[:, :, at] = shifted * scale + norm.bias[at]
    return vectors


def torch_gru(encoder: GRUEncoder) -> nn.GRU:
    """One ``nn.GRU`` with all of the encoder's weights."""
    args, inputs = encoder.arguments, encoder.input_norm.num_features
    both = encoder.feature_blocks == 2
    gru = nn.GRU(inputs, args["hidden"], args["layers"], batch_first=True, bidirectional=both)
    gru = gru.to(encoder.input_norm.weight.dtype)
    weights = {}
    for layer, pair in enumerate(encoder.layers):
        assert isinstance(pair, nn.ModuleList)
        for which, cell in enumerate(pair):
            for name, weight in cell.state_dict().items():
                weights[name[:-1] + str(layer) + ("_reverse" if which else "")] = weight
    gru.load_state_dict(weights)
    return gru


def frame_by_frame(gru: nn.GRU, vectors: Tensor) -> Tensor:
    state, outputs = None, []
    for frame in vectors.split(1, dim=1):
        output, state = gru(frame, state)
        outputs.append(output)
    return torch.cat(outputs, dim=1)


def largest(values: Tensor) -> float:
    return float(values.detach().abs().max())


def some_clips(
    *shape: int, dtype: torch.dtype = torch.float32, seed: int = 1, scale: float = 1.0
) -> Tensor:
    noise = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return (scale * noise).to(dtype)


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-6), (torch.float64, 1e-12)])
def test_causal_pair_equals_a_bidirectional_gru_fed_frame_by_frame(
    dtype: torch.dtype, bound: float
) -> None:
    encoder = rich_encoder(dtype)
    clips = some_clips(4, 3, 64, 25, 2, dtype=dtype, scale=0.5)
    expected = frame_by_frame(torch_gru(encoder), normalized_vectors(encoder, clips))
    assert largest(encoder(clips) - expected) < bound


def test_causal_pair_gradients_equal_the_stepwise_ones() -> None:
    encoder = rich_encoder(torch.float64, layers=2)
    clips = some_clips(2, 3, 12, 25, 2, dtype=torch.float64).requires_grad_()
    encoder(clips).square().sum().backward()
    twin = clips.detach().clone().requires_grad_()
    gru = torch_gru(encoder)
    frame_by_frame(gru, normalized_vectors(encoder, twin)).square().sum().backward()
    assert clips.grad is not None
    torch.testing.assert_close(clips.grad, twin.grad, rtol=1e-10, atol=1e-12)
    cell: Any = encoder.layers[1]
    torch.testing.assert_close(
        cell[1].weight_hh_l0.grad, gru.weight_hh_l1_reverse.grad, rtol=1e-10, atol=1e-12
    )


def test_directions_differ_and_bidirectional_is_torchs() -> None:
    causal = rich_encoder()
    true = GRUEncoder(hidden=16, direction="bidirectional").eval()
    true.load_state_dict(causal.state_dict())
    clips = some_clips(4, 3, 64, 25, 2)
    expected, _ = torch_gru(causal)(normalized_vectors(causal, clips))
    assert largest(true(clips) - expected) < 1e-6
    assert largest(causal(clips) - true(clips)) > 0.1


def test_forward_is_one_gru() -> None:
    encoder = rich_encoder(direction="forward")
    clips = some_clips(3, 3, 20, 25, 2)
    expected, _ = torch_gru(encoder)(normalized_vectors(encoder, clips))
    assert encoder.out_features == 16
    assert encoder.feature_blocks == 1
    assert largest(encoder(clips) - expected) < 1e-6


@pytest.mark.parametrize("direction", ["causal_pair", "forward", "bidirectional"])
def test_only_a_bidirectional_encoder_looks_ahead(direction: str) -> None:
    encoder = rich_encoder(direction=direction)
    clips = some_clips(2, 3, 16, 25, 2)
    changed = clips.clone()
    changed[:, :, 10:] += 1
    before, after = encoder(clips), encoder(changed)
    assert not torch.equal(before[:, 10:], after[:, 10:])
    looks_ahead = not torch.equal(before[:, :10], after[:, :10])
    assert looks_ahead == (direction == "bidirectional")


@settings(deadline=None, max_examples=10)
@given(
    sizes=st.tuples(*[st.integers(1, 4)] * 3),
    prompted=st.tuples(*[st.booleans()] * 3),
    training=st.booleans(),
)
def test_encode_views_equals_one_call_a_view(
    sizes: tuple[int, ...], prompted: tuple[bool, ...], training: bool
) -> None:
    together = rich_encoder(hidden=4, layers=2)
    together.train(training)
    apart = copy.deepcopy(together)
    views = [
        some_clips(size, 3, 6, 25, 2, seed=at, scale=at + 1.0) for at, size in enumerate(sizes)
    ]
    prompts = [
        some_clips(3, 25, 2, seed=9 + at) if use else None for at, use in enumerate(prompted)
    ]
    results = together.encode_views(views, prompts)
    expected = Encoder.encode_views(apart, views, prompts)
    for result, wanted in zip(results, expected, strict=True):
        torch.testing.assert_close(result, wanted, rtol=1e-5, atol=1e-6)
    for name, buffer in apart.input_norm.named_buffers():
        torch.testing.assert_close(together.input_norm.get_buffer(name), buffer)


def test_a_prompt_is_added_after_the_normalization() -> None:
    encoder = rich_encoder(layers=1)
    clips, prompt = some_clips(2, 3, 5, 25, 2), some_clips(3, 25, 2, seed=4)
    vector = torch.stack([prompt[c, v, m] for v in range(25) for c in range(3) for m in range(2)])
    expected = frame_by_frame(torch_gru(encoder), normalized_vectors(encoder, clips) + vector)
    assert largest(encoder(clips, prompt) - expected) < 1e-6


def test_pooling() -> None:
    frames = some_clips(2, 5, 32)
    last, mean = GRUEncoder(hidden=16), GRUEncoder(hidden=16, pool="mean")
    assert torch.equal(last.pool(frames), frames[:, 4])
    slow = torch.stack([sum(clip[t] for t in range(5)) / 5 for clip in frames])
    torch.testing.assert_close(mean.pool(frames), slow)


@pytest.mark.parametrize("direction", ["causal_pair", "forward", "bidirectional"])
def test_arguments_build_an_equal_encoder(direction: str) -> None:
    encoder = GRUEncoder(
        KINECT20, 2, persons=1, hidden=6, layers=2, direction=direction, pool="mean"
    ).eval()
    twin = GRUEncoder(**encoder.arguments).eval()
    twin.load_state_dict(encoder.state_dict())
    clips = some_clips(2, 2, 7, 20, 1)
    assert torch.equal(twin(clips), encoder(clips))
    assert twin.arguments == encoder.arguments
    assert torch.equal(twin.pool(twin(clips)), encoder.pool(encoder(clips)))


def test_weights_start_xavier_uniform_and_biases_like_torch() -> None:
    encoder = GRUEncoder(hidden=64)
    for name, weight in encoder.layers.named_parameters():
        bound = (6 / sum(weight.shape)) ** 0.5 if weight.ndim == 2 else 64**-0.5
        assert 0.9 * bound < largest(weight) <= bound, name


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"direction": "backward"}, r"causal_pair.*got 'backward'"),
        ({"pool": "max"}, "pool.*last.*mean.*'max'"),
        ({"hidden": 0}, "hidden >= 1"),
        ({"layers": 0}, "layers >= 1"),
        ({"persons": 0}, r"persons >= 1.*0"),
        ({"skeleton_or_joints": 0}, r"joints >= 1.*0"),
        ({"skeleton_or_joints": "ntu25"}, r"Skeleton.*'ntu25'"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        GRUEncoder(**options)


@pytest.mark.parametrize(
    ("prompt", "got"),
    [(DomainPrompt(), r"pcm3\.prompts\.DomainPrompt"), (torch.zeros(4), r"\(4,\)")],
    ids=["module", "lengths"],
)
def test_prompts_that_do_not_fit(prompt: Any, got: str) -> None:
    encoder, clips = GRUEncoder(hidden=4), torch.zeros(4, 3, 8, 25, 2)
    message = rf"\(C=3, V=25, M=2\).*DomainPrompt.*{got}"
    with pytest.raises(ValueError, match=message):
        encoder(clips, prompt=prompt)
    with pytest.raises(ValueError, match=message):
        encoder.encode_views([clips], [prompt])


@pytest.mark.parametrize(
    "shape", [(2, 3, 8, 20, 2), (2, 3, 8, 25, 1), (2, 2, 8, 25, 2), (3, 8, 25, 2), (0, 3, 8, 25, 2)]
)
def test_clips_that_do_not_fit(shape: tuple[int, ...]) -> None:
    encoder = GRUEncoder(hidden=4)
    with pytest.raises(ValueError, match=r"\(N, C=3, T, V=25, M=2\)") as raised:
        encoder(torch.zeros(shape))
    assert str(shape) in str(raised.value)


def test_settings_are_shown() -> None:
    shown = repr(GRUEncoder(25, persons=1, hidden=4, layers=1, pool="mean"))
    assert "direction='causal_pair', pool='mean'" in shown


def test_other_joints_are_zero_where_they_cannot_be_left_out() -> None:
    encoder = GRUEncoder(25, hidden=4, layers=1).eval()
    clips, joints = torch.randn(2, 3, 6, 25, 2), torch.tensor([[0, 3, 4], [24, 1, 2]])
    erased = torch.zeros_like(clips)
    for n, kept in enumerate(joints):
        erased[n, :, :, kept] = clips[n, :, :, kept]
    assert torch.equal(encoder.encode_joints(clips, joints), encoder(erased))
    with pytest.raises(NotImplementedError, match="maps"):
        encoder.maps(clips)
