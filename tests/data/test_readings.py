"""Raw files through the command to a store, beside what the published programs make of them."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from old_stores import edit_meta
from test_ntu import format_ntu
from test_pku import format_pku

from pcm3.cli import main
from pcm3.data import SkeletonDataset, Store, prepare
from pcm3.data.normalize import normalize
from pcm3.data.readers.ntu import read_ntu
from pcm3.data.report import describe
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import NTU25

Golden = Callable[[str], dict[str, Any]]


def command(*arguments: object) -> Store:
    """The store that ``pcm3 prepare FORMAT SOURCE STORE ...`` writes."""
    assert main(["prepare", *map(str, arguments), "--workers", "1"]) == 0
    return Store(str(arguments[2]))


def people(length: int = 30, bodies: int = 2, seed: int = 0) -> NDArray[np.float32]:
    """Bodies (T, B, 25, 3) that stand, face somewhere and sway."""
    rng = np.random.default_rng(seed)
    bones = rng.normal(0, 0.2, (bodies, 25, 3)) + np.array([0, 0, 3])
    bones[..., 1] = np.linspace(-0.8, 0.8, 25)
    return (bones + rng.normal(0, 0.03, (length, bodies, 25, 3)).cumsum(0)).astype(np.float32)


# --- the published readings -----------------------------------------------------------------------


@pytest.fixture(scope="module")
def ntu(golden: Golden, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    recorded = golden("ntu_normalization")
    folder = tmp_path_factory.mktemp("ntu")
    for index, scenario in enumerate(recorded["scenarios"], 1):
        file = folder / f"S{index:03}C001P001R001A001.skeleton"
        file.write_bytes(recorded[f"{scenario}/skeleton"].tobytes())
    return recorded, folder


def compare(store: Store, wanted: dict[str, NDArray[Any]], tolerance: float) -> None:
    assert len(store) == len(wanted) > 0
    for index, (scenario, frames) in enumerate(wanted.items()):
        assert store.sequence(index).shape == frames.shape, scenario
        difference = np.abs(store.sequence(index) - frames).max()
        assert difference <= tolerance, (scenario, difference)


def test_ntu_isc_is_the_published_one(ntu, tmp_path):
    recorded, raw = ntu
    store = command("ntu", raw, tmp_path / "s", "--normalization", "isc")
    compare(store, {name: recorded[f"{name}/isc"] for name in recorded["scenarios"]}, 1e-5)
    assert store.meta["bodies"] == "place"


def test_ntu_sgn_is_the_published_one(ntu, tmp_path):
    recorded, raw = ntu
    store = command("ntu", raw, tmp_path / "s", "--normalization", "sgn")
    wanted = {name: recorded[f"{name}/sgn"] for name in recorded["scenarios"]}
    compare(store, wanted, 1e-6)
    assert store.meta["bodies"] == "tracked"
    copies = "--duplicate-single"
    store = command("ntu", raw, tmp_path / "s120", "--normalization", "sgn", copies)
    for name in recorded["scenarios"]:
        if recorded[f"{name}/sgn120_copies"]:
            wanted[name] = wanted[name][:, [0, 0]]
    compare(store, wanted, 1e-6)


def test_pku_isc_is_the_published_one(golden, tmp_path):
    recorded = golden("pku_normalization")
    for kind in ("skeleton", "label"):
        (tmp_path / "raw" / kind).mkdir(parents=True)
    for index, scenario in enumerate(recorded["scenarios"]):
        name = f"{index + 1:04}-L.txt"
        content = recorded[f"{scenario}/skeleton"].tobytes()
        (tmp_path / "raw" / "skeleton" / name).write_bytes(content)
        (tmp_path / "raw" / "label" / name).write_text(str(recorded[f"{scenario}/label"]))
    store = command("pku", tmp_path / "raw", tmp_path / "s", "--normalization", "isc")
    firsts = [index for index, name in enumerate(store.names) if name.endswith("line 1")]
    assert len(firsts) == len(recorded["scenarios"])
    for index, scenario in zip(firsts, recorded["scenarios"], strict=True):
        difference = np.abs(store.sequence(index) - recorded[f"{scenario}/isc"]).max()
        assert difference <= 1e-5, (scenario, difference)


# --- bodies by place or by id ---------------------------------------------------------------------


def write_ntu(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "S001C001P001R001A001.skeleton").write_text(text)
    return folder


def swapped(frames: NDArray[np.float32], ids: tuple[int, int] = (8, 9)) -> str:
    """A file that lists both bodies the other way round from the middle on."""
    half = len(frames) // 2
    first = format_ntu(frames[:half], ids, eol="\n").split("\n", 1)[1]
    second = format_ntu(frames[half:, ::-1], ids[::-1], eol="\n").split("\n", 1)[1]
    return f"{len(frames)}\n{first}{second}"


def test_bodies_by_place_or_by_id(tmp_path):
    frames = people()
    raw = write_ntu(tmp_path / "raw", swapped(frames))
    (tracked,), (by_place,) = read_ntu(raw), read_ntu(raw, bodies="place")
    np.testing.assert_array_equal(tracked.frames, frames)
    np.testing.assert_array_equal(by_place.frames[:15], frames[:15])
    np.testing.assert_array_equal(by_place.frames[15:], frames[15:, ::-1])
    with pytest.raises(ValueError, match=r"'place'.*'tracked'.*'id'"):
        read_ntu(raw, bodies="id")


def test_place_needs_no_ids(tmp_path):
    raw = write_ntu(tmp_path / "raw", format_ntu(people(), ids=(7, 7)))
    (recording,) = read_ntu(raw, bodies="place")
    np.testing.assert_array_equal(recording.frames, people())
    with pytest.raises(SkeletonFormatError, match=r"body 7.*frame 0"):
        list(read_ntu(raw))


@pytest.mark.parametrize(
    ("options", "bodies"),
    [
        ([], "tracked"),
        (["--normalization", "none"], "tracked"),
        (["--normalization", "isc"], "place"),
        (["--normalization", "isc", "--bodies", "tracked"], "tracked"),
        (["--normalization", "center", "--bodies", "place"], "place"),
    ],
)
def test_the_recipe_decides_unless_told(tmp_path, options, bodies, capsys):
    raw = write_ntu(tmp_path / "raw", swapped(people()))
    store = command("ntu", raw, tmp_path / "s", *options, "--json")
    (read,) = read_ntu(raw, bodies=bodies)
    wanted = normalize(read.frames, NTU25, store.meta["normalization"], 2)
    np.testing.assert_array_equal(store.sequence(0), wanted)
    said = capsys.readouterr().out
    report = json.loads(said.splitlines()[-1])["report"]
    assert report["options"] == {"bodies": bodies}
    assert report["summary"]["bodies"] == store.meta["bodies"] == bodies
    words = {"place": "bodies by place", "tracked": "bodies tracked by id"}
    assert [word for word in words.values() if word in said] == [words[bodies]]


def test_sgn_needs_tracked_bodies(tmp_path):
    raw = write_ntu(tmp_path / "raw", swapped(people()))
    with pytest.raises(ValueError, match="--bodies tracked"):
        prepare(raw, tmp_path / "s", normalization="sgn", bodies="place")
    assert not (tmp_path / "s").exists()
    prepare(raw, tmp_path / "s", normalization="sgn", bodies="tracked", workers=1)
    assert Store(tmp_path / "s").meta["bodies"] == "tracked"


def test_stores_of_before_do_not_say(tmp_path):
    raw = write_ntu(tmp_path / "raw", swapped(people()))
    store = command("ntu", raw, tmp_path / "s")
    assert store.meta["bodies"] == "tracked"
    edit_meta(store.path, "bodies")
    report = json.loads((store.path / "report.json").read_text())
    for key in ("held", "already_isc"):
        del report[key]
    (store.path / "report.json").write_text(json.dumps(report))
    assert Store(store.path).summary()["bodies"] is None
    assert "bodies tracked" not in describe(Store(store.path))
    edit_meta(store.path, bodies=3)
    with pytest.raises(SkeletonFormatError, match=r"bodies .*got 3"):
        Store(store.path)


# --- recordings that are normalised already -------------------------------------------------------


def write_agcn(folder: Path, sequences: list[NDArray[np.float32]], labels: list[Any]) -> None:
    """As the published programs for PKU-MMD do: raw lengths, and labels that are floats."""
    data = np.zeros((len(sequences), 3, 300, 25, 2), np.float32)
    for row, frames in zip(data, sequences, strict=True):
        row[:, : len(frames)] = frames[:300].transpose(3, 0, 2, 1)
    folder.mkdir()
    np.save(folder / "train_data_joint.npy", data)
    np.save(folder / "train_num_frame.npy", [len(frames) for frames in sequences])
    names = [f"A01N01-L.txt_{index}" for index in range(len(sequences))]
    (folder / "train_label.pkl").write_bytes(pickle.dumps((names, labels)))


def test_agcn_files_of_pku(tmp_path):
    sequences = [people(20), people(310, seed=1)]
    write_agcn(tmp_path / "raw", sequences, [np.float64(3), np.float64(7)])
    store = command("agcn", tmp_path / "raw", tmp_path / "s")
    assert store.labels.tolist() == [3, 7]
    assert store.lengths.tolist() == [20, 300]
    np.testing.assert_array_equal(store.sequence(1), sequences[1][:300])
    write_agcn(tmp_path / "half", sequences, [3.0, 7.5])
    with pytest.raises(SkeletonFormatError, match=r"sequence 1.*0.*7\.5"):
        prepare(tmp_path / "half", tmp_path / "h", workers=1)


@pytest.mark.parametrize("asked", [None, "none", "isc"])
def test_isc_is_not_applied_to_agcn_files(tmp_path, asked):
    frames = [normalize(people(seed=seed), NTU25, "isc") for seed in range(3)]
    write_agcn(tmp_path / "raw", frames, [0, 1, 2])
    options = {} if asked is None else {"normalization": asked}
    report = prepare(tmp_path / "raw", tmp_path / "s", workers=1, **options)
    store = Store(tmp_path / "s")
    for index, wanted in enumerate(frames):
        np.testing.assert_array_equal(store.sequence(index), wanted)
    assert report["held"] == report["normalization"] == store.meta["normalization"] == "isc"
    assert "normalised by isc before: not applied again" in describe(store)


@pytest.mark.parametrize("asked", ["center", "sgn"])
def test_nothing_follows_isc(tmp_path, asked):
    write_agcn(tmp_path / "raw", [people()], [0])
    with pytest.raises(ValueError, match="--normalization isc"):
        prepare(tmp_path / "raw", tmp_path / "s", normalization=asked)
    assert not (tmp_path / "s").exists()


def write_ctrgcn(file: Path, frames: NDArray[np.float32], classes: int) -> Path:
    x = np.zeros((1, 300, 150), np.float32)
    x[0, : len(frames)] = frames.reshape(len(frames), 150)
    y = np.eye(classes)[:1]
    np.savez(file, x_train=x, y_train=y, x_test=x, y_test=y)
    return file


@pytest.mark.parametrize(
    ("asked", "recipe"),
    [(None, "sgn"), ("none", "sgn"), ("sgn", "sgn"), ("center", "center"), ("isc", "isc")],
)
def test_ctrgcn_files_hold_sgn(tmp_path, asked, recipe):
    frames = normalize(people(), NTU25, "sgn")
    file = write_ctrgcn(tmp_path / "NTU60_XSub.npz", frames, 60)
    options = {} if asked is None else {"normalization": asked}
    report = prepare(file, tmp_path / "s", workers=1, **options)
    store = Store(tmp_path / "s")
    assert store.meta["normalization"] == recipe
    wanted = frames if recipe == "sgn" else normalize(frames, NTU25, recipe)
    np.testing.assert_array_equal(store.sequence(0), wanted)
    assert (report["held"], report["normalization"]) == ("sgn", recipe)
    done = "not applied again" if recipe == "sgn" else f"{recipe} was applied to that"
    assert f"normalised by sgn before: {done}" in describe(store)


def test_no_copies_of_what_is_sgn_already(tmp_path):
    file = write_ctrgcn(tmp_path / "NTU60_XSub.npz", normalize(people(), NTU25, "sgn"), 60)
    with pytest.raises(ValueError, match=r"'sgn', .* applied to 'ctrgcn'"):
        prepare(file, tmp_path / "s", normalization="sgn", duplicate_single=True)


def test_pku_files_of_mamp_are_raw(tmp_path):
    frames = people()
    frames[:, 1] *= 3  # moves more, and stays second
    file = write_ctrgcn(tmp_path / "PKUv2_XSub.npz", frames, 51)
    store = command("ctrgcn", file, tmp_path / "s", "--normalization", "none")
    np.testing.assert_array_equal(store.sequence(0), frames)
    assert store.meta["normalization"] == "none"
    assert store.class_names[0] == "bow"
    assert set(store.protocols) == {"split", "xsub"}
    store = command("ctrgcn", file, tmp_path / "isc", "--normalization", "isc")
    wanted = normalize(frames, NTU25, "isc", keep_order=True)
    np.testing.assert_array_equal(store.sequence(0), wanted)


def write_packed(file: Path, sequences: list[NDArray[np.float32]], **more: Any) -> Path:
    np.savez(
        file,
        joints=np.concatenate(sequences),
        lengths=[len(frames) for frames in sequences],
        joint_names=NTU25.joints,
        parents=NTU25.parents,
        **more,
    )
    return file


def test_packed_files_may_say_it(tmp_path):
    frames = people()
    file = write_packed(tmp_path / "p.npz", [frames], normalization="sgn")
    store = command("packed", file, tmp_path / "s")
    assert store.meta["normalization"] == "sgn"
    np.testing.assert_array_equal(store.sequence(0), frames)
    file = write_packed(tmp_path / "p.npz", [frames], normalization="mine")
    with pytest.raises(SkeletonFormatError, match=r"normalization.*'mine'"):
        prepare(file, tmp_path / "t")


def test_isc_by_the_coordinates(tmp_path):
    raw = [people(seed=seed) for seed in range(3)]
    turned = normalize(raw[1], NTU25, "isc")
    centred = normalize(raw[2], NTU25, "center")
    assert np.abs(normalize(turned, NTU25, "isc") - turned).max() > 0.01  # again is not the same
    file = write_packed(tmp_path / "p.npz", [raw[0], turned, centred])
    store = command("packed", file, tmp_path / "s", "--normalization", "isc")
    np.testing.assert_array_equal(store.sequence(0), normalize(raw[0], NTU25, "isc"))
    np.testing.assert_array_equal(store.sequence(1), turned)
    np.testing.assert_array_equal(store.sequence(2), normalize(centred, NTU25, "isc"))
    assert "normalised by isc before, by their coordinates: 1; not applied again" in describe(store)
    store = command("packed", file, tmp_path / "c")
    assert "by their coordinates: 1; center was applied to that" in describe(store)


# --- untrimmed recordings -------------------------------------------------------------------------


def write_pku(folder: Path, frames: NDArray[np.float32], labels: str, name: str) -> Path:
    for kind, content in (("skeleton", format_pku(frames)), ("label", labels)):
        (folder / kind).mkdir(parents=True)
        (folder / kind / f"{name}.txt").write_text(content)
    return folder


@pytest.mark.parametrize("length", [40, 320])
def test_untrimmed_recordings_keep_their_frames(tmp_path, length, capsys):
    frames = people(length)
    frames[:3, 0] = 0  # comes late, which isc would move to the start
    raw = write_pku(tmp_path / "raw", frames, "3,5,20,1\n", "0002-L")
    for recipe in ("none", "center"):
        store = command("pku", raw, tmp_path / recipe, "--untrimmed", "--normalization", recipe)
        np.testing.assert_allclose(store.sequence(0), normalize(frames, NTU25, recipe), atol=1e-6)
        assert np.flatnonzero(store.frame_labels == 2).tolist() == list(range(5, 20))
    for recipe in ("isc", "sgn"):
        arguments = ["prepare", "pku", raw, tmp_path / recipe, "--untrimmed"]
        assert main([*map(str, arguments), "--normalization", recipe]) != 0
        assert "--normalization none" in " ".join(capsys.readouterr().err.split())
        assert not (tmp_path / recipe).exists()


def test_raw_pku_instances_are_cut_by_the_data_set(tmp_path):
    frames = people(330)
    raw = write_pku(tmp_path / "raw", frames, "3,2,322,1\n4,322,329,1\n", "A01N01-L")
    store = command("pku", raw, tmp_path / "s", "--normalization", "none")
    assert store.lengths.tolist() == [320, 7]
    clip, _ = SkeletonDataset(store, max_frames=300)[0]
    np.testing.assert_allclose(clip.numpy().transpose(1, 3, 2, 0), frames[2:302], atol=1e-6)
