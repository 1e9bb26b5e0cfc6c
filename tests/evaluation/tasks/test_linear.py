"""The linear probe as an evaluation of an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pcm3.data.dataset import Batch, SkeletonDataset
from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.encoders import GRUEncoder
from pcm3.evaluation.features import extract_features, extract_random_crops
from pcm3.evaluation.metrics import confusion_matrix
from pcm3.evaluation.probes import PROBES, ProbeSettings, fit_logistic
from pcm3.evaluation.tasks.linear import LinearSettings, evaluate_linear
from pcm3.evaluation.tasks.occlusion import evaluate_occlusion
from pcm3.evaluation.tasks.robustness import evaluate_robustness
from pcm3.hub import Pretrained
from pcm3.skeleton import NTU25


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("data") / "store"
    return generate(out, sequences=48, classes=3, subjects=4, frames=(10, 30))


def test_logistic_evaluation_is_the_probe_on_the_features(
    pretrained: Pretrained, parts: tuple[SkeletonDataset, SkeletonDataset]
) -> None:
    training, test = (extract_features(pretrained, part) for part in parts)
    metrics = evaluate_linear(pretrained, *parts, LinearSettings(regularization=0.3))
    predicted = fit_logistic(training, 3, 0.3)(test.values).argmax(1)
    right = (predicted == test.labels).numpy()
    assert metrics["top1"] == pytest.approx(right.mean())
    assert metrics["per_class"] == pytest.approx(
        [right[parts[1].labels == label].mean() for label in range(3)]
    )
    assert metrics["details"]["predicted"] == predicted.tolist()
    assert metrics["details"]["labels"] == test.labels.tolist()
    assert metrics["details"]["confusion"] == confusion_matrix(predicted, test.labels, 3)


@pytest.mark.parametrize(
    "settings",
    [
        LinearSettings("pcm3", probe=ProbeSettings(epochs=8, batch_size=8, lr=1.0, drops=(6,))),
        LinearSettings("mamp", probe=ProbeSettings(epochs=8, batch_size=8, lr=0.5)),
    ],
)
def test_sgd_evaluation_repeats_and_beats_chance(
    pretrained: Pretrained, parts: tuple[SkeletonDataset, SkeletonDataset], settings: LinearSettings
) -> None:
    first = evaluate_linear(pretrained, *parts, settings)
    assert first == evaluate_linear(pretrained, *parts, settings)
    assert first["top1"] > 0.5


class Ramp(SkeletonDataset):
    """Every coordinate is its frame's number, so that a crop can be read off the result."""

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        batch = super().__getitems__(indices)
        frames = torch.arange(batch.clips.shape[2]).float()
        ramp = frames[:, None, None].expand_as(batch.clips)
        return batch._replace(clips=ramp.contiguous())


def test_random_crops_keep_half_to_all_of_the_frames(
    tmp_path: Path, pretrained: Pretrained
) -> None:
    ramp = Ramp(generate(tmp_path / "long", sequences=40, classes=2, frames=(160, 200)))
    seen: list[Tensor] = []
    handle = pretrained.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    generator = torch.Generator().manual_seed(0)
    for _ in range(2):
        drawn = extract_random_crops(pretrained, ramp, generator)
        assert drawn.labels.tolist() == ramp.labels.tolist()
    handle.remove()
    first, second = (clips[:, 0, :, 0, 0] for clips in seen)
    for frames in (first, second):
        step = (frames[:, -1] - frames[:, 0]) / 15  # 16 frames come out
        share = step * 16 / torch.from_numpy(ramp.lengths)
        assert 0.48 < float(share.min()) < 0.6
        assert 0.9 < float(share.max()) <= 1.001
    assert not (first == second).all(dim=1).any()


def test_mamp_probe_also_turns_bodies(
    pretrained: Pretrained, parts: tuple[SkeletonDataset, SkeletonDataset]
) -> None:
    seen: list[Tensor] = []
    handle = pretrained.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    evaluate_linear(pretrained, *parts, LinearSettings("cmd", probe=ProbeSettings(epochs=1)))
    evaluate_linear(pretrained, *parts, LinearSettings("mamp", probe=ProbeSettings(epochs=1)))
    handle.remove()
    plain, test, turned, again = seen
    assert torch.equal(test, again)
    torch.testing.assert_close(turned.norm(dim=1), plain.norm(dim=1))  # about the origin
    apart = (turned * plain).sum(dim=(1, 2, 3, 4)) / plain.square().sum(dim=(1, 2, 3, 4))
    assert 0.8 < float(apart.min()) < 0.99  # cosines of up to 0.3 radians thrice


@pytest.mark.parametrize("solver", ["logistic", "pcm3", "mamp"])
def test_sequences_without_a_label_cannot_be_evaluated(
    store: Store, pretrained: Pretrained, solver: str
) -> None:
    good, bad = SkeletonDataset(store), SkeletonDataset(store)
    bad.labels = np.where(np.arange(len(store)) == 5, -1, store.labels)
    for pair in ((good, bad), (bad, good)):
        with pytest.raises(ValueError, match=r"\b5\b.*label"):
            evaluate_linear(pretrained, *pair, LinearSettings(solver))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"solver": "svm"}, "'mamp'.*'svm'"),
        ({"regularization": 0.0}, r"regularization\b.*\b0\.0$"),
        ({"solver": "sgd"}, "'mamp'.*'sgd'"),
        ({"probe": ProbeSettings(epochs=3)}, r"probe\b.*\blogistic"),
        ({"probe": ProbeSettings(seed=3)}, r"probe\b.*\blogistic"),
        ({"solver": "pcm3", "regularization": 2.0}, r"regularization\b.*\bpcm3"),
        (
            {"solver": "mamp-pku2", "probe": ProbeSettings(drops=(3,))},
            r"drops\b.*\bmamp-pku2",
        ),
        (
            {"solver": "pcm3", "probe": ProbeSettings(epochs=5, drops=(3, 5))},
            r"drops\b.*epochs=5\b.*\[5\]",
        ),
        (
            {"solver": "cmd", "probe": ProbeSettings(drops=(80,))},
            r"drops\b.*epochs=80\b.*\[80\]",
        ),
    ],
)
def test_settings_out_of_range_or_without_effect(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LinearSettings(**wrong)


def test_what_is_said_of_a_published_protocol(
    pretrained: Pretrained, parts: tuple[SkeletonDataset, SkeletonDataset]
) -> None:
    settings = LinearSettings("pcm3", probe=ProbeSettings(epochs=2, batch_size=9))
    (note,) = evaluate_linear(pretrained, *parts, settings)["details"]["notes"]
    for part in ("2 epochs", "batch 9", "lr 0.1", "0.4 1 1.6"):
        assert part in note
    assert "cosine" in str(PROBES["mamp-pku2"])
    assert "no epoch" in str(replace(PROBES["cmd"], drops=()))
    assert evaluate_linear(pretrained, *parts)["details"]["notes"] == []
    for more, count in ((0, 1), (1, 2)):
        probe = ProbeSettings(epochs=1, batch_size=len(parts[0]) + more)
        notes = evaluate_linear(pretrained, *parts, LinearSettings("pcm3", probe=probe))["details"]
        assert len(notes["notes"]) == count


def test_a_training_part_of_one_class(tmp_path: Path) -> None:
    store = generate(tmp_path / "store", sequences=24, classes=4, subjects=2, frames=(10, 20))
    alone = SkeletonDataset(store, np.flatnonzero(store.labels == 2))
    pretrained = Pretrained(GRUEncoder(25, persons=1, hidden=4, layers=1), NTU25, "joint", 8)
    message = rf"\b2 classes.*\b1\b.*'{store.class_names[2]}'.*\b6 training sequences.*store"
    for evaluate in (evaluate_linear, evaluate_occlusion, evaluate_robustness):
        with pytest.raises(ValueError, match=message):
            evaluate(pretrained, alone, SkeletonDataset(store))
