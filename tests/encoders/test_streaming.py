"""Frame by frame equals all at once."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pcm3.encoders import GRUEncoder, STGCNEncoder, StreamingEncoder, TransformerEncoder
from pcm3.skeleton import NTU25, to_stream


def gru(dtype: torch.dtype = torch.float32, seed: int = 0, **options: Any) -> GRUEncoder:
    """A small encoder whose normalisation is not the identity, in evaluation mode."""
    torch.manual_seed(seed)
    encoder = GRUEncoder(**{"skeleton_or_joints": 5, "hidden": 8, "layers": 2, **options})
    norm = encoder.input_norm
    assert norm.running_mean is not None
    assert norm.running_var is not None
    norm.running_mean.uniform_(-0.5, 0.5)
    norm.running_var.uniform_(0.5, 2.0)
    return encoder.to(dtype).eval()


def recording(batch: int, frames: int, dtype: torch.dtype = torch.float32, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch, 3, frames, 5, 2, generator=generator, dtype=dtype)


@settings(deadline=None, max_examples=30)
@given(
    frames=st.integers(1, 90),
    batch=st.integers(1, 3),
    direction=st.sampled_from(["causal_pair", "forward"]),
    pool=st.sampled_from(["last", "mean"]),
    layers=st.integers(1, 3),
    double=st.booleans(),
)
def test_equals_the_whole_sequence(
    frames: int, batch: int, direction: str, pool: str, layers: int, double: bool
) -> None:
    dtype, bound = (torch.float64, 1e-12) if double else (torch.float32, 1e-5)
    encoder = gru(dtype, direction=direction, pool=pool, layers=layers)
    clips = recording(batch, frames, dtype)
    stream, features = StreamingEncoder(encoder), []
    whole = encoder(clips).detach()
    for t in range(frames):
        features.append(stream.push(clips[:, :, t]))
        assert (stream.pooled - encoder.pool(whole[:, : t + 1])).abs().max() < bound
    assert (torch.stack(features, dim=1) - whole).abs().max() < bound
    assert features[0].dtype == dtype


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_mean_keeps_moving_in_half_precision(dtype: torch.dtype) -> None:
    stream = StreamingEncoder(gru(dtype, pool="mean", layers=1))
    still, moving = recording(2, 2, dtype).unbind(dim=2)
    features = [stream.push(still) for _ in range(600)]
    features += [stream.push(moving) for _ in range(600)]
    mean = torch.stack(features).double().mean(dim=0)
    assert stream.pooled.dtype == dtype
    assert (stream.pooled.double() - mean).abs().max() < 4e-3


@pytest.mark.parametrize("pool", ["last", "mean"])
def test_one_recording_needs_no_batch(pool: str) -> None:
    encoder, clips = gru(pool=pool), recording(1, 7)
    one, batch = StreamingEncoder(encoder), StreamingEncoder(encoder)
    for t in range(7):
        feature, features = one.push(clips[0, :, t]), batch.push(clips[:, :, t])
        assert feature.shape == (16,)
        assert torch.equal(feature, features[0])
        assert torch.equal(one.pooled, batch.pooled[0])


def test_reset_starts_a_new_sequence() -> None:
    stream, clips = StreamingEncoder(gru(pool="mean")), recording(2, 6)
    first = [stream.push(clips[:, :, t]) for t in range(3)]
    pooled = stream.pooled
    stream.reset()
    assert stream.state is None
    stream.push(recording(4, 1)[:, :, 0])  # a new sequence may have another N
    stream.reset()
    again = [stream.push(clips[:, :, t]) for t in range(3)]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert torch.equal(stream.pooled, pooled)


def test_a_kept_state_goes_on_where_it_was() -> None:
    encoder, clips, other = gru(pool="mean"), recording(1, 10), recording(1, 10, seed=5)
    stream = StreamingEncoder(encoder)
    for t in range(5):
        stream.push(clips[:, :, t])
    state = stream.state
    stream.reset()
    for t in range(10):  # another camera in between
        stream.push(other[:, :, t])
    assert state is not None
    assert state.frames == 5
    stream.state = state
    for t in range(5, 10):
        stream.push(clips[:, :, t])
    torch.testing.assert_close(stream.pooled, encoder.pool(encoder(clips)).detach())


def test_a_kept_state_knows_whether_it_is_of_one_recording() -> None:
    stream, clips = StreamingEncoder(gru()), recording(2, 2)
    stream.push(clips[0, :, 0])
    one = stream.state
    stream.reset()
    stream.push(clips[:, :, 0])
    several, stream.state = stream.state, one
    assert stream.pooled.shape == (16,)
    stream.push(clips[0, :, 1])
    stream.state = several
    assert stream.pooled.shape == (2, 16)


def test_no_gradient_and_no_copy_of_the_weights() -> None:
    encoder = gru()
    stream = StreamingEncoder(encoder)
    frame = recording(1, 1)[0, :, 0].requires_grad_()
    before = stream.push(frame)
    assert not before.requires_grad
    assert not stream.pooled.requires_grad
    for parameter in encoder.layers.parameters():
        nn.init.zeros_(parameter)
    stream.reset()
    assert torch.equal(stream.push(frame), torch.zeros(16))


def test_bones_are_made_frame_by_frame() -> None:
    encoder = gru(skeleton_or_joints=25)
    clip = torch.randn(1, 3, 9, 25, 2, generator=torch.Generator().manual_seed(2))
    stream = StreamingEncoder(encoder)
    for frame in clip.split(1, dim=2):
        feature = stream.push(to_stream(frame, NTU25, "bone")[:, :, 0])
    expected = encoder(to_stream(clip, NTU25, "bone"))[:, -1].detach()
    torch.testing.assert_close(feature, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (
            GRUEncoder(5, hidden=2, direction="bidirectional").eval(),
            "GRUEncoder.*causal_pair.*forward.*GRUEncoder",
        ),
        (
            STGCNEncoder(NTU25, channels=2, layers=(1,)).eval(),
            "causal.*STGCNEncoder",
        ),
        (GRUEncoder(5, hidden=2), r"encoder\.eval\(\)"),
        (nn.GRU(3, 3), r"causal.*torch\..*GRU"),
    ],
    ids=["looks ahead", "graph", "training", "no encoder"],
)
def test_encoders_that_cannot(encoder: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StreamingEncoder(encoder)


@pytest.mark.parametrize("shape", [(3, 5), (3, 1, 5, 2, 1), (3, 4, 2), (2, 5, 2), (0, 3, 5, 2)])
def test_frames_that_do_not_fit(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"frame \(C=3, V=5, M=2\).*\(N, C=3") as raised:
        StreamingEncoder(gru()).push(torch.zeros(shape))
    assert str(shape) in str(raised.value)


def test_refused_frames_leave_the_state() -> None:
    encoder, clips = gru(), recording(1, 4)
    stream = StreamingEncoder(encoder)
    with pytest.raises(ValueError, match=r"frame.*reset\(\)"):
        _ = stream.pooled
    for t in range(3):
        stream.push(clips[0, :, t])
    broken = clips[0, :, 3].clone()
    broken[0, 2, 1] = float("nan")
    with pytest.raises(ValueError, match=r"NaN.*2, person 1"):
        stream.push(broken)
    with pytest.raises(ValueError, match=r"N=1.*2; reset\(\)"):
        stream.push(recording(2, 1)[:, :, 0])
    with pytest.raises(ValueError, match=r"frame.*numpy\.ndarray"):
        stream.push(np.zeros((3, 5, 2)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="floating-point"):
        stream.push(torch.zeros(3, 5, 2, dtype=torch.int64))
    encoder.train()
    with pytest.raises(ValueError, match="evaluation mode"):
        stream.push(clips[0, :, 3])
    encoder.eval()
    feature = stream.push(clips[0, :, 3])
    torch.testing.assert_close(feature, encoder(clips)[0, -1].detach(), rtol=0, atol=1e-5)


def test_frames_of_another_dtype_are_named() -> None:
    stream, frame = StreamingEncoder(gru()), recording(1, 1)[0, :, 0]
    with pytest.raises(ValueError, match=r"torch\.float32.*.*torch\.float64"):
        stream.push(frame.double())
    assert stream.state is None
    stream.push(frame)


@pytest.mark.parametrize("kind", [GRUEncoder, STGCNEncoder, TransformerEncoder])
def test_every_encoder_names_another_dtype(kind: Any) -> None:
    sizes = {"hidden": 8} if kind is GRUEncoder else {"width": 8, "heads": 2, "depth": 1}
    encoder = STGCNEncoder(NTU25) if kind is STGCNEncoder else kind(NTU25, **sizes)
    clips = torch.randn(2, 3, 8, 25, 2)
    with pytest.raises(ValueError, match=r"torch\.float32.*.*torch\.float64"):
        encoder(clips.double())
    with pytest.raises(ValueError, match=r"torch\.float64.*.*torch\.float32"):
        encoder.double()(clips)
    with torch.autocast("cpu", dtype=torch.bfloat16):  # casts by itself
        encoder.float()(clips)


@pytest.mark.parametrize("kind", [GRUEncoder, STGCNEncoder, TransformerEncoder])
def test_a_clip_that_is_not_finite_leaves_an_encoder_as_it_was(kind: Any) -> None:
    sizes = {"hidden": 8} if kind is GRUEncoder else {"width": 8, "heads": 2, "depth": 1}
    encoder = STGCNEncoder(NTU25) if kind is STGCNEncoder else kind(NTU25, **sizes)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    clips = torch.randn(2, 3, 8, 25, 2)
    clips[1, 0, 5, 7, 1] = float("nan")
    with pytest.raises(ValueError, match="sample 1, frame 5, joint 7, person 1"):
        encoder.train()(clips)
    for name, value in encoder.state_dict().items():
        assert torch.equal(value, before[name])
