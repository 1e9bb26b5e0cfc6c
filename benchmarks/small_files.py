"""Memory and time that each reader needs for its worst small file.

For every reader, files of at most a few megabytes are written that ask for much: very many of
something, the same thing over and over, or numbers that pack tightly. ``pcm3 prepare`` reads
each in a process of its own. Writes its peak memory and its seconds of a processor, beyond those
of a process which only imports what ``prepare`` does, what the files take on the disk and what
became of them to results/small_files.json.

    python benchmarks/small_files.py
"""

from __future__ import annotations

import argparse
import json
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from environment import environment
from numpy.typing import NDArray
from scipy.io import savemat

from pcm3.data.readers import Format
from pcm3.skeleton import COCO17, SBU15

IMPORTS = (
    "code = 0; import pcm3.cli, pcm3.runs.progress, pcm3.data.prepare, scipy.spatial.transform"
)
MEASURED = """
import re, resource, sys
from pathlib import Path
{what}
peak = re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]
used = resource.getrusage(resource.RUSAGE_SELF)
Path(sys.argv[1]).write_text(f"{{peak}} {{used.ru_utime + used.ru_stime}}")
sys.exit(code)
"""
PREPARE = "from pcm3.cli import main; code = main(sys.argv[2:])"


class Outcome(NamedTuple):
    """What a process did.

    Attributes:
        megabytes: Peak of its resident memory.
        seconds: Of a processor.
        code: Its exit code.
        said: The last line on its standard error.
    """

    megabytes: float
    seconds: float
    code: int
    said: str


def run(what: str, *arguments: str) -> Outcome:
    """Run Python in a process of its own, which says what it took; Linux alone tells."""
    with tempfile.TemporaryDirectory() as folder:
        took = Path(folder) / "took"
        code = MEASURED.format(what=what)
        command = [sys.executable, "-c", code, str(took), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if not took.is_file():
            raise RuntimeError(f"{arguments} did not end well: {done.stderr[-2000:]}")
        kilobytes, seconds = map(float, took.read_text().split())
    said = [line for line in done.stderr.splitlines() if line.strip()]
    return Outcome(kilobytes * 1024 / 1e6, seconds, done.returncode, said[-1] if said else "")


# --- the files --------------------------------------------------------------------------------


Write = Callable[[Path, float], Path]
"""Writes files into a folder, of a size as many times what is usual; gives what to prepare."""

NTU_NAME = "S001C002P003R002A013.skeleton"
NTU_JOINTS = "".join(f"{number} {number % 7}" + " 1" * 10 + "\n" for number in range(25))
NTU_BODY = "{} 1 1 1 1 1 1 1 1 1\n25\n" + NTU_JOINTS
PKU_FRAME = " ".join(str(number % 7) for number in range(150)) + "\n"


def bodies(shape: tuple[int, ...], dtype: type = np.float32) -> NDArray[Any]:
    """The same body in every frame (..., joints, coordinates)."""
    one = np.arange(shape[-2] * shape[-1]).reshape(shape[-2:]) % 100
    return np.array(np.broadcast_to(one, shape), dtype, order="C")


def ntu_new_ids(folder: Path, size: float) -> Path:
    """Another body in every frame: room for all of them in each."""
    frames = int(2000 * size)
    text = "".join("1\n" + NTU_BODY.format(7 + frame) for frame in range(frames))
    (folder / NTU_NAME).write_text(f"{frames}\n{text}")
    return folder


def ntu_fitting(folder: Path, size: float) -> Path:
    """Another body in every frame, as many as just fit."""
    return ntu_new_ids(folder, 0.23 * size)


def ntu_no_body(folder: Path, size: float) -> Path:
    """Empty frames, as many as just fit, and a body at the end."""
    frames = int(220_000 * size)
    (folder / NTU_NAME).write_text(f"{frames + 1}\n" + "0\n" * frames + "1\n" + NTU_BODY.format(7))
    return folder


def pku_overlapping(folder: Path, size: float) -> Path:
    """Very many actions that are the whole video."""
    frames = int(5000 * size)
    for name in ("skeleton", "label"):
        (folder / name).mkdir()
    (folder / "skeleton" / "0002-L.txt").write_text(PKU_FRAME * frames)
    labels = f"1,0,{frames},1\n" * int(100_000 * size)
    (folder / "label" / "0002-L.txt").write_text(labels)
    return folder


def pku_fitting(folder: Path, size: float) -> Path:
    """Actions that are the whole video, as many as just fit."""
    pku_overlapping(folder, size)
    (folder / "label" / "0002-L.txt").write_text(f"1,0,{int(5000 * size)},1\n" * 22)
    return folder


def pickled(folder: Path, annotations: list[dict[str, Any]]) -> Path:
    file = folder / "annotations.pkl"
    file.write_bytes(pickle.dumps({"split": {}, "annotations": annotations}, 4))
    return file


def pyskl_one_array(folder: Path, size: float) -> Path:
    """The same array in very many annotations."""
    points = bodies((1, int(5000 * size), 17, 2), np.float16)
    count = int(50_000 * size)
    return pickled(folder, [{"frame_dir": n, "label": 0, "keypoint": points} for n in range(count)])


def pyskl_fitting(folder: Path, size: float) -> Path:
    """The same array in annotations, as many as just fit."""
    points = bodies((1, int(5000 * size), 17, 2), np.float16)
    return pickled(folder, [{"frame_dir": n, "label": 0, "keypoint": points} for n in range(98)])


def pyskl_short(folder: Path, size: float) -> Path:
    """Very many annotations of one frame."""
    points = [bodies((1, 1, 17, 2), np.float16) for _ in range(int(20_000 * size))]
    return pickled(
        folder, [{"frame_dir": n, "label": 0, "keypoint": p} for n, p in enumerate(points)]
    )


def pyskl_containers(folder: Path, size: float) -> Path:
    """Very many lists of one number."""
    count = int(1_000_000 * size)
    file = folder / "annotations.pkl"
    file.write_bytes(b"\x80\x04}X\x0b\x00\x00\x00annotations(" + b"]K\x01a" * count + b"ls.")
    return file


def ctrgcn(folder: Path, **arrays: NDArray[Any]) -> Path:
    usual = {"x_train": bodies((1, 3, 150)), "y_train": np.eye(60)[:1]}
    usual |= {"x_test": usual["x_train"], "y_test": usual["y_train"]}
    np.savez_compressed(folder / "NTU60_CS.npz", **(usual | arrays))
    return folder / "NTU60_CS.npz"


def ctrgcn_one_hot(folder: Path, size: float) -> Path:
    """Rows of very many classes."""
    classes = int(500_000_000 * size)
    one_hot = np.zeros((1, classes), np.int8)
    one_hot[0, 0] = 1
    return ctrgcn(folder, y_train=one_hot, y_test=one_hot)


def ctrgcn_long(folder: Path, size: float) -> Path:
    """One sequence of very many frames that are alike."""
    return ctrgcn(folder, x_train=bodies((1, int(1_000_000 * size), 150)))


def ctrgcn_fitting(folder: Path, size: float) -> Path:
    """One sequence of frames that are alike, as many as just fit."""
    return ctrgcn(folder, x_train=bodies((1, int(110_000 * size), 150)))


def ctrgcn_many(folder: Path, size: float) -> Path:
    """Sequences of one frame, as many as just fit."""
    count = int(130_000 * size)
    one_hot = np.zeros((count, 60), np.int8)
    one_hot[:, 0] = 1
    return ctrgcn(folder, x_train=bodies((count, 1, 150)), y_train=one_hot)


def agcn(folder: Path, shape: tuple[int, ...]) -> Path:
    """Coordinates that are holes."""
    data = np.lib.format.open_memmap(folder / "train_data_joint.npy", "w+", np.float32, shape)
    data[:, :, 0, :, 0] = data[:, :, -1, :, 0] = bodies((3, 25))
    del data
    names = [f"n{number}" for number in range(shape[0])]
    (folder / "train_label.pkl").write_bytes(pickle.dumps((names, [0] * shape[0]), 4))
    return folder


def agcn_long(folder: Path, size: float) -> Path:
    """One sequence of holes."""
    return agcn(folder, (1, 3, int(20_000_000 * size), 25, 1))


def agcn_fitting(folder: Path, size: float) -> Path:
    """One sequence of holes, as many as just fit."""
    return agcn(folder, (1, 3, int(220_000 * size), 25, 1))


def agcn_many(folder: Path, size: float) -> Path:
    """Very many sequences of holes."""
    return agcn(folder, (int(1000 * size), 3, 3000, 25, 2))


def ucla(folder: Path, skeletons: str) -> Path:
    (folder / "a01_s01_e01_v01.json").write_text(f'{{"skeletons": [{skeletons}]}}')
    return folder


def ucla_digits(folder: Path, size: float) -> Path:
    """Coordinates of one letter each."""
    frame = "[" + ",".join(f"[1,{joint % 10},3]" for joint in range(20)) + "]"
    return ucla(folder, ",".join([frame] * int(20_000 * size)))


def ucla_empty(folder: Path, size: float) -> Path:
    """Very many empty lists."""
    return ucla(folder, ",".join(["[]"] * int(1_000_000 * size)))


def utd(folder: Path, values: NDArray[Any]) -> Path:
    file = folder / "a1_s1_t1_skeleton.mat"
    savemat(file, {"d_skel": values}, do_compression=True)
    return folder


def utd_packed(folder: Path, size: float) -> Path:
    """Very many frames that are alike, as bytes."""
    return utd(folder, bodies((int(4_000_000 * size), 20, 3), np.int8).transpose(1, 2, 0))


def utd_fitting(folder: Path, size: float) -> Path:
    """Frames that are alike, as many as just fit."""
    return utd(folder, bodies((int(270_000 * size), 20, 3), np.int8).transpose(1, 2, 0))


def msr_digits(folder: Path, size: float) -> Path:
    """Coordinates of one letter each."""
    frame = "".join(f"1 {joint % 10} 3 1\n" for joint in range(20))
    (folder / "a01_s01_e01_skeleton3D.txt").write_text(frame * int(25_000 * size))
    return folder


LIMBS = [["spine", "neck", "head"]]
LIMBS += [
    [f"{side}_{joint}" for joint in limb]
    for side in ("left", "right")
    for limb in (("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle"))
]


def bvh(folder: Path, more: str, frames: int, channels: int) -> Path:
    """A body, and more joints at its head."""
    text = "HIERARCHY\nROOT hips\n{\nOFFSET 0 0 0\nCHANNELS 3 Xrotation Yrotation Zrotation\n"
    for limb in LIMBS:
        text += "".join(f"JOINT {name}\n{{\nOFFSET 1 1 0\n" for name in limb)
        text += more * (limb[-1] == "head") + "}\n" * len(limb)
    row = " ".join(["1"] * channels) + "\n"
    text += f"}}\nMOTION\nFrames: {frames}\nFrame Time: 0.01\n{row * frames}"
    (folder / "a.bvh").write_text(text)
    return folder


def bvh_ends(folder: Path, size: float) -> Path:
    """Very many ends of one joint, and as many frames as just fit."""
    return bvh(folder, "End Site\n{\nOFFSET 0 0 1\n}\n" * 900, int(6000 * size), 3)


def bvh_deep(folder: Path, size: float) -> Path:
    """Joints inside joints, and as many frames as just fit."""
    count = 900
    joints = "".join(f"JOINT tail{number}\n{{\nOFFSET 0 1 0\n" for number in range(count))
    return bvh(folder, joints + "}\n" * count, int(6000 * size), 3)


def bvh_channels(folder: Path, size: float) -> Path:
    """Very many rotations of each joint."""
    turns = "CHANNELS 99 " + "Xrotation " * 99
    joints = "".join(f"JOINT tail{number}\n{{\nOFFSET 0 1 0\n{turns}\n" for number in range(9))
    return bvh(folder, joints + "}\n" * 9, int(2000 * size), 3 + 9 * 99)


def packed(folder: Path, **arrays: NDArray[Any]) -> Path:
    usual = {"joints": bodies((3, 1, 15, 3)), "lengths": np.array([3])}
    usual |= {"joint_names": np.array(SBU15.joints), "parents": np.array(SBU15.parents)}
    np.savez_compressed(folder / "packed.npz", **(usual | arrays))
    return folder / "packed.npz"


def packed_columns(folder: Path, size: float) -> Path:
    """Columns of long words."""
    word = np.full(1, "a" * int(30_000_000 * size))
    return packed(folder, **{f"word{at}": word for at in range(8)})


def packed_ignored(folder: Path, size: float) -> Path:
    """Arrays that are not needed."""
    array = np.zeros((2, int(200_000_000 * size)), np.int8)
    return packed(folder, **{f"other{at}": array for at in range(4)})


def packed_long(folder: Path, size: float) -> Path:
    """One sequence of very many frames that are alike."""
    frames = int(4_000_000 * size)
    joints = bodies((frames, 1, 15, 3))
    return packed(folder, joints=joints, lengths=np.array([frames]))


def packed_fitting(folder: Path, size: float) -> Path:
    """One sequence of frames that are alike, as many as just fit."""
    return packed_long(folder, 0.09 * size)


def packed_many(folder: Path, size: float) -> Path:
    """Sequences of one frame, as many as just fit."""
    count = int(130_000 * size)
    joints = bodies((count, 1, 15, 3))
    return packed(folder, joints=joints, lengths=np.ones(count, np.int64))


def packed_classes(folder: Path, size: float) -> Path:
    """Very many classes, and many sequences."""
    count = int(100_000 * size)
    names = np.arange(count).astype("U")
    joints = np.random.default_rng(0).random((count // 4, 1, 15, 2)).astype(np.float16)
    lengths, labels = np.ones(count // 4, np.int64), np.arange(count // 4)
    return packed(folder, joints=joints, lengths=lengths, labels=labels, class_names=names)


def packed_joints(folder: Path, size: float) -> Path:
    """Very many joints."""
    count = int(20_000 * size)
    arrays = {"joints": bodies((3, 1, count, 2)), "parents": np.arange(count) - 1}
    return packed(folder, **arrays, joint_names=np.arange(count).astype("U"))


def packed_segments(folder: Path, size: float) -> Path:
    """Very many segments that are the whole recording."""
    frames, count = int(50_000 * size), int(1_000_000 * size)
    joints = bodies((frames, 1, 15, 3), np.float16)
    segments = np.tile([0, 0, frames, 0], (count, 1))
    some = {"segments": segments, "class_names": np.array(["a"])}
    return packed(folder, joints=joints, lengths=np.array([frames]), **some)


def packed_persons(folder: Path, size: float) -> Path:
    """Very many persons."""
    shape = (int(300 * size), 100, 15, 3)
    return packed(folder, joints=bodies(shape), lengths=np.array([shape[0]]))


def npy(folder: Path, **files: NDArray[Any]) -> Path:
    (folder / "skeleton.json").write_text(json.dumps(COCO17.to_dict()))
    for name, array in files.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def folder_holes(folder: Path, size: float) -> Path:
    """A recording of holes."""
    shape = (int(5_000_000 * size), 17, 3)
    data = np.lib.format.open_memmap(folder / "a.npy", "w+", np.float32, shape)
    data[0] = data[-1] = bodies((17, 3))
    del data
    return npy(folder)


def folder_fitting(folder: Path, size: float) -> Path:
    """A recording of holes, as many as just fit."""
    return folder_holes(folder, 0.065 * size)


def folder_bytes(folder: Path, size: float) -> Path:
    """Coordinates of one byte each."""
    return npy(folder, a=bodies((int(80_000 * size), 17, 3), np.int8))


def folder_table(folder: Path, size: float) -> Path:
    """A table of very many columns."""
    columns = int(20_000 * size)
    header = ",".join(f"c{number}" for number in range(columns))
    rows = "".join(f"a{row}.npy{',1' * columns}\n" for row in range(50))
    (folder / "labels.csv").write_text(f"file,{header}\n{rows}")
    return npy(folder, **{f"a{row}": bodies((3, 17, 3)) + row for row in range(50)})


READERS = get_args(Format)
FILES: dict[str, list[Write]] = {
    reader: [write for name, write in list(globals().items()) if name.startswith(f"{reader}_")]
    for reader in READERS
}


def on_disk(folder: Path) -> int:
    """Bytes that the files take, holes left out."""
    states = [file.stat() for file in folder.rglob("*") if file.is_file()]
    return sum(min(state.st_size, 512 * state.st_blocks or state.st_size) for state in states)


def measure(reader: str, write: Write, size: float, idle: Outcome) -> dict[str, Any]:
    """Prepare what is written."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "raw").mkdir()
        source = write(folder / "raw", size)
        took = on_disk(folder / "raw")
        arguments = ["prepare", reader, str(source), str(folder / "store"), "--workers", "1"]
        done = run(PREPARE, *arguments)
        said = done.said.replace(str(folder), "")
        return {
            "file": write.__name__.partition("_")[2].replace("_", " "),
            "about": (write.__doc__ or "").strip().rstrip("."),
            "megabytes_on_disk": round(took / 1e6, 3),
            "peak_megabytes": round(max(done.megabytes - idle.megabytes, 0)),
            "seconds": round(max(done.seconds - idle.seconds, 0), 1),
            "outcome": "read"
            if done.code == 0
            else f"refused: {said.removeprefix('pcm3: error: ')}",
            "exit_code": done.code,
        }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--size", type=float, default=1.0, help="of all files, 1 for a few MB")
    parser.add_argument("--readers", nargs="+", default=list(FILES), choices=FILES)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    idle = run(IMPORTS)
    assert idle.code == 0, idle.said
    readers: dict[str, list[dict[str, Any]]] = {}
    for reader in options.readers:
        readers[reader] = []
        for write in FILES[reader]:
            found = measure(reader, write, options.size, idle)
            print(reader, json.dumps(found), flush=True)
            readers[reader].append(found)
    result = {
        "benchmark": "small_files",
        "command": f"python benchmarks/small_files.py --size {options.size:g}",
        "idle": {"peak_megabytes": round(idle.megabytes), "seconds": round(idle.seconds, 1)},
        "readers": readers,
        "environment": environment(),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "small_files.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
