"""Names from data, however hostile: nothing is written or read elsewhere, and all goes well."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import test_packed
import test_pyskl

from pcm3.data import Store, StoreWriter, prepare
from pcm3.data.readers import READERS, open_source
from pcm3.data.readers.shared.names import NtuName
from pcm3.errors import SkeletonFormatError
from pcm3.evaluation.kept import result_name
from pcm3.evaluation.tasks.detection.proposals import Proposal, write_pku_results
from pcm3.evaluation.tasks.registry import TASKS
from pcm3.skeleton import SBU15

HOSTILE = [
    *("../../x", "/tmp/x", "..", ".", "a/b", "a\\b", "a\nb", "a\x00b", "a\x1b[31m", "\u202eabc"),
    *("CON", "~", "$HOME", "`touch x`", "x" * 5000, "\ud800", " ", "-rf", "%s%n", "{0}"),
]


def everything(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*")}


STORE = {"meta.json", "report.json", "bodies.npy", "table.npz", "names.npy", "checksums.npy"}


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_names_of_classes_and_sequences(tmp_path: Path, name: str) -> None:
    raw, out = tmp_path / "in", tmp_path / "deep" / "out"
    raw.mkdir()
    contents = test_pyskl.three_d()
    contents["annotations"][0]["frame_dir"] = name
    (raw / "data.pkl").write_bytes(pickle.dumps(contents, 4))
    prepare(raw / "data.pkl", out, workers=1)
    assert everything(out) == STORE
    assert set(Store(out).names) >= {name}

    arrays = test_packed.packed() | {"class_names": np.array([name, "bow"])}
    arrays |= {"source": np.array(name), "unit": np.array(name), "licence": np.array(name)}
    np.savez(raw / "data.npz", **arrays)
    prepare(raw / "data.npz", out, workers=1, overwrite=True)
    assert Store(out).class_names == (name, "bow")
    json.dumps(Store(out).summary())
    assert everything(tmp_path) == {
        *("in", "in/data.pkl", "in/data.npz", "deep", "deep/out"),
        *(f"deep/out/{each}" for each in STORE),
    }


NO_COLUMNS = [name for name in HOSTILE if name not in ("CON", "a\x00b", "\ud800")]


@pytest.mark.parametrize("name", [*NO_COLUMNS, "file", "name", "self", "label", "slots"])
def test_names_of_columns(tmp_path: Path, name: str) -> None:
    file, out = tmp_path / "data.npz", tmp_path / "out"
    buffer = io.BytesIO()
    np.save(buffer, np.arange(3))
    np.savez(file, **test_packed.packed())
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr(f"{name}.npy", buffer.getvalue())
    with pytest.raises(SkeletonFormatError, match=r"data\.npz"):
        prepare(file, out, workers=1)
    assert everything(tmp_path) == {"data.npz"}


@pytest.mark.parametrize("name", [*HOSTILE, "file", "lengths", "slots", "allow_pickle"])
def test_names_of_columns_that_are_written(tmp_path: Path, name: str) -> None:
    def write() -> None:
        with StoreWriter(tmp_path / "out", SBU15, class_names=["a"]) as writer:
            writer.add(np.ones((2, 1, 15, 3)), 0, **{name: 1})

    if name == "CON":
        write()
        assert Store(tmp_path / "out").columns[name].tolist() == [1]
        return
    with pytest.raises(ValueError, match="sequence 0"):
        write()
    assert not everything(tmp_path)


@pytest.mark.parametrize("name", ["file", "name", "self", "label", "frame_labels", "2d", "slots"])
def test_names_of_splits(tmp_path: Path, name: str) -> None:
    contents = test_pyskl.three_d()
    names = test_pyskl.NAMES
    contents["split"] = {f"{name}_train": names[:1], f"{name}_val": names[1:]}
    (tmp_path / "data.pkl").write_bytes(pickle.dumps(contents, 4))
    prepare(tmp_path / "data.pkl", tmp_path / "out", workers=1)
    store = Store(tmp_path / "out")
    (column,) = store.protocols.keys() - {"xsub", "xview"}
    assert store.columns[column].tolist() == [1, 0, 0]
    assert name in column


@pytest.mark.parametrize("digit", ["\uff11", "\u0661", "1_", "+1", " 1"])
def test_digits_of_names(tmp_path: Path, digit: str) -> None:
    """Python takes them for numbers."""
    assert NtuName.parse("S001C001P001R001A001") == (1, 1, 1, 1, 1)
    width = 3 - len(digit)
    assert NtuName.parse(f"S{'0' * width}{digit}C001P001R001A001") is None
    names = (f"a{digit}_s1_t1_skeleton.mat", f"a{digit}_s01_e01_skeleton3D.txt")
    names += (f"a{digit}_s01_e01_v01.json", f"000{digit}-L.txt")
    for name in names:
        (tmp_path / name).write_text(" ".join(["1"] * 150))
    assert not any(READERS[format].detect(tmp_path) for format in ("utd", "msr", "ucla", "pku"))


def test_two_splits_of_one_name(tmp_path: Path) -> None:
    contents = test_pyskl.three_d()
    names = test_pyskl.NAMES
    contents["split"] = {
        **{"a_train1": names[:1], "a_val1": names[1:]},
        **{"a1_train": names[:2], "a1_val": names[2:]},
    }
    (tmp_path / "data.pkl").write_bytes(pickle.dumps(contents, 4))
    with pytest.raises(SkeletonFormatError, match="a second pair of splits called a1"):
        open_source(tmp_path / "data.pkl")


@pytest.mark.parametrize("key", ["name", "file_allow", "self", "slots", "allow_pickle", "../x"])
def test_names_of_a_table(tmp_path: Path, key: str) -> None:
    np.save(tmp_path / "a.npy", np.random.default_rng(0).normal(size=(2, 17, 3)))
    (tmp_path / "labels.csv").write_text(f"file,label,{key}\na.npy,wave,1\n")
    out = tmp_path.with_name(f"{tmp_path.name}-out")
    if key == "file_allow":
        prepare(tmp_path, out, workers=1, skeleton="coco17")
        assert Store(out).columns[key].tolist() == [1]
        return
    with pytest.raises(SkeletonFormatError, match=r"labels\.csv: line 1"):
        prepare(tmp_path, out, workers=1, skeleton="coco17")
    assert not out.exists()


@pytest.mark.parametrize("kind", ["relative", "absolute", "nul", "newline"])
def test_a_table_names_files_inside_its_folder(tmp_path: Path, kind: str) -> None:
    inside, secret = tmp_path / "in", tmp_path / "secret.npy"
    inside.mkdir()
    np.save(inside / "a.npy", np.ones((2, 17, 3)))
    np.save(secret, np.full((2, 17, 3), 42.0))
    names = {"relative": "../secret.npy", "absolute": str(secret), "nul": "a\x00.npy"}
    (inside / "labels.csv").write_text(f'file\na.npy\n"{names.get(kind, "a" + chr(10))}"\n')
    with pytest.raises(SkeletonFormatError, match=r"labels\.csv: line [34]"):
        list(open_source(inside, skeleton="coco17"))


def test_members_of_an_archive_stay_in_it(tmp_path: Path) -> None:
    (tmp_path / "deep" / "in").mkdir(parents=True)
    file = tmp_path / "deep" / "in" / "data.npz"
    np.savez(file, **test_packed.packed())
    with zipfile.ZipFile(file, "a") as archive:
        link = zipfile.ZipInfo("link.npy")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(SkeletonFormatError, match=r"data\.npz: link: "):
        open_source(file)
    np.savez(file, **test_packed.packed())
    with zipfile.ZipFile(file, "a") as archive:
        for name in ("../../escaped.txt", "/tmp/escaped.txt", "a/../../../escaped.txt"):
            archive.writestr(name, "x")
    before = everything(tmp_path)
    assert len(list(open_source(file))) == 3
    assert everything(tmp_path) == before


def test_links_in_a_store_are_files(tmp_path: Path) -> None:
    """A store whose arrays are links is read; one that is a link to nothing is refused."""
    with StoreWriter(tmp_path / "store", SBU15, class_names=["a"]) as writer:
        writer.add(np.ones((2, 1, 15, 3)), 0)
    file = tmp_path / "store" / "bodies.npy"
    file.rename(tmp_path / "bodies.npy")
    file.symlink_to(tmp_path / "bodies.npy")
    assert Store(tmp_path / "store").sequence(0).all()
    (tmp_path / "bodies.npy").unlink()
    with pytest.raises(SkeletonFormatError, match=r"bodies\.npy: "):
        Store(tmp_path / "store")


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_names_of_detection_files(tmp_path: Path, name: str) -> None:
    out = tmp_path / "deep" / "out"
    proposals = [Proposal(0, 0, 1, 5, 0.5)]
    try:
        write_pku_results(out, proposals, {0: name})
    except (ValueError, OSError):
        assert everything(tmp_path) <= {"deep", "deep/out"}
    else:
        assert everything(tmp_path) == {"deep", "deep/out", f"deep/out/{name}.txt"}
        assert (out / f"{name}.txt").read_text() == "1,1,5,0.5\n"


@pytest.mark.parametrize("name", HOSTILE, ids=ascii)
def test_names_of_results(tmp_path: Path, name: str) -> None:
    found = result_name("knn", [tmp_path], name, name, TASKS["knn"].defaults)
    assert os.sep not in found
    assert found.startswith("knn")
