"""Recordings of more than 300 frames: all of them counts, or what does not is said."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from pcm3.augment import TemporalCropResize
from pcm3.augment.functional import center_crop_resize
from pcm3.cli import main
from pcm3.data import SkeletonDataset, Store, StoreWriter, prepare
from pcm3.encoders import GRUEncoder
from pcm3.evaluation.features import dataset_for, extract_features, extract_random_crops
from pcm3.evaluation.tasks.finetune import FinetuneSettings, evaluate_finetune
from pcm3.evaluation.tasks.linear import LinearSettings, evaluate_linear
from pcm3.evaluation.tasks.occlusion import OcclusionSettings, evaluate_occlusion
from pcm3.hub import Pretrained
from pcm3.methods.catalog import PRESETS, RunSettings, get_preset
from pcm3.methods.features import sequence_features
from pcm3.methods.mamp import MAMPSettings
from pcm3.methods.settings import TrainSettings
from pcm3.skeleton import NTU25
from pcm3.training.pretrain import pretrain

LENGTHS = (40, 900, 60, 1000, 300, 301, 50, 700)
LEFT_OUT = 600 + 700 + 1 + 400


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Noise but for what comes after 300 frames: the class is told there alone."""
    path, rng = tmp_path_factory.mktemp("long") / "store", np.random.default_rng(0)
    with StoreWriter(path, NTU25, class_names=("a", "b"), normalization="center") as writer:
        for at, length in enumerate(LENGTHS):
            frames = rng.normal(size=(length, 1, 25, 3)).astype(np.float32)
            writer.add(frames, at % 4 // 2, subjects=1 + at // 4)
    return Store(path)


@pytest.fixture(scope="module")
def pretrained() -> Pretrained:
    torch.manual_seed(0)
    encoder = GRUEncoder(25, persons=1, hidden=8, layers=1, pool="mean")
    return Pretrained(encoder, NTU25, "joint", 16)


def slow(pretrained: Pretrained, store: Store, index: int) -> np.ndarray:
    """The mean over windows that begin every 150 frames, and one at the end."""
    frames = torch.from_numpy(np.array(store.sequence(index)))
    starts = [0]
    while starts[-1] + 300 < len(frames):
        starts.append(min(starts[-1] + 150, len(frames) - 300))
    found = []
    for start in starts:
        clip = frames[start : start + 300].permute(3, 0, 2, 1)[None]
        found.append(sequence_features(pretrained.encoder, clip, None, NTU25, "joint", 16))
    return torch.cat(found).numpy().mean(0)


def test_features_are_the_mean_of_windows(store: Store, pretrained: Pretrained) -> None:
    found = extract_features(pretrained, dataset_for(pretrained, store))
    assert_array_equal(found.labels, store.labels)
    for index in range(len(store)):
        assert_allclose(found.values[index], slow(pretrained, store, index), atol=1e-6)


def test_short_recordings_have_the_features_that_they_had(
    store: Store, pretrained: Pretrained
) -> None:
    short = [0, 2, 4, 6]
    found = extract_features(pretrained, SkeletonDataset(store, short))
    cut = extract_features(pretrained, SkeletonDataset(store, short, max_frames=300))
    assert torch.equal(found.values, cut.values)


def test_a_limit_cuts(store: Store, pretrained: Pretrained) -> None:
    cut = SkeletonDataset(store, max_frames=300)
    assert cut.left_out == {"sequences": 4, "frames": LEFT_OUT}
    assert SkeletonDataset(store).left_out == {"sequences": 0, "frames": 0}
    found = extract_features(pretrained, cut)
    clip = torch.from_numpy(np.array(store.sequence(1)[:300])).permute(3, 0, 2, 1)[None]
    first = sequence_features(pretrained.encoder, clip, None, NTU25, "joint", 16)
    assert_allclose(found.values[1], first[0], atol=1e-6)


def test_windows_of_a_cut_data_set(store: Store) -> None:
    windows = SkeletonDataset(store, [3, 1], max_frames=400, window=300)
    assert windows.offsets.tolist() == [0, 100, 0, 100]
    assert windows.lengths.tolist() == [300] * 4
    assert windows.parents.tolist() == [0, 0, 1, 1]
    frames = store.sequence(1)[100:400]
    assert_array_equal(windows.batch([3]).clips[0].permute(1, 3, 2, 0), frames)


def test_crops_of_whole_recordings_need_a_limit(store: Store, pretrained: Pretrained) -> None:
    training, test = (SkeletonDataset(store, part) for part in ([0, 1, 2, 3], [4, 5, 6, 7]))
    generator = torch.Generator().manual_seed(0)
    for run in (
        lambda: extract_random_crops(pretrained, training, generator),
        lambda: evaluate_linear(pretrained, training, test, LinearSettings(solver="cmd")),
        lambda: evaluate_finetune(pretrained, training, test, FinetuneSettings()),
        lambda: evaluate_occlusion(pretrained, training, test, OcclusionSettings()),
    ):
        with pytest.raises(ValueError, match="max_frames=300"):
            run()
    cut = SkeletonDataset(store, [1], max_frames=300)
    found = extract_random_crops(pretrained, cut, generator.manual_seed(1)).values
    clip = cut.batch([0]).clips
    crop = TemporalCropResize(16, scale=(0.5, 1.0), min_frames=64)
    view = crop(clip, torch.tensor([300]), generator=generator.manual_seed(1))
    with torch.no_grad():
        assert_allclose(found[0], pretrained.encoder.eval()(view).mean((0, 1)), atol=1e-6)


def test_short_recordings_are_not_cropped(store: Store, pretrained: Pretrained) -> None:
    """The crop of the evaluations keeps the published 64 frames, whatever the encoder takes."""
    short = SkeletonDataset(store, [0, 6])
    found = extract_random_crops(pretrained, short, torch.Generator().manual_seed(0)).values
    batch = short.batch([0, 1])
    view = center_crop_resize(batch.clips, batch.lengths, 16, ratio=1)
    with torch.no_grad():
        assert_allclose(found, pretrained.encoder.eval()(view).mean(1), atol=1e-6)


@pytest.fixture(scope="module")
def run(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    model = MAMPSettings(frames=16, width=16, depth=1, heads=2, decoder_depth=1)
    config = RunSettings(
        model, TrainSettings(epochs=1, batch_size=4, warmup_epochs=0, accelerator="cpu")
    )
    pretrain(config, store, out)
    return out


def test_pretraining_takes_windows(
    store: Store, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = json.loads((run / "config.json").read_text())["data"]
    assert data["sequences"] == 1 + 5 + 1 + 6  # the windows of subject 1
    model = MAMPSettings(frames=16, width=16, depth=1, heads=2, decoder_depth=1)
    train = TrainSettings(epochs=1, batch_size=4, warmup_epochs=0, accelerator="cpu")
    pretrain(RunSettings(model, train, max_frames=300), store, tmp_path / "cut")
    said = capsys.readouterr().err
    assert "1,300 frames of 2 sequences" in said
    cut = json.loads((tmp_path / "cut" / "config.json").read_text())
    assert cut["data"]["sequences"] == 4
    assert cut["data"]["frames"] == 40 + 300 + 60 + 300
    assert cut["max_frames"] == 300


def test_presets_of_papers_cut() -> None:
    assert {name.startswith("small"): config.max_frames for name, config in PRESETS.items()} == {
        True: None,
        False: 300,
    }
    config = get_preset("pku2-xsub-mamp")
    assert RunSettings.from_json(config.to_json()) == config
    with pytest.raises(ValueError, match="max_frames"):
        RunSettings(max_frames=0)


def evaluate(capsys: pytest.CaptureFixture[str], *command: str) -> tuple[dict, str]:
    assert main([*command, "--json"]) == 0
    said = capsys.readouterr()
    return json.loads(said.out.splitlines()[-1]), said.err


def test_results_say_what_is_left_out(
    store: Store, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--run", str(run), "--data", str(store.path)]
    result, said = evaluate(capsys, "evaluate", "knn", *place, "--k", "2")
    assert (result["max_frames"], result["left_out"]["frames"]) == (None, 0)
    assert "4 sequences are longer than 300 frames" in said
    result, said = evaluate(capsys, "evaluate", "knn", *place, "--k", "2", "--max-frames", "300")
    assert result["max_frames"] == 300
    assert result["left_out"] == {"sequences": 4, "frames": LEFT_OUT, "copies": 0}
    assert f"{LEFT_OUT:,} frames of 4 sequences" in said
    probe = ["--solver", "mamp", "--probe.epochs", "1", "--probe.batch-size", "2"]
    result, said = evaluate(capsys, "evaluate", "linear", *place, *probe)
    assert result["left_out"] == {"sequences": 4, "frames": LEFT_OUT, "copies": 0}
    assert f"{LEFT_OUT:,} frames of 4 sequences" in said
    files = {file.stem.split("_store")[0] for file in (run / "results").glob("*.json")}
    assert {"knn_k-2", "knn_k-2_max_frames-300"} <= files


def test_tasks_with_windows_of_their_own_take_no_limit(
    store: Store, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    place = ["--run", str(run), "--data", str(store.path), "--max-frames", "300"]
    assert main(["evaluate", "prediction", *place]) != 0
    assert "prediction" in capsys.readouterr().err


def test_feature_files_say_it(
    store: Store, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["features", "--run", str(run), "--data", str(store.path)]
    for limit, text in ((None, "longer than 300"), (300, f"{LEFT_OUT:,} frames")):
        file = tmp_path / f"{limit}.npz"
        out = ["--out", str(file), *(["--max-frames", "300"] if limit else [])]
        result, said = evaluate(capsys, *command, *out)
        assert result["max_frames"] == limit
        assert text in said
        with np.load(file) as arrays:
            assert text in "".join(arrays["notes"])


def test_prepare_says_what_isc_leaves_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "recordings"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name, length in (("a", 450), ("b", 300), ("c", 310)):
        np.save(folder / f"{name}.npy", rng.normal(size=(length, 1, 25, 3)))
    report = prepare(
        folder, tmp_path / "isc", format="folder", skeleton="ntu25", normalization="isc", workers=1
    )
    assert report["cut"] == {"sequences": 2, "frames": 160}
    report = prepare(folder, tmp_path / "center", format="folder", skeleton="ntu25", workers=1)
    assert report["cut"] == {"sequences": 0, "frames": 0}
    assert main(["show", str(tmp_path / "isc")]) == 0
    assert "160 frames of 2 sequences" in capsys.readouterr().out
