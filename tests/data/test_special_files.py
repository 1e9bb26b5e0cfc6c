"""Pipes and devices where files should be: an error that names them, and nobody waits for ever."""

from __future__ import annotations

import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pcm3.data import StoreWriter
from pcm3.errors import SkeletonFormatError
from pcm3.io.files import regular
from pcm3.skeleton import COCO17, SBU15

SETUP = """
from pathlib import Path
from pcm3.data import Store
from pcm3.data.readers import open_source
from pcm3.data.readers.ntu import read_ntu
from pcm3.data.report import read_report
from pcm3.data.splits import split
from pcm3.evaluation.alterations import load_masks
from pcm3.evaluation.tasks.registry import check_result
from pcm3.hub import fingerprint, load_encoder, load_official
from pcm3.runs.folder import Run
from pcm3.runs.results import read_result
import numpy, scipy.spatial.transform

def read(*given, **options):
    for unit in (source := open_source(*given, **options)).units:
        for recording in source.read(unit):
            if isinstance(recording, Exception):
                raise recording

def store(path):
    opened = Store(path)
    opened.names, opened.stored(0), read_report(opened)

def names(file, call, *given, **options):
    try:
        call(*given, **options)
    except ValueError as error:
        assert file in str(error), (file, error)
        raise
"""

ALONE = {
    "ntu": "S001C002P003R002A013.skeleton",
    "bvh": "a.bvh",
    "folder": "a.npy",
    "ucla": "a01_s01_e01_v01.json",
    "utd": "a1_s1_t1_skeleton.mat",
    "msr": "a01_s01_e01_skeleton3D.txt",
    "mediapipe": "a.json",
    "openpose": "a_000000000001_keypoints.json",
    "coco": "a.json",
    "mmpose": "a.json",
    "azure": "a.json",
    "csv": "a.csv",
}


def corpus(root: Path, put: Callable[[Path], None]) -> list[str]:
    """Lines that read what is no file, and the name that errors are to have."""
    lines = []

    def add(file: Path, call: str, *given: object, **options: str) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.unlink(missing_ok=True)
        put(file)
        words = [repr(file.name), call, *map(repr, map(str, given))]
        lines.append(f"names({', '.join(words)}, **{options!r})")

    for name, file in ALONE.items():
        options = {"skeleton": "coco17"} if name == "folder" else {}
        add(root / name / file, "read", root / name, format=name, **options)
    add(root / "pku/skeleton/0002-L.txt", "read", root / "pku", format="pku")
    for name in ("packed.npz", "ctrgcn.npz", "pyskl.pkl", "a.skeleton"):
        add(root / name, "read", root / name)
    for name in ("train_data_joint.npy", "train_label.pkl", "train_num_frame.npy"):
        folder = root / f"agcn-{name}"
        folder.mkdir()
        np.save(folder / "train_data_joint.npy", np.ones((1, 3, 4, 25, 2), np.float32))
        (folder / "train_label.pkl").write_bytes(pickle.dumps((["a"], [0])))
        add(folder / name, "read", folder, format="agcn")
    for name in ("labels.csv", "skeleton.json"):
        folder = root / f"folder-{name}"
        folder.mkdir()
        np.save(folder / "a.npy", np.ones((2, len(COCO17), 3)))
        options = {"skeleton": "coco17" if name == "labels.csv" else str(folder / name)}
        add(folder / name, "read", folder, format="folder", **options)
    (root / "ntu2").mkdir()
    (root / "ntu2" / ALONE["ntu"]).write_text("1\n0\n")
    add(root / "ignored.txt", "read_ntu", root / "ntu2", ignore=str(root / "ignored.txt"))
    for name in ("meta.json", "bodies.npy", "table.npz", "names.npy", "report.json"):
        folder = root / f"store-{name}"
        with StoreWriter(folder, SBU15, class_names=["a"]) as writer:
            writer.add(np.ones((3, 2, 15, 3)), 0)
        add(folder / name, "store", folder)
    add(root / "run/encoder.safetensors", "load_encoder", root / "run")
    add(root / "run/encoder.safetensors", "fingerprint", root / "run")
    add(root / "published.pth.tar", "load_official", root / "published.pth.tar")
    add(root / "run/config.json", "lambda run: Run(run).settings()", root / "run")
    add(root / "run/metrics.jsonl", "lambda run: Run(run).read_metrics()", root / "run")
    add(root / "run/checkpoint.pt", "lambda run: Run(run).load_checkpoint()", root / "run")
    add(
        root / "run/results/a.json",
        "lambda file: read_result(Path(file), check_result)",
        root / "run/results/a.json",
    )
    add(root / "masks.npz", "load_masks", root / "masks.npz")
    return lines


@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "link to a device"])
def test_what_is_no_file_is_refused_unopened(
    tmp_path: Path, small_memory: Callable[..., None], kind: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    target = "/dev/zero" if kind == "link to a device" else str(tmp_path / "pipe")

    def put(file: Path) -> None:
        os.mkfifo(file) if kind == "pipe" else file.symlink_to(target)

    small_memory(SETUP, *corpus(tmp_path / "corpus", put), seconds=120)


def test_kinds_have_their_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(tmp_path)  # the names of sockets are short
        listening.bind("socket")
        kinds = {"pipe": "a pipe", "socket": "a socket", ".": "a folder", "/dev/null": "a device"}
        for name, kind in kinds.items():
            with pytest.raises(SkeletonFormatError, match=f"{name}: expected a file, got {kind}"):
                regular(Path(name))
    (tmp_path / "file").write_bytes(b"12345")
    assert regular(tmp_path / "file", 5) == tmp_path / "file"
    assert regular(tmp_path / "none") == tmp_path / "none"
    with pytest.raises(SkeletonFormatError, match="at most 4 bytes, got 5"):
        regular(tmp_path / "file", 4)
