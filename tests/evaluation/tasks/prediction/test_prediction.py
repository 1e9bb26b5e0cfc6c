"""Motion prediction: errors against a slow loop, baselines and decoder against their formulas."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.prepare import prepare
from pcm3.data.splits import split
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.encoders import Encoder, GRUEncoder, STGCNEncoder, TransformerEncoder
from pcm3.evaluation.features import dataset_for
from pcm3.evaluation.metrics import mpjpe
from pcm3.evaluation.tasks.prediction.model import MotionDecoder, hold_mean
from pcm3.evaluation.tasks.prediction.prediction import (
    PredictionSettings,
    evaluate_prediction,
    fit_predictor,
)
from pcm3.hub import Pretrained
from pcm3.skeleton import NTU25

Frames = NDArray[np.float32]
SHORT = PredictionSettings(
    observed=6, predicted=5, horizons=(1, 3, 5), epochs=1, batch_size=8, hidden=8
)


def gru(persons: int = 1, hidden: int = 8) -> Pretrained:
    torch.manual_seed(0)
    encoder = GRUEncoder(25, persons=persons, hidden=hidden, layers=1, pool="mean").eval()
    return Pretrained(encoder, NTU25, "joint", 8)


def write(out: Path, sequences: list[Frames], **options: Any) -> SkeletonDataset:
    with StoreWriter(out, NTU25, class_names=["any"], **options) as writer:
        for sequence in sequences:
            writer.add(sequence, 0)
    return SkeletonDataset(Store(out))


def straight(sequences: int, frames: int = 14, seed: int = 0) -> tuple[list[Frames], Frames]:
    """One body (T, 1, 25, 3) whose joints, but for the centre, go straight on; and how fast."""
    random = np.random.default_rng(seed)
    velocity = random.normal(size=(sequences, 1, 1, 1, 3)) * 0.02
    velocity = velocity * np.ones((25, 1))
    velocity[..., NTU25.center, :] = 0
    pose = random.normal(size=(1, 1, 1, 25, 3)) * 0.3
    pose[..., NTU25.center, :] = 0
    moved = pose + velocity * (np.arange(frames)[:, None, None, None] - frames / 2)
    return list(moved.astype(np.float32)), velocity[:, 0, 0].astype(np.float32)


# --- errors and baselines -------------------------------------------------------------------------


def clips(seed: int, shape: tuple[int, ...] = (3, 3, 4, 5, 2)) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("hidden", [False, True])
def test_mpjpe_against_a_slow_loop(hidden: bool) -> None:
    predicted, true = clips(0), clips(1)
    present = clips(2)[:, 0] > -0.5 if hidden else None
    errors = mpjpe(predicted, true, present)
    assert errors.shape == (4,)
    for frame in range(4):
        distances = [
            math.dist(predicted[n, :, frame, v, m].tolist(), true[n, :, frame, v, m].tolist())
            for n in range(3)
            for v in range(5)
            for m in range(2)
            if present is None or present[n, frame, v, m]
        ]
        assert float(errors[frame]) == pytest.approx(sum(distances) / len(distances), rel=1e-5)


@settings(deadline=None, max_examples=50)
@given(shift=st.tuples(*[st.floats(-5, 5)] * 3), scale=st.floats(0.1, 10), seed=st.integers(0, 999))
def test_mpjpe_moves_with_neither_origin_nor_order(
    shift: tuple[float, ...], scale: float, seed: int
) -> None:
    predicted, true = clips(seed), clips(seed + 1)
    moved = torch.tensor(shift)[:, None, None, None]
    errors = mpjpe(predicted, true)
    torch.testing.assert_close(mpjpe(predicted + moved, true + moved), errors, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(mpjpe(true, predicted), errors)
    torch.testing.assert_close(mpjpe(scale * predicted, scale * true), scale * errors)
    assert mpjpe(true, true).max() == 0
    distance = torch.full((4,), math.dist(shift, (0, 0, 0)))
    torch.testing.assert_close(mpjpe(true + moved, true), distance, rtol=1e-4, atol=1e-4)


def test_mpjpe_of_other_shapes() -> None:
    with pytest.raises(ValueError, match=r"one shape, got \(3, 3, 4, 5, 2\) and \(3, 3, 1, 5, 2\)"):
        mpjpe(clips(0), clips(0)[:, :, :1])
    with pytest.raises(ValueError, match=r"present \(3, 4, 5, 2\), got \(3, 4, 5\)"):
        mpjpe(clips(0), clips(0), torch.ones(3, 4, 5, dtype=torch.bool))


def test_baselines_hold_still() -> None:
    observed = clips(0)
    for window in (1, 2, 4):
        held = hold_mean(observed, 7, window)
        assert held.shape == (3, 3, 7, 5, 2)
        for frame in range(7):
            mean = sum(observed[:, :, -back] for back in range(1, window + 1)) / window
            torch.testing.assert_close(held[:, :, frame], mean)
    for window in (0, 5):
        with pytest.raises(ValueError, match=rf"window in \[1, 4\], got {window}"):
            hold_mean(observed, 7, window)


# --- decoder --------------------------------------------------------------------------------------


def test_untrained_decoder_predicts_zero_velocity() -> None:
    decoder = MotionDecoder(6, joints=5, persons=2, hidden=4)
    last = clips(0)
    predicted = decoder(clips(1, (3, 6)), last[:, :, -1], 7)
    torch.testing.assert_close(predicted, hold_mean(last, 7))


def test_decoder_written_down_and_its_gradient_through_all_frames() -> None:
    decoder = MotionDecoder(6, joints=5, hidden=4)
    torch.nn.init.normal_(decoder.velocity.weight)
    torch.nn.init.normal_(decoder.velocity.bias)
    features, last = clips(1, (3, 6)), clips(0, (3, 3, 5, 1)).requires_grad_()
    state = features @ decoder.start.weight.T + decoder.start.bias
    pose = last.reshape(3, 15)
    cell = decoder.cell
    expected = []
    for _ in range(4):
        from_pose = (pose @ cell.weight_ih.T + cell.bias_ih).chunk(3, dim=1)
        from_state = (state @ cell.weight_hh.T + cell.bias_hh).chunk(3, dim=1)
        reset = (from_pose[0] + from_state[0]).sigmoid()
        update = (from_pose[1] + from_state[1]).sigmoid()
        new = (from_pose[2] + reset * from_state[2]).tanh()
        state = (1 - update) * new + update * state
        pose = pose + state @ decoder.velocity.weight.T + decoder.velocity.bias
        expected.append(pose.reshape(3, 3, 5, 1))
    predicted = decoder(features, last, 4)
    torch.testing.assert_close(predicted, torch.stack(expected, dim=2))
    wanted = torch.autograd.grad(expected[-1].sum(), last)[0]
    found = torch.autograd.grad(predicted[:, :, -1].sum(), last)[0]
    torch.testing.assert_close(found, wanted)


# --- on a store -----------------------------------------------------------------------------------


def test_baselines_of_constant_velocity(tmp_path: Path) -> None:
    sequences, velocity = straight(7)
    data = write(tmp_path / "store", sequences)
    found = json.loads(json.dumps(evaluate_prediction(gru(), data, data, SHORT)))
    speed = 1000 * float(np.linalg.norm(velocity, axis=-1).mean())  # millimetres a frame
    held = {"zero_velocity": 0.0, "running_average_2": 0.5, "running_average_4": 1.5}
    for name, lag in held.items():
        errors = found["details"]["by_frame"][name]
        assert errors == pytest.approx([(frame + lag) * speed for frame in range(1, 6)], rel=1e-3)
        assert found[f"{name}_mm"] == pytest.approx((3 + lag) * speed, rel=1e-3)
        horizons = {str(frame): errors[frame - 1] for frame in (1, 3, 5)}
        assert found[f"{name}_mm_by_horizon"] == horizons
    assert set(found["mpjpe_mm_by_horizon"]) == {"1", "3", "5"}


def test_result_is_what_the_predictor_says(tmp_path: Path) -> None:
    """Four sequences: all of them are examples."""
    sequences, _ = straight(4)
    data = write(tmp_path / "store", sequences)
    settings = replace(SHORT, epochs=3)
    found = evaluate_prediction(gru(), data, data, settings)
    details = found["details"]
    assert [example["sequence"] for example in details["examples"]] == [0, 1, 2, 3]
    model, losses = fit_predictor(gru(), data, settings)
    assert details["training_loss"] == losses
    errors = []
    for example, sequence in zip(details["examples"], sequences, strict=True):
        start = 2  # 14 frames, a window of 11
        window = torch.from_numpy(sequence[start : start + 11, 0])
        upright = data.store.upright(window.numpy())  # as it is drawn
        assert np.allclose(example["observed"], upright[1:6], atol=1e-4)
        assert np.allclose(example["true"], upright[6:], atol=1e-4)
        clip = window.permute(2, 0, 1)[None, ..., None]
        with torch.no_grad():
            feature = model.encoder(clip[:, :, :6])[:, -1]
            predicted = model.decoder(feature, clip[:, :, 5], 5)[0, ..., 0].permute(1, 2, 0)
        assert np.allclose(example["predicted"], data.store.upright(predicted.numpy()), atol=1e-4)
        true, last = window[6:], window[5]
        own = 1000 * torch.linalg.vector_norm(predicted - true, dim=2).mean()
        still = 1000 * torch.linalg.vector_norm(last - true, dim=2).mean()
        assert example["mpjpe_mm"] == pytest.approx(float(own), rel=1e-4)
        assert example["zero_velocity_mm"] == pytest.approx(float(still), rel=1e-4)
        errors.append((predicted - window[6:]).norm(dim=-1).mean())
    assert found["mpjpe_mm"] == pytest.approx(1000 * float(np.mean(errors)), rel=1e-3)


def test_constant_velocity_is_learnt(tmp_path: Path) -> None:
    """For sequences that it has not seen."""
    sequences, _ = straight(80)
    training = write(tmp_path / "training", sequences[:64])
    test = write(tmp_path / "test", sequences[64:])
    settings = replace(SHORT, epochs=50, hidden=None, lr=1e-2)
    found = evaluate_prediction(gru(hidden=16), training, test, settings)
    assert found["mpjpe_mm"] < 0.3 * found["zero_velocity_mm"]
    again = evaluate_prediction(gru(hidden=16), training, test, replace(settings, epochs=1))
    assert again["zero_velocity_mm"] == found["zero_velocity_mm"]


@pytest.mark.parametrize("finetune", [True, False])
def test_what_learns(tmp_path: Path, finetune: bool) -> None:
    data = write(tmp_path / "store", straight(9)[0])
    pretrained = gru()
    before = {name: value.clone() for name, value in pretrained.encoder.state_dict().items()}
    settings = replace(SHORT, finetune=finetune, epochs=3)
    model, losses = fit_predictor(pretrained, data, settings)
    for name, value in pretrained.encoder.state_dict().items():
        assert torch.equal(value, before[name])
    changed = [
        not torch.equal(value, before[name]) for name, value in model.encoder.state_dict().items()
    ]
    assert all(changed) if finetune else not any(changed)
    torch.manual_seed(99)
    assert losses == fit_predictor(pretrained, data, settings)[1]
    assert losses != fit_predictor(pretrained, data, replace(settings, seed=1))[1]
    assert model.decoder.velocity.weight.abs().max() > 0
    assert not model.training


@pytest.mark.parametrize(
    "make",
    [
        lambda: STGCNEncoder(NTU25, persons=1, channels=4, layers=(1, 1), out_features=8),
        lambda: TransformerEncoder(25, persons=1, frames=8, width=8, depth=1, heads=1),
        lambda: GRUEncoder(25, persons=1, hidden=4, layers=1, direction="bidirectional"),
    ],
)
@pytest.mark.parametrize("stream", ["joint", "motion"])
def test_encoders_and_streams(tmp_path: Path, make: Callable[[], Encoder], stream: Any) -> None:
    data = write(tmp_path / "store", straight(4)[0])
    found = evaluate_prediction(Pretrained(make().eval(), NTU25, stream, 8), data, data, SHORT)
    assert 0 < found["mpjpe_mm"] < 2 * found["zero_velocity_mm"]


def observed_by(
    pretrained: Pretrained, data: SkeletonDataset, settings: PredictionSettings
) -> Tensor:
    """What the encoder sees in the test, after all training steps."""
    seen: list[Tensor] = []
    before = torch.nn.modules.module.register_module_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0]) if isinstance(module, Encoder) else None
    )
    try:
        evaluate_prediction(pretrained, data, data, settings)
    finally:
        before.remove()
    return torch.cat(seen)


def test_windows(tmp_path: Path) -> None:
    """Coordinates say which frame they are of: training sees all starts, tests the middle."""
    frames = np.arange(1, 22, dtype=np.float32)[:, None, None, None] * np.ones((1, 1, 25, 3))
    data = write(tmp_path / "store", [frames.astype(np.float32)] * 8)
    seen = observed_by(gru(), data, replace(SHORT, epochs=30))
    assert seen.shape == (31 * 8, 3, 6, 25, 1)
    first = seen[:, 0, 0, 0, 0]
    assert torch.equal(seen[:, 0, :, 0, 0], first[:, None] + torch.arange(6.0))
    assert first[-8:].tolist() == [6.0] * 8
    starts, counts = first[:-8].unique(return_counts=True)
    assert starts.tolist() == list(range(1, 12))
    assert counts.min() > 8  # 22 each


def test_long_sequences_are_seen_as_often_as_windows_fit(tmp_path: Path) -> None:
    lengths = [11, 21, 22, 60]
    data = write(tmp_path / "store", [straight(1, length)[0][0] for length in lengths])
    seen = observed_by(gru(), data, replace(SHORT, epochs=2))
    assert len(seen) == 2 * (1 + 1 + 2 + 5) + 4


def test_second_person_and_where_the_body_stands_do_not_count(tmp_path: Path) -> None:
    alone, _ = straight(5)
    two = [np.concatenate([one, one + 1], axis=1) for one in alone]
    apart = [np.concatenate([one, np.zeros_like(one)], axis=1) for one in alone]
    results = []
    for name, sequences in (("two", two), ("apart", apart)):
        data = write(tmp_path / name, sequences)
        results.append(evaluate_prediction(gru(persons=2), data, data, SHORT))
    assert results[0] == results[1]
    walking = [one + np.linspace(0, 3, len(one))[:, None, None, None] + 1 for one in alone]
    data = write(tmp_path / "walking", [each.astype(np.float32) for each in walking])
    found = evaluate_prediction(gru(), data, data, SHORT)
    assert found["zero_velocity_mm"] == pytest.approx(results[0]["zero_velocity_mm"], rel=1e-3)


def test_lost_joints_do_not_count(tmp_path: Path) -> None:
    sequences, velocity = straight(4)
    for number, sequence in enumerate(sequences):
        sequence[8:, 0, 5 + number] = 0  # the window is 2 to 12, its last frames are from 8
    data = write(tmp_path / "store", sequences)
    found = evaluate_prediction(gru(), data, data, SHORT)
    speed = 1000 * np.linalg.norm(velocity, axis=-1)
    kept = [np.delete(row, 5 + number) for number, row in enumerate(speed)]
    assert found["zero_velocity_mm"] == pytest.approx(3 * float(np.mean(kept)), rel=1e-3)


def test_units(tmp_path: Path) -> None:
    sequences, _ = straight(5)
    found = {}
    for unit, factor in (("metres", 1), ("centimetres", 100), ("millimetres", 1000)):
        scaled = [(sequence * factor).astype(np.float32) for sequence in sequences]
        data = write(tmp_path / unit, scaled, unit=unit)
        found[unit] = evaluate_prediction(gru(), data, data, SHORT)["zero_velocity_mm"]
    assert found["metres"] == pytest.approx(found["centimetres"], rel=1e-4)
    assert found["metres"] == pytest.approx(found["millimetres"], rel=1e-4)
    data = write(tmp_path / "pixels", sequences, unit="pixels")
    with pytest.raises(ValueError, match=r"millimetres need, got 'pixels': .*pixels"):
        evaluate_prediction(gru(), data, data, SHORT)


def test_short_sequences_are_left_out_and_counted(tmp_path: Path) -> None:
    lengths = [14, 10, 11, 3]
    sequences = [straight(1, length)[0][0] for length in lengths]
    gap = straight(1, 25)[0][0]
    gap[9] = 0  # nine frames before, fifteen after
    absent = np.zeros((20, 1, 25, 3), np.float32)
    data = write(tmp_path / "store", [*sequences, gap, absent])
    details = evaluate_prediction(gru(), data, data, SHORT)["details"]
    assert [example["sequence"] for example in details["examples"]] == [0, 2, 4]
    true = data.store.upright(gap[10 + 2 + 6 :][:5, 0])
    assert np.allclose(details["examples"][2]["true"], true, atol=1e-4)
    for part in ("training", "test"):
        assert details[f"{part}_sequences"] == 3
        assert details[f"{part}_left_out"] == 3
    assert details["notes"][0] == "3 of 6 test sequences; the others are shorter than 11 frames"
    few = SkeletonDataset(data.store, [1, 3, 5])
    with pytest.raises(ValueError, match=r"sequences of 6 \+ 5 frames .* has 10"):
        evaluate_prediction(gru(), data, few, SHORT)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observed": 0}, "observed > 0, got 0"),
        ({"predicted": 0}, "predicted > 0, got 0"),
        ({"epochs": 0}, "epochs > 0"),
        ({"hidden": 0}, "hidden > 0"),
        ({"lr": 0}, "lr > 0"),
        ({"predicted": 5}, r"horizons in \[1, predicted=5\], got \(2, 4, 8, 10\)"),
        ({"horizons": (0, 2)}, r"horizons in \[1, predicted=10\], got \(0, 2\)"),
        ({"horizons": ()}, "horizons"),
    ],
)
def test_settings_out_of_range(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PredictionSettings(**options)


def test_a_loss_that_is_not_finite(tmp_path: Path) -> None:
    data = write(tmp_path / "store", straight(4)[0])
    with pytest.raises(ValueError, match=r"the loss became \w+ in epoch \d; lower lr"):
        fit_predictor(gru(), data, replace(SHORT, lr=1e25, epochs=5))


def test_another_skeleton(tmp_path: Path) -> None:
    data = write(tmp_path / "store", straight(4)[0])
    pretrained = gru()._replace(skeleton=NTU25.reordered(NTU25.joints[::-1]))
    for parts in ((data, dataset_for(pretrained, data.store)), (data, data)):
        with pytest.raises(ValueError, match="joint 0 is 'spine_base', not 'right_thumb'"):
            evaluate_prediction(pretrained, *parts)


def test_real_recordings(shared: Path, tmp_path: Path) -> None:
    prepare(shared / "data" / "utd_mhad.npz", tmp_path / "utd", workers=1)
    store = Store(tmp_path / "utd")
    torch.manual_seed(0)
    encoder = GRUEncoder(20, persons=1, hidden=16, layers=1).eval()
    pretrained = Pretrained(encoder, store.skeleton, "joint", 32)
    training, test = (SkeletonDataset(store, part) for part in split(store, "subjects:1,3,5,7"))
    found = evaluate_prediction(pretrained, training, test, PredictionSettings(epochs=3, lr=3e-3))
    details = found["details"]
    assert details["training_sequences"] + details["training_left_out"] == 431
    assert details["training_left_out"] == int((training.lengths < 60).sum())
    assert found["mpjpe_mm"] < found["zero_velocity_mm"] < found["running_average_4_mm"]
