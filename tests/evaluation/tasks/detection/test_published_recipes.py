"""Detection as the published code does it: recipes, windows and training.

Tests in tests/golden compare windows, schedules, proposals and figures with recorded ones.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.encoders import Encoder, GRUEncoder, STGCNEncoder, TransformerEncoder
from pcm3.evaluation.tasks.detection.average_precision import (
    summarize_published,
)
from pcm3.evaluation.tasks.detection.classifier import (
    WindowClassifier,
    cut_windows,
    train_window_classifier,
    window_frames,
)
from pcm3.evaluation.tasks.detection.detection import (
    DetectionSettings,
    RecipeName,
    evaluate_detection,
    frame_probabilities,
    published_proposals,
)
from pcm3.evaluation.tasks.detection.recipes import Windows
from pcm3.hub import Pretrained
from pcm3.skeleton import NTU25

# --- recipes --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [  # finetune, adapt_norm, normalize, windows, borders, rule, smoothing
        ("default", (False, False, True, "consecutive", "repeat", "sliding_window", 0)),
        ("pcm3", (True, False, False, "consecutive", "inside", "sliding_window", 0)),
        ("survey", (False, True, False, "strided", "inside", "activity", 20)),
        ("survey-finetune", (True, False, False, "strided", "inside", "activity", 20)),
        (
            "survey-sliding-window",
            (True, False, False, "consecutive", "inside", "sliding_window", 0),
        ),
    ],
)
def test_what_a_recipe_does(name: RecipeName, expected: tuple[Any, ...]) -> None:
    recipe = DetectionSettings(name).resolve()
    fields = ("finetune", "adapt_norm", "normalize", "windows", "borders", "rule", "smoothing")
    assert tuple(getattr(recipe, field) for field in fields) == expected


def test_an_option_beside_a_recipe_overrides_it() -> None:
    plain = DetectionSettings("survey").resolve()
    given = {"windows": "consecutive", "finetune": True, "normalize": True, "lr": 0.5}
    given |= {"batch_size": 8, "rule": "sliding_window", "adapt_norm": False, "smoothing": 0}
    given |= {"borders": "repeat"}
    for field, value in given.items():
        changed = DetectionSettings("survey", **{field: value}).resolve()  # type: ignore[arg-type]
        assert changed == plain._replace(**{field: value}) != plain
    assert DetectionSettings("survey", drops=(3, 7)).resolve() == plain._replace(drops=(3, 7))


@pytest.mark.parametrize(
    ("name", "epochs", "drops", "start"),
    [
        ("default", 60, (40,), 0),
        ("default", 7, (4,), 0),
        ("pcm3", 40, (100, 140), 0),
        ("survey", 3, (2,), 0),
        ("survey-sliding-window", 12, (6, 14), 5),
    ],
)
def test_fewer_epochs_keep_the_shape(
    name: RecipeName, epochs: int, drops: tuple[int, ...], start: int
) -> None:
    recipe = DetectionSettings(name, epochs=epochs).resolve()
    assert (recipe.epochs, recipe.drops, recipe.start_epoch) == (epochs, drops, start)
    assert DetectionSettings(name, epochs=epochs, drops=(1,)).resolve().drops == (1,)


def test_drops_are_of_the_epochs_there_are() -> None:
    with pytest.raises(ValueError, match=r"drops in \[0, epochs=20\), got \[20\]"):
        DetectionSettings("pcm3", drops=(20,))
    with pytest.raises(ValueError, match=r"drops in \[0, epochs=5\), got \[6\]"):
        DetectionSettings("pcm3", epochs=5, drops=(2, 6))


# --- windows --------------------------------------------------------------------------------------


@pytest.mark.parametrize("windows", ["consecutive", "strided"])
def test_windows_frame_by_frame(windows: Windows) -> None:
    half = 16 if windows == "consecutive" else 8
    clip = torch.arange(1.0, 124).view(1, 123, 1, 1).expand(2, 123, 3, 1)
    for length in (3, 30, 31, 32, 50, 64, 81, 123):
        for stride in (1,) if windows == "consecutive" else (3, 4, 5):
            centres = torch.arange(length)
            frames, middles = window_frames(
                centres, torch.full_like(centres, stride), length, windows, "inside"
            )
            found = cut_windows(clip[:, :length], frames)
            assert found.shape == (length, 2, 2 * half, 3, 1)
            for centre in range(length):
                middle = max(min(centre, length - half * stride), half * stride)
                assert middles[centre] == middle
                for place in range(2 * half):
                    frame = middle + (place - half) * stride
                    value = frame + 1 if frame < length else 0
                    assert (found[centre, :, place] == value).all()


# --- training -------------------------------------------------------------------------------------


def write(out: Path, lengths: Sequence[int], short: int = -1) -> Store:
    """Recordings whose frames are background, 0 and 1, 10 frames each in turn.

    Those of up to 16 frames are of class ``short``, -1 for background.
    """
    random = np.random.default_rng(0)
    poses = random.normal(size=(3, 25, 3))
    with StoreWriter(out, NTU25, class_names=["raise", "bend"]) as writer:
        for number, length in enumerate(lengths):
            labels = np.arange(length) // 10 % 3 - 1 if length > 16 else np.full(length, short)
            starts = np.arange(0, length, 10)
            writer.add(
                (poses[labels] + random.normal(0, 0.1, (length, 25, 3)))[:, None],
                name=f"video {number}",
                frame_labels=labels,
                segments=[
                    (at, min(at + 10, length), labels[at]) for at in starts if labels[at] >= 0
                ],
                subjects=number % 2,
            )
    return Store(out)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> SkeletonDataset:
    return SkeletonDataset(write(tmp_path_factory.mktemp("data") / "store", [100, 140, 90]))


def gru() -> Encoder:
    return GRUEncoder(25, persons=1, hidden=4, layers=1, pool="mean")


ENCODERS: dict[str, Callable[[], Encoder]] = {
    "gru": gru,
    "stgcn": lambda: STGCNEncoder(NTU25, persons=1, channels=4, layers=(1, 1), out_features=8),
    "transformer": lambda: TransformerEncoder(25, persons=1, frames=8, width=8, depth=1, heads=2),
}


@pytest.mark.parametrize("kind", ENCODERS)
def test_a_frozen_encoder_adapts_its_statistics_alone(data: SkeletonDataset, kind: str) -> None:
    torch.manual_seed(0)
    pretrained = Pretrained(ENCODERS[kind]().eval(), NTU25, "joint", 8)
    recipe = DetectionSettings("survey", epochs=1).resolve()
    trained = train_window_classifier(pretrained, data, recipe, seed=0)
    changed = {
        name
        for name, each in trained.encoder.state_dict().items()
        if not torch.equal(each, pretrained.encoder.state_dict()[name])
    }
    statistics = {
        f"{name}.{buffer}"
        for name, module in pretrained.encoder.named_modules()
        for buffer in ("running_mean", "running_var", "num_batches_tracked")
        if hasattr(module, buffer)
    }
    assert changed == statistics
    assert (kind == "transformer") == (not statistics)
    assert not any(module.training for module in trained.modules())


def test_the_adapting_head_step_by_step(data: SkeletonDataset) -> None:
    """Features are those of each batch's statistics, which the running ones follow; SGD beside."""
    torch.manual_seed(0)
    pretrained = Pretrained(gru().eval(), NTU25, "joint", 8)
    recipe = DetectionSettings("survey", epochs=2, drops=(1,), lr=0.3, batch_size=20).resolve()
    trained = train_window_classifier(pretrained, data, recipe, seed=5)

    torch.manual_seed(5)
    generator = torch.Generator().manual_seed(5)
    model = WindowClassifier(pretrained, 2, normalize=False)
    encoder = model.encoder.requires_grad_(False)
    optimizer = torch.optim.SGD(model.head.parameters(), 0.3, momentum=0.9, nesterov=True)
    labels = data.store.frame_labels
    assert labels is not None
    for epoch in range(2):
        optimizer.param_groups[0]["lr"] = 0.3 if epoch == 0 else 0.03
        windows, columns = [], []
        for item in range(3):
            clip = data[item][0]
            length, start = clip.shape[1], int(data.store.starts[item])
            centres = torch.randint(length, (16,), generator=generator).tolist()
            strides = (torch.randint(3, (16,), generator=generator) + 3).tolist()
            for centre, stride in zip(centres, strides, strict=True):
                middle = max(min(centre, length - 8 * stride), 8 * stride)
                windows.append(clip[:, range(middle - 8 * stride, middle + 8 * stride, stride)])
                columns.append(int(labels[start + middle]) % 3)
        order = torch.randperm(48, generator=generator).tolist()
        for at in range(0, 48, 20):
            rows = order[at : at + 20]
            encoder.eval()
            encoder.input_norm.train()
            features = encoder.pool(encoder(torch.stack([windows[row] for row in rows])))
            scores = model.head(features)
            wanted = torch.tensor([columns[row] for row in rows])
            loss = torch.nn.functional.cross_entropy(scores, wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    for name, each in trained.state_dict().items():
        torch.testing.assert_close(each, model.state_dict()[name], rtol=1e-4, atol=1e-6)


def test_epochs_before_the_first_one_are_skipped(data: SkeletonDataset) -> None:
    """Of 12 epochs 7 are left, and the rate falls at the sixth, which is their second."""
    torch.manual_seed(0)
    pretrained = Pretrained(gru().eval(), NTU25, "joint", 8)
    late = DetectionSettings("survey-sliding-window", epochs=12).resolve()
    early = DetectionSettings("survey-sliding-window", epochs=7, drops=(1,)).resolve()
    assert early.start_epoch == 2
    models = [
        train_window_classifier(pretrained, data, recipe, seed=0)
        for recipe in (late, early._replace(start_epoch=0))
    ]
    for ours, theirs in zip(*(model.parameters() for model in models), strict=True):
        assert torch.equal(ours, theirs)


def test_short_recordings(tmp_path: Path, data: SkeletonDataset) -> None:
    torch.manual_seed(0)
    pretrained = Pretrained(gru().eval(), NTU25, "joint", 8)
    short = SkeletonDataset(write(tmp_path / "short", [16, 60, 3, 1, 100]))
    settings = DetectionSettings(epochs=2, borders="inside")
    result = evaluate_detection(pretrained, short, short, settings)
    assert result["details"]["notes"][0].startswith("3 of 5 training recordings")
    assert [video["frames"] for video in result["details"]["videos"]] == [16, 60, 3, 1, 100]
    assert "notes" not in evaluate_detection(pretrained, data, short, settings)["details"]
    other = SkeletonDataset(write(tmp_path / "other", [16, 60, 3, 1, 100], short=1))
    for recipe in (settings, DetectionSettings("pcm3", epochs=1)):
        probabilities = frame_probabilities(pretrained, short, data, recipe)
        again = frame_probabilities(pretrained, other, data, recipe)
        assert all((a == b).all() for a, b in zip(probabilities, again, strict=True))
    first, *_, last = frame_probabilities(pretrained, short, short, settings)
    assert np.ptp(first, axis=0).max() == 0  # all frames see the same window
    assert np.ptp(last, axis=0).max() > 0
    for only, half in (
        (DetectionSettings("pcm3", epochs=1), 16),
        (DetectionSettings("survey", epochs=1), 24),
    ):
        too_short = SkeletonDataset(write(tmp_path / f"{half}", [half, 3]))
        with pytest.raises(
            ValueError, match=f"more than half a window, {half} frames, got .* {half}"
        ):
            frame_probabilities(pretrained, too_short, data, only)
        enough = SkeletonDataset(write(tmp_path / f"{half + 1}", [half + 1, 3]))
        frame_probabilities(pretrained, enough, data, only)
        repeating = replace(only, borders="repeat")
        assert "notes" not in evaluate_detection(pretrained, too_short, data, repeating)["details"]


def test_published_figures_are_among_the_results(data: SkeletonDataset) -> None:
    torch.manual_seed(0)
    pretrained = Pretrained(gru().eval(), NTU25, "joint", 8)
    for recipe in ("default", "survey"):
        settings = replace(DetectionSettings(recipe, every=3), epochs=2)  # type: ignore[arg-type]
        result = evaluate_detection(pretrained, data, data, settings)
        probabilities = frame_probabilities(pretrained, data, data, settings)
        published = summarize_published(published_proposals(probabilities, settings), data)
        assert {name: result[name] for name in published} == published
        assert result["details"]["recipe"]["recipe"] == recipe
        assert result["details"]["recipe"]["epochs"] == 2
