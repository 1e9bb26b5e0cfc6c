"""Files that claim to be larger than they are, or unpack to more: a clear error, and no memory."""

from __future__ import annotations

import io
import json
import math
import os
import pickle
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import test_bvh
import test_coco
import test_ctrgcn
import test_mediapipe
import test_mmpose
import test_ntu
import test_openpose
import test_packed
import test_pyskl
import torch
from numpy.typing import NDArray
from scipy.io import savemat

from pcm3.data import StoreWriter
from pcm3.data.readers import open_source
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import SBU15

PETA = 10**15
SETUP = """
from pcm3.data import Store
from pcm3.data.readers import open_source
import numpy, scipy.spatial.transform
def read(*given, **options):
    for unit in (source := open_source(*given, **options)).units:
        for recording in source.read(unit):
            if isinstance(recording, Exception):
                raise recording
"""


def npy(shape: tuple[int, ...], dtype: str, content: bytes = b"") -> bytes:
    """A .npy that claims a shape, whatever it holds."""
    buffer = io.BytesIO()
    head = {"descr": dtype, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, head)
    return buffer.getvalue() + content


def of(array: NDArray[np.generic]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def npz(file: Path, arrays: dict[str, NDArray[np.generic]], **instead: bytes) -> Path:
    """An archive with some members replaced; ``key=(content, size)`` claims that size."""
    members = {f"{key}.npy": of(array) for key, array in arrays.items()}
    members |= {f"{key}.npy": content for key, content in instead.items()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return file


def claim(file: Path, key: str, size: int) -> Path:
    """Let the archive say that a member unpacks to so many bytes."""
    data = bytearray(file.read_bytes())
    name = f"{key}.npy".encode()
    at = data.index(b"PK\x01\x02")
    while data[at + 46 : at + 46 + len(name)] != name:
        at = data.index(b"PK\x01\x02", at + 4)
    data[at + 24 : at + 28] = struct.pack("<I", size)
    file.write_bytes(data)
    return file


def mat(content: bytes, kind: int = 14) -> bytes:
    head = b"MATLAB 5.0".ljust(124) + b"\x00\x01IM"
    return head + struct.pack("<2I", kind, len(content)) + content


def matrix(shape: tuple[int, ...], size: int, values: bytes = b"") -> bytes:
    dims = struct.pack(f"<2I{len(shape)}i", 5, 4 * len(shape), *shape).ljust(24, b"\0")
    flags = struct.pack("<4I", 6, 8, 6, 0)
    name = struct.pack("<2I", 1, 6) + b"d_skel\0\0"
    return flags + dims + name + struct.pack("<2I", 9, size) + values


def corpus(root: Path) -> list[str]:
    """Files, and the lines that read them."""
    lines = []

    def add(name: str, content: bytes | str, then: str = "", **options: str) -> Path:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content.encode() if isinstance(content, str) else content)
        if then:
            lines.append(f"read({str(file.parent if then == 'folder' else file)!r}, **{options!r})")
        return file

    def read(file: Path) -> None:
        lines.append(f"read({str(file)!r})")

    packed, halves = test_packed.packed(), test_ctrgcn.arrays()[0]
    read(npz(root / "a.npz", packed, labels=npy((PETA,), "<i4")))
    read(npz(root / "b.npz", packed, joints=npy((PETA, 2, 15, 3), "<f4")))
    read(npz(root / "c.npz", packed, other=npy((2**62, 2**62), "<f8")))
    read(npz(root / "d.npz", packed, lengths=npy((-5,), "<i8")))
    read(npz(root / "e.npz", halves, x_train=npy((2, PETA, 150), "<f4")))
    read(npz(root / "f.npz", halves, y_test=npy((3, PETA), "<f4")))
    # as large as the archive says too, but not as the file
    head = npy((3 * 10**8,), "<i4")
    file = npz(root / "g.npz", packed, subjects=head)
    read(claim(file, "subjects", len(head) + 12 * 10**8))
    head = npy((2, 10**6, 150), "<f4")
    file = npz(root / "h.npz", halves, x_train=head)
    read(claim(file, "x_train", len(head) + 12 * 10**8))

    add("i/a.npy", npy((PETA, 17, 3), "<f4"), "folder", format="folder", skeleton="coco17")
    add("j/train_label.pkl", pickle.dumps((["a"], [0])))
    add("j/train_data_joint.npy", npy((1, 3, PETA, 25, 2), "<f4"), "folder", format="agcn")
    add("k/a1_s1_t1_skeleton.mat", mat(matrix((20, 3, 2**31 - 1), 8, b"12345678")), "folder")
    add("l/a1_s1_t1_skeleton.mat", mat(matrix((20, 3, 1), 2**32 - 8)), "folder")
    bomb = struct.pack("<2I", 14, 2**32 - 8)
    add("m/a1_s1_t1_skeleton.mat", mat(zlib.compress(bomb + bytes(10**6)), 15), "folder")
    add("n/a1_s1_t1_skeleton.mat", mat(b"")[:-4] + b"\xff\xff\xff\xff", "folder")

    name = "S001C002P003R002A013.skeleton"
    text = test_ntu.format_ntu(test_ntu.random_frames(2), eol="\n")
    add(f"o/{name}", text.replace("2\n", f"{PETA}\n", 1), "folder")
    add(f"p/{name}", text.replace("2\n2\n", f"2\n{PETA}\n", 1), "folder")
    add(f"q/{name}", text.replace("\n25\n", f"\n{PETA}\n", 1), "folder")
    body = test_bvh.Body()
    text = body.text(body.motion(2))
    add("r/a.bvh", text.replace("Frames: 2", f"Frames: {PETA}"), "folder")
    add("s/a.bvh", text.replace("CHANNELS 3", f"CHANNELS {PETA}"), "folder")
    deep = "".join(f"JOINT j{n}\n{{\nOFFSET 0 0 0\n" for n in range(20_000))
    add("t/a.bvh", f"HIERARCHY\nROOT a\n{{\nOFFSET 0 0 0\n{deep}{'}' * 2}\n", "folder")
    ends = "}\n" * 20_001
    motion = "MOTION\nFrames: 1\nFrame Time: 1\n\n"
    add("u/a.bvh", f"HIERARCHY\nROOT a\n{{\nOFFSET 0 0 0\n{deep}{ends}{motion}", "folder")

    row = " ".join(["1.5"] * 150) + "\n"
    add("v/skeleton/0002-L.txt", row * 3)
    add("v/label/0002-L.txt", f"1,1,{PETA},2\n")
    lines.append(f"read({str(root / 'v')!r})")
    add("w/skeleton/0002-L.txt", row * 3)
    add("w/label/0002-L.txt", f"1,{10**8},{10**8 + 1},2\n")
    lines.append(f"read({str(root / 'w')!r})")
    add("x/a01_s01_e01_v01.json", "[" * 10**6, "folder")
    add("y/a01_s01_e01_v01.json", '{"skeletons": ' + "[" * 10**5, "folder")
    add("z/a.npy", of(np.ones((2, 17, 3))))
    add("z/skeleton.json", "[" * 10**5, "folder")
    joints = json.dumps({"joints": [f"j{n}" for n in range(10**5)], "parents": [-1] * 10**5})
    add("z2/a.npy", of(np.ones((2, 17, 3))))
    add("z2/skeleton.json", joints, "folder")

    far = PETA  # a frame of this number is a recording of as many
    results = test_coco.coco(test_openpose.clip(3, joints=17))
    results[1]["image_id"] = far
    add("a2/a.json", json.dumps(results), "folder")
    frames = test_mmpose.frames_of(test_openpose.clip(3, joints=17))
    frames[1]["frame_id"] = far
    add("b2/a.json", json.dumps(frames), "folder")
    frames = test_mediapipe.solution(test_mediapipe.clip(3))
    frames[1]["frame"] = far
    add("c2/a.json", json.dumps(frames), "folder")
    people = test_openpose.content(test_openpose.clip(1)[0])
    for number in (0, 2, 10**11 + 1):
        file = f"d2/a_{number}_keypoints.json"
        add(file, json.dumps(people), "folder" if number > 2 else "")
    add("e2/a.csv", f"frame,nose_x,nose_y\n0,1,2\n2,1,2\n{far + 1},1,2\n")
    lines.append(f"read({str(root / 'e2')!r}, skeleton={str(root / 'nose.json')!r})")
    parts = {"all": ["nose"]}
    add("nose.json", json.dumps({"joints": ["nose"], "parents": [-1], "parts": parts}))

    lines += small_files(add)
    contents = test_pyskl.three_d()
    contents["annotations"][0]["total_frames"] = 10**4000
    read(add("pyskl.pkl", pickle.dumps(contents, 4)))
    return lines


def small_files(add: Callable[..., Path]) -> list[str]:
    """Files that claim nothing, but would take very much room or time for each of their bytes."""
    joint = " ".join(["1"] * 12) + "\n"
    body = " ".join(["{body}"] + ["1"] * 9) + f"\n25\n{joint * 25}"
    name = "S001C002P003R002A013.skeleton"
    frames = "".join("1\n" + body.format(body=7 + frame) for frame in range(600))
    add(f"new ids/{name}", f"600\n{frames}", "folder")
    bodies = "".join(body.format(body=7 + number) for number in range(600))
    empty = "0\n" * 2000
    add(f"crowd/{name}", f"2001\n{empty}600\n{bodies}", "folder", bodies="place")
    ends = "End Site\n{\nOFFSET 0 0 1\n}\n" * 900
    rows = "0\n" * 200_000
    head = test_bvh.Body().text(test_bvh.Body().motion(1)).partition("MOTION")[0].rstrip()[:-1]
    motion = "MOTION\nFrames: 200000\nFrame Time: 0.01\n"
    head = re.sub(r"CHANNELS.*", "", head).replace("{", "{\nCHANNELS 1 Xrotation\n", 1)
    add("ends/a.bvh", f"{head}{ends}}}\n{motion}{rows}", "folder")
    nobody: list[Any] = [[]] * 2000
    crowd = [*nobody, test_mediapipe.clip(1, 600)[0]]
    add("crowd of json/a.json", json.dumps(test_mediapipe.task(crowd)), "folder")
    header = ",".join(f"c{number}" for number in range(200_000))
    add("wide/a.npy", of(np.ones((2, 17, 3))))
    add("wide/labels.csv", f"file,{header}\na.npy,1\n", "folder", **FOLDER)

    add("sets.pkl", b"\x80\x04(" + b"\x8f" * 2_000_000 + b"l.", "file")
    add("lists.pkl", b"\x80\x04(" + b"]" * 2_000_000 + b"l.", "file")
    step = 2**61 - 1  # numbers of one hash
    same = (b"\x8a\x0a" + (at * step).to_bytes(10, "little") + b"N" for at in range(1, 100_000))
    add("hash.pkl", b"\x80\x04}(" + b"".join(same) + b"u.", "file")
    long = b"(" + b"K\x01" * 300_000 + b"t\x94}(" + b"h\x00N" * 100_000 + b"u."
    add("long.pkl", b"\x80\x04" + long, "file")
    return []


FOLDER = {"format": "folder", "skeleton": "coco17"}


def test_arrays_that_are_ignored_take_no_memory(
    tmp_path: Path, small_memory: Callable[..., None]
) -> None:
    packed = test_packed.packed()
    much = {f"other{at}": np.zeros((2, 10**8), np.int8) for at in range(2)}
    np.savez_compressed(tmp_path / "a.npz", **packed, **much)
    assert (tmp_path / "a.npz").stat().st_size < 10**6
    small_memory(SETUP, f"read({str(tmp_path / 'a.npz')!r}); raise ValueError('read')")
    source = open_source(tmp_path / "a.npz")
    assert "'other0' int8 (2, 100000000)" in source.notes[0]


def test_a_file_of_holes_is_no_recording(tmp_path: Path, small_memory: Callable[..., None]) -> None:
    file, shape = tmp_path / "a.npy", (40_000_000, 17, 3)
    file.write_bytes(npy(shape, "<f4"))
    os.truncate(file, file.stat().st_size + 4 * math.prod(shape))
    # it is mapped, which takes as many addresses, and not read
    small_memory(SETUP, f"read({str(tmp_path)!r}, **{FOLDER!r})", megabytes=8200)


def test_an_archive_of_very_many_arrays_is_read_soon(
    tmp_path: Path, small_memory: Callable[..., None]
) -> None:
    nothing = dict.fromkeys((f"other{at}" for at in range(20_000)), np.zeros(0))
    np.savez(tmp_path / "a.npz", **test_packed.packed(), **nothing)
    small_memory(SETUP, f"read({str(tmp_path / 'a.npz')!r}); raise ValueError('read')")


def test_checkpoints_of_very_many_layers_are_refused(
    tmp_path: Path, small_memory: Callable[..., None]
) -> None:
    lines = []
    for method, name in (
        ("pcm3", "encoder.layers.{}.0.weight_hh_l0"),
        ("mamp", "blocks.{}.norm1.weight"),
    ):
        weights = {name.format(at): torch.ones(3, 1) for at in range(20_000)}
        if method == "mamp":
            weights |= {
                "joints_embed.proj.weight": torch.ones(8, 3, 1, 1),
                "temp_embed": torch.ones(1, 4, 1, 8),
            }
        torch.save(weights, tmp_path / method)
        lines.append(f"load_official({str(tmp_path / method)!r}, {method!r})")
    small_memory("from pcm3.hub import load_official", *lines, megabytes=1000)


def test_no_reader_takes_what_a_file_claims(
    tmp_path: Path, small_memory: Callable[..., None]
) -> None:
    small_memory(SETUP, *corpus(tmp_path))


def test_no_store_takes_what_it_claims(tmp_path: Path, small_memory: Callable[..., None]) -> None:
    with StoreWriter(tmp_path / "store", SBU15, class_names=["a"]) as writer:
        writer.add(np.ones((3, 2, 15, 3)), 0, frame_labels=[0] * 3)
    good = {file.name: file.read_bytes() for file in (tmp_path / "store").iterdir()}
    meta = json.loads(good["meta.json"])
    del meta["checksum"], meta["checksums"]
    changes = [
        *({"meta.json": json.dumps(meta | {key: PETA}).encode()} for key in ("frames", "persons")),
        {"meta.json": json.dumps(meta | {"rows": PETA}).encode()},
        {"meta.json": b"[" * 10**6},
        {"bodies.npy": npy((PETA, 15, 3), "<f4", bytes(100))},
        {"segments.npy": npy((PETA, 4), "<i8", bytes(100))},
        {"frame_labels.npy": npy((PETA,), "<i8", bytes(100))},
        {"names.npy": npy((1,), f"<U{PETA}", bytes(100))},
    ]
    lines = []
    for number, change in enumerate(changes):
        folder = tmp_path / str(number)
        folder.mkdir()
        for name, content in (good | change).items():
            (folder / name).write_bytes(content)
        lines.append(f"Store({str(folder)!r}).names")
    columns = {name: np.zeros(1, np.int64) for name in meta["columns"]}
    folder = tmp_path / "table"
    folder.mkdir()
    for name, content in good.items():
        (folder / name).write_bytes(content)
    npz(folder / "table.npz", columns, labels=npy((PETA,), "<i8"))
    small_memory(SETUP, *lines, f"Store({str(folder)!r})")


def test_an_archive_that_is_packed_tightly_is_read(tmp_path: Path) -> None:
    """Zeros pack a thousandfold: that alone is nothing to refuse."""
    halves = test_ctrgcn.arrays(((5,), (1,)))[0]
    halves["x_train"] = np.zeros((1, 20_000, 150), np.float32)
    halves["x_train"][0, :3] = 1
    np.savez_compressed(tmp_path / "a.npz", **halves)
    assert (tmp_path / "a.npz").stat().st_size < 12_000_000 / 200
    first, _ = open_source(tmp_path / "a.npz")
    assert first.frames.shape == (3, 2, 25, 3)


def test_a_matlab_file_that_is_packed_tightly_is_read(tmp_path: Path) -> None:
    file = tmp_path / "a1_s1_t1_skeleton.mat"
    savemat(file, {"d_skel": np.ones((20, 3, 5000))}, do_compression=True)
    assert file.stat().st_size < 20 * 3 * 5000 * 8 / 200
    (recording,) = open_source(tmp_path)
    assert recording.frames.shape == (5000, 1, 20, 3)


@pytest.mark.parametrize("kind", ["<", ">"])
def test_matlab_files_of_either_order(tmp_path: Path, kind: str) -> None:
    values = np.arange(60.0)
    order = {"<": b"\x00\x01IM", ">": b"\x01\x00MI"}[kind]
    parts = struct.pack(f"{kind}4I", 6, 8, 6, 0)
    parts += struct.pack(f"{kind}2I3iI", 5, 12, 20, 3, 1, 0)
    parts += struct.pack(f"{kind}2I", 1, 6) + b"d_skel\0\0"
    parts += struct.pack(f"{kind}2I60h", 3, 120, *values.astype(int).tolist())  # as small as it may
    data = b"MATLAB 5.0".ljust(124) + order + struct.pack(f"{kind}2I", 14, len(parts)) + parts
    (tmp_path / "a1_s1_t1_skeleton.mat").write_bytes(data)
    (recording,) = open_source(tmp_path)
    np.testing.assert_array_equal(
        recording.frames[0, 0], values.reshape(20, 3, order="F").astype(np.float32)
    )


@pytest.mark.parametrize("version", ["4", "7.3"])
def test_matlab_files_of_other_versions(tmp_path: Path, version: str) -> None:
    file = tmp_path / "a1_s1_t1_skeleton.mat"
    if version == "4":
        savemat(file, {"d_skel": np.ones((20, 3))}, format="4")
    else:
        file.write_bytes(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + b"\x89HDF\r\n")
    with pytest.raises(SkeletonFormatError, match="MATLAB 5"):
        list(open_source(tmp_path))
