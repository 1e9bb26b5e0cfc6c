"""What a run remembers of its training sequences, and what an evaluation makes of it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pcm3 import PCM3
from pcm3.cli import main
from pcm3.data import SkeletonDataset
from pcm3.data.dataset import Batch, ClipDataset
from pcm3.data.hybrid import HybridDataset
from pcm3.data.splits import split
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic import generate
from pcm3.data.synthetic.motion import SyntheticMotion
from pcm3.encoders import GRUEncoder
from pcm3.encoders.files import load_encoder
from pcm3.errors import SkeletonFormatError
from pcm3.methods.catalog import RunSettings
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.methods.settings import TrainSettings
from pcm3.runs.folder import Run
from pcm3.runs.seen import find_past, find_seen, past_of
from pcm3.training.pretrain import pretrain

Frames = NDArray[np.float32]
Capture = pytest.CaptureFixture[str]

SIZES: dict[str, Any] = {"frames": 8, "embedding": 4, "queue_size": 8, "decoder_hidden": 4}
TRAIN = TrainSettings(epochs=1, batch_size=4, lr=0.01, accelerator="cpu", optimizer="adamw")
CONFIG = RunSettings(PCM3Settings(hidden=4, layers=1, **SIZES), TRAIN, "xsub")
CHOSEN = [1, 2, 5, 9, 10, 11, 14]


def copy_of(
    store: Store,
    out: Path,
    indices: Sequence[int],
    change: Callable[[Frames], Frames] = lambda frames: frames,
    name: str = "{}",
    **about: Any,
) -> Store:
    """A store of some sequences of another one."""
    known = {"normalization": "center", "source": store.meta["source"]} | about
    with StoreWriter(
        out, store.skeleton, class_names=store.class_names, unit=store.meta["unit"], **known
    ) as writer:
        for index in indices:
            columns = {name: int(store.columns[name][index]) for name in ("subjects", "views")}
            frames = change(np.array(store.sequence(index)))
            label = int(store.labels[index])
            writer.add(frames, label, name=name.format(f"recording {index}"), **columns)
    return Store(out)


def turned(frames: Frames) -> Frames:
    return frames[..., [1, 0, 2]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store; runs on its training part, on all of it, of no epoch, and one of Python."""
    folder = tmp_path_factory.mktemp("seen")
    plain = generate(folder / "plain", sequences=16, classes=2, subjects=4, frames=(8, 16))
    store = copy_of(plain, folder / "store", range(16))
    pretrain(CONFIG, store, folder / "part", quiet=True)
    pretrain(replace(CONFIG, protocol="all"), store, folder / "whole", quiet=True)
    none = replace(CONFIG, protocol="all", train=replace(TRAIN, epochs=0))
    pretrain(none, store, folder / "none", quiet=True)
    fit_in_python(SkeletonDataset(store, CHOSEN), folder / "python")
    return folder


def fit_in_python(data: ClipDataset, out: Path | None, model: PCM3 | None = None) -> PCM3:
    if model is None:
        encoder = GRUEncoder(data.skeleton, persons=data.persons, hidden=4, layers=1)
        model = PCM3(encoder, data.skeleton, **SIZES)
    return model.fit(data, out, quiet=True, epochs=1, batch_size=4, accelerator="cpu")


@pytest.fixture
def store(folder: Path) -> Store:
    return Store(folder / "store")


def found(path: str | Path, store: Store) -> list[bool | None]:
    """Whether each sequence was seen; None if unknown."""
    seen = find_seen(find_past(path), store)
    pairs = zip(seen.seen.tolist(), seen.unknown.tolist(), strict=True)
    return [None if unknown else here for here, unknown in pairs]


def expected(store: Store, indices: Sequence[int], trained: Sequence[int]) -> list[bool]:
    """Whether one of the training sequences is equal, bit for bit."""
    return [
        any(np.array_equal(store.sequence(index), store.sequence(other)) for other in trained)
        for index in indices
    ]


def test_single_sequences_are_recognised_in_another_store(
    folder: Path, store: Store, tmp_path: Path
) -> None:
    indices = [9, 3, 4, 14, 15, 1, 0]
    new = copy_of(store, tmp_path / "new", indices, name="renamed {}", source="another")
    part = split(store, "xsub")[0].tolist()
    wanted = expected(store, indices, part)
    assert 0 < sum(wanted) < len(indices)
    assert found(folder / "part", new) == wanted
    assert found(folder / "whole", new) == [True] * len(indices)
    assert found(folder / "python", new) == expected(store, indices, CHOSEN)
    assert found(folder / "none", new) == [False] * len(indices)
    assert found("pretrained", new) == [False] * len(indices)


def test_the_training_store_itself(folder: Path, store: Store) -> None:
    every, part = range(len(store)), split(store, "xsub")[0].tolist()
    assert found(folder / "part", store) == expected(store, every, part)
    assert found(folder / "python", store) == expected(store, every, CHOSEN)
    assert found(folder / "none", store) == [False] * len(store)


def test_recordings_that_were_prepared_in_another_way(
    folder: Path, store: Store, tmp_path: Path
) -> None:
    every, part = range(len(store)), split(store, "xsub")[0].tolist()
    trained = expected(store, every, part)
    # all of the store: its numbers and the protocol tell
    assert found(folder / "part", copy_of(store, tmp_path / "all", every, turned)) == trained
    # some of it: only the names tell, that they may be the same
    some = copy_of(store, tmp_path / "some", range(12), turned, source="another")
    assert found(folder / "part", some) == [None if here else False for here in trained[:12]]
    fewer = copy_of(store, tmp_path / "fewer", range(12), turned, "renamed {}", source="another")
    assert found(folder / "part", fewer) == [False] * 12
    other_form = {"name": "renamed {}", "normalization": "none"}
    same = copy_of(store, tmp_path / "same", range(12), turned, **other_form)
    assert found(folder / "part", same) == [None] * 12
    new = copy_of(store, tmp_path / "new", range(12), turned, **other_form, source="another")
    assert found(folder / "part", new) == [False] * 12
    past = find_past(folder / "part")
    assert find_seen(past, some).count_in(np.flatnonzero(trained[:12])) is None
    assert find_seen(past, some).count_in(np.flatnonzero(~np.array(trained[:12]))) == 0
    assert find_seen(past, store).count_in([1, *part]) == len(part)


@pytest.mark.parametrize("older", [True, False])
def test_a_run_without_its_record_knows_whole_stores_alone(
    folder: Path, store: Store, tmp_path: Path, older: bool
) -> None:
    run = Path(shutil.copytree(folder / "part", tmp_path / "run"))
    (run / "seen.npz").unlink()
    settings = json.loads((run / "config.json").read_text())
    if older:
        del settings["seen"][0]["recorded"], settings["seen"][0]["form"]
    (run / "config.json").write_text(json.dumps(settings))
    part = split(store, "xsub")[0].tolist()
    assert found(run, store) == expected(store, range(len(store)), part)
    same_source = copy_of(store, tmp_path / "other", range(12))
    assert found(run, same_source) == [None] * 12
    same_name = copy_of(store, tmp_path / "store", range(12), source="another")
    assert found(run, same_name) == [None] * 12
    no_source = copy_of(store, tmp_path / "third", range(12), source="")
    assert found(run, no_source) == [None] * 12
    another = copy_of(store, tmp_path / "fourth", range(12), source="another")
    assert found(run, another) == [False] * 12
    # what goes on from it knows its own part only
    pretrain(replace(CONFIG, protocol="labels:0"), store, tmp_path / "next", start=run, quiet=True)
    own = split(store, "labels:0")[0].tolist()
    assert found(tmp_path / "next", store) == expected(store, range(16), [*part, *own])
    after = [here or None for here in expected(store, range(12), own)]
    assert found(tmp_path / "next", same_source) == after


def test_stores_without_checksums(folder: Path, store: Store, tmp_path: Path) -> None:
    old = Path(shutil.copytree(folder / "store", tmp_path / "old"))
    meta = json.loads((old / "meta.json").read_text())
    del meta["checksum"], meta["checksums"]
    (old / "meta.json").write_text(json.dumps(meta))
    (old / "checksums.npy").unlink()
    part = split(store, "xsub")[0].tolist()
    assert found(folder / "part", Store(old)) == expected(store, range(len(store)), part)
    assert found(folder / "python", Store(old)) == [None] * len(store)
    pretrain(CONFIG, Store(old), tmp_path / "run", quiet=True)
    assert found(tmp_path / "run", store) == expected(store, range(len(store)), part)
    assert found(tmp_path / "run", copy_of(store, tmp_path / "new", range(5))) == [None] * 5


def test_several_stores_in_windows(store: Store, tmp_path: Path) -> None:
    other = generate(tmp_path / "other", sequences=12, classes=2, subjects=4, seed=1)
    parts = [SkeletonDataset(store, CHOSEN, window=4), SkeletonDataset(other, [3], window=8)]
    fit_in_python(HybridDataset(parts), tmp_path / "run")
    assert found(tmp_path / "run", store) == [index in CHOSEN for index in range(16)]
    assert found(tmp_path / "run", other) == [index == 3 for index in range(12)]


def test_an_encoder_for_any_layout(store: Store, tmp_path: Path) -> None:
    config = replace(CONFIG, any_layout=True)
    pretrain(config, store, tmp_path / "run", quiet=True)
    indices = [3, 8, 0, 13]
    new = copy_of(store, tmp_path / "new", indices)
    part = split(store, "xsub")[0].tolist()
    assert found(tmp_path / "run", new) == expected(store, indices, part)


def test_synthetic_motion_and_stores_of_it(store: Store, tmp_path: Path) -> None:
    data = SyntheticMotion(8, frames=(8, 8))
    fit_in_python(data, tmp_path / "run")
    assert found(tmp_path / "run", store) == [False] * len(store)
    assert found(tmp_path / "run", data.save(tmp_path / "motion")) == [None] * 8
    assert found("pretrained", Store(tmp_path / "motion")) == [False] * 8


class Others(ClipDataset):
    """A data set of another class."""

    def __init__(self, data: SkeletonDataset) -> None:
        self.data = data
        for name in ("skeleton", "normalization", "persons", "channels", "labels", "lengths"):
            setattr(self, name, getattr(data, name))

    def batch(self, indices: Sequence[int]) -> Batch:
        return self.data.batch(indices)


def test_what_is_not_known_stays_unknown(folder: Path, store: Store, tmp_path: Path) -> None:
    fit_in_python(Others(SkeletonDataset(store)), tmp_path / "run")
    assert found(tmp_path / "run", store) == [None] * len(store)
    file = Path(shutil.copy(folder / "part" / "encoder.safetensors", tmp_path))
    assert found(file, store) == [None] * len(store)
    pretrain(CONFIG, store, tmp_path / "next", start=file, quiet=True)
    part = split(store, "xsub")[0].tolist()
    wanted = [here or None for here in expected(store, range(len(store)), part)]
    assert found(tmp_path / "next", store) == wanted


@pytest.mark.parametrize("origin", ["state_dict", "part/config.json"])
def test_weights_from_elsewhere(folder: Path, store: Store, tmp_path: Path, origin: str) -> None:
    """Those of a published checkpoint, of a file that is gone, or of one without a run."""
    encoder = GRUEncoder(store.skeleton, persons=1, hidden=4, layers=1)
    encoder.origin = str(folder / origin)
    model = PCM3(encoder, store.skeleton, **SIZES)
    fit_in_python(SkeletonDataset(store, CHOSEN), tmp_path / "run", model)
    assert found(tmp_path / "run", store) == [index in CHOSEN or None for index in range(16)]


def test_the_start_counts(folder: Path, store: Store, tmp_path: Path) -> None:
    for number, start in enumerate(("python", "python/encoder.safetensors")):
        out = tmp_path / str(number)
        assert found(folder / start, store) == [index in CHOSEN for index in range(16)]
        if number == 0:
            other = fit_in_python(SkeletonDataset(store, CHOSEN), None)
            fit_in_python(SkeletonDataset(store, [0, 3, 4, 6]), out, other)
        else:
            config = replace(CONFIG, protocol="labels:0")
            pretrain(config, store, out, start=folder / start, quiet=True)
        own = [0, 3, 4, 6] if number == 0 else split(store, "labels:0")[0].tolist()
        assert found(out, store) == expected(store, range(16), [*CHOSEN, *own])
    loaded = load_encoder(folder / "python").encoder.train()
    out = tmp_path / "loaded"
    fit_in_python(SkeletonDataset(store, [0, 3, 4, 6]), out, PCM3(loaded, store.skeleton, **SIZES))
    assert found(out, store) == expected(store, range(16), [*CHOSEN, 0, 3, 4, 6])
    config = replace(CONFIG, train=replace(TRAIN, epochs=0))
    start = folder / "whole" / "encoder.safetensors"
    pretrain(config, store, tmp_path / "none", start=start, quiet=True)
    assert found(tmp_path / "none", store) == [True] * len(store)
    start = folder / "none" / "encoder.safetensors"
    pretrain(CONFIG, store, tmp_path / "first", start=start, quiet=True)
    part = split(store, "xsub")[0].tolist()
    assert found(tmp_path / "first", store) == expected(store, range(16), part)


def test_a_record_is_written_before_training_and_kept(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "run" / "seen.npz"

    def stop(*_: object) -> None:
        assert record.is_file()
        raise KeyError

    with monkeypatch.context() as patch:
        patch.setattr(PCM3, "make_views", stop)
        with pytest.raises(KeyError):
            fit_in_python(SkeletonDataset(store, [1, 2, 3, 4]), tmp_path / "run")
    fit_in_python(SkeletonDataset(store, CHOSEN), tmp_path / "run")  # nothing came about before
    assert found(tmp_path / "run", store) == [index in CHOSEN for index in range(16)]
    written = record.read_bytes()
    fit_in_python(SkeletonDataset(store, CHOSEN), tmp_path / "run")
    assert record.read_bytes() == written


def test_a_damaged_record_is_refused(folder: Path, store: Store, tmp_path: Path) -> None:
    run = Run(shutil.copytree(folder / "part", tmp_path / "run"))
    data = past_of(SkeletonDataset(store)).record._asdict()
    for change in ({"trained": np.zeros(3)}, {"names": np.zeros((2, 2), np.uint64)}):
        np.savez(run.seen, **data | change)
        with pytest.raises(SkeletonFormatError, match=r"seen\.npz"):
            find_past(run.path)
    run.seen.write_bytes(b"damaged")
    with pytest.raises(SkeletonFormatError, match=r"seen\.npz"):
        find_past(run.path)


def test_evaluations_tell_what_was_seen(
    folder: Path, store: Store, tmp_path: Path, capsys: Capture
) -> None:
    some = copy_of(store, tmp_path / "some", range(12))
    count = len(split(some, "xsub")[1])

    def evaluate(run: Path | str, data: Store = some) -> tuple[int | None, list[str], str]:
        knn = ["evaluate", "knn", "--run", str(run), "--data", str(data.path), "--k", "1"]
        out = [] if Path(run).is_dir() else ["--out", str(tmp_path / "results")]
        shutil.rmtree(tmp_path / "results", ignore_errors=True)
        assert main([*knn, "--protocol", "xsub", *out, "--json"]) == 0
        shown = capsys.readouterr()
        told = json.loads(shown.out.splitlines()[-1])
        return told["runs"][0]["test_sequences_seen"], told["notes"], shown.err

    for run in ("whole", "whole/encoder.safetensors"):
        seen, notes, said = evaluate(folder / run)
        assert (seen, notes) == (count, [])
        assert f"{count} of the {count} test sequences" in said
    for known in ("part", "none"):
        assert evaluate(folder / known) == (0, [], "")
    assert evaluate("pretrained")[0] == 0
    tests = split(some, "xsub")[1]
    assert evaluate(folder / "python")[0] == len({*CHOSEN} & {*tests.tolist()}) > 0
    file = Path(shutil.copy(folder / "whole" / "encoder.safetensors", tmp_path / "mine"))
    seen, notes, _ = evaluate(file.rename(tmp_path / "mine.safetensors"))
    assert seen is None
    assert len(notes) == 1
    # marks in the report
    for run, mark in (("whole", "†"), ("part", ""), ("none", "")):
        assert main(["report", str(folder / run), "--out", str(tmp_path / "report")]) == 0
        table = (tmp_path / "report" / "report.md").read_text()
        assert ("†" in table, "Whether pretraining" in table) == (mark == "†", False)
