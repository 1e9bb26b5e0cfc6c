"""What the benchmarks compare with computes the same."""

from __future__ import annotations

import io
import json
import sys
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcm3.augment import functional
from pcm3.augment.functional import apply_mask
from pcm3.cli import main
from pcm3.methods.mamp import MAMPSettings
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.skeleton import NTU25

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
MODELS = {
    "pcm3": PCM3Settings(
        hidden=6, layers=2, frames=24, embedding=4, decoder_hidden=5, queue_size=12
    ),
    "mamp": MAMPSettings(frames=24, width=8, depth=2, heads=2, decoder_depth=1, mask_ratio=0.8),
}


@pytest.fixture
def baseline(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(BENCHMARKS)
    import baseline

    yield baseline
    del sys.modules["baseline"]


@pytest.mark.parametrize("method", MODELS)
def test_the_slow_step_is_the_fast_one(baseline: Any, method: str) -> None:
    torch.manual_seed(0)
    model = MODELS[method].build(NTU25, persons=2)
    twin = baseline.slow(model)
    kinds = {type(module).__name__ for module in twin.modules()}
    assert kinds & {"FrameByFrame", "UnfusedBlock"}
    views = model.make_views(torch.randn(3, 3, 30, 25, 2))
    outputs = [each.loss(views) for each in (model, twin)]
    for output in outputs:
        output.total.backward()
    assert outputs[0].terms.keys() == outputs[1].terms.keys()
    for name, term in outputs[0].terms.items():
        torch.testing.assert_close(outputs[1].terms[name], term, rtol=1e-4, atol=1e-6)
    for (name, fast), slow in zip(model.named_parameters(), twin.parameters(), strict=True):
        if fast.grad is not None:
            torch.testing.assert_close(slow.grad, fast.grad, rtol=1e-3, atol=1e-5, msg=name)


def test_numpy_and_batched_augmentation_agree(baseline: Any) -> None:
    rng = np.random.default_rng(0)
    clips = rng.normal(size=(4, 3, 40, 25, 2)).astype(np.float32)
    starts, lengths = np.array([0, 3, 39, 10]), np.array([40, 20, 1, 7])
    joints = rng.random((4, 25)) < 0.5
    matrices = rng.uniform(-1, 1, (4, 3, 3)).astype(np.float32)
    batched = functional.crop_resize(
        torch.from_numpy(clips), torch.from_numpy(starts), torch.from_numpy(lengths), 16
    )
    batched = functional.transform_joints(
        batched, torch.from_numpy(joints), torch.from_numpy(matrices)
    )
    for sample in range(4):
        single = baseline.crop_resize(clips[sample], starts[sample], lengths[sample], 16)
        single = baseline.transform_joints(single, np.flatnonzero(joints[sample]), matrices[sample])
        np.testing.assert_allclose(single, batched[sample].numpy(), rtol=1e-5, atol=1e-6)


def test_views_of_the_baseline_are_views(baseline: Any) -> None:
    torch.manual_seed(0)
    model = MODELS["pcm3"].build(NTU25, persons=2)
    clips = np.random.default_rng(0).normal(size=(5, 3, 70, 25, 2)).astype(np.float32)
    rng = np.random.default_rng(1)
    views = baseline.pcm3_views(model, clips, np.array([70, 66, 64, 70, 68]), rng)
    ours = model.make_views(torch.from_numpy(clips))
    for name in ("intra", "key", "source", "mask"):
        assert getattr(views, name).shape == getattr(ours, name).shape
        assert getattr(views, name).dtype == getattr(ours, name).dtype
    hidden = views.mask[0, 0, :, 0]
    assert set(map(bool, hidden)) == {True, False}
    assert not views.mask[..., 1].any()
    assert torch.equal(views.masked, apply_mask(views.source, views.mask))
    inter, partner = views.inter, views.inter.partner
    from_partner = (inter.clips == views.intra[partner]) & (inter.clips != views.intra)
    share = from_partner[:, 0, :, :, 0].float().mean(dim=(1, 2))
    torch.testing.assert_close(share, inter.lam, rtol=0, atol=0.05)
    assert torch.isfinite(model.loss(views).total)


def test_the_clip_view_of_the_baseline(baseline: Any) -> None:
    plus = replace(MODELS["pcm3"], positives=("intra", "inter", "mask", "predict", "clip"))
    model = plus.build(NTU25, persons=2)
    clips = np.random.default_rng(0).normal(size=(5, 3, 70, 25, 2)).astype(np.float32)
    views = baseline.pcm3_views(model, clips, np.full(5, 70), np.random.default_rng(1))
    kept = (views.clip != 0).any(dim=4).any(dim=3).any(dim=1)
    assert set(kept.sum(dim=1).tolist()) <= set(range(6, 13))  # of 24 frames
    assert torch.equal(views.clip, views.key * kept[:, None, :, None, None])
    assert torch.isfinite(model.loss(views).total)


def test_detection_at_its_smallest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    videos, length = 3, 1200
    starts = np.arange(20, length, 60)
    rows = [(video, at, at + 30, at % 2) for video in range(videos) for at in starts]
    frame_labels = np.full((videos, length), -1)
    for video, start, end, label in rows:
        frame_labels[video, start:end] = label
    np.savez(
        tmp_path / "precog2016.npz",
        joints=rng.normal(size=(videos * length, 1, 25, 3)).astype(np.float32),
        lengths=np.full(videos, length),
        labels=np.full(videos, -1),
        subjects=np.array([1, 1, 2]),
        class_names=np.array(["raise", "bend"]),
        joint_names=np.array(NTU25.joints),
        parents=np.array(NTU25.parents),
        frame_labels=frame_labels.ravel(),
        segments=np.array(rows),
    )
    monkeypatch.syspath_prepend(BENCHMARKS)
    import detection

    def call(arguments: list[str]) -> dict[str, Any]:
        with redirect_stdout(io.StringIO()) as said:
            assert main(arguments) == 0
        last = said.getvalue().splitlines()[-1]
        return json.loads(last) if last.startswith("{") else {}

    monkeypatch.setattr(detection, "call", call)
    arguments = ["--data", str(tmp_path), "--work", str(tmp_path / "runs"), "--out", str(tmp_path)]
    arguments += ["--seeds", "1", "--epochs", "1", "--jobs", "1", "--recipes", "pcm3", "survey"]
    monkeypatch.setattr(sys, "argv", ["detection.py", "precog2016", *arguments])
    detection.main()
    result = json.loads((tmp_path / "detection_precog2016.json").read_text())
    assert result["command"].endswith("precog2016 --seeds 1 --recipes pcm3 survey --epochs 1")
    assert len(result["runs"]) == 4
    for run in result["runs"]:
        found = result["summary"][run["task"]][run["method"]]["map_action_published_0.1"]
        assert found["seeds"] == [round(run["metrics"]["map_action_published_0.1"], 4)]
        assert f"--recipe {run['task']} " in run["commands"][1]
