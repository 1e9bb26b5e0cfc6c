"""From NTU RGB+D text files to a store, against a parser that reads line by line.

Writes files in the layout of the data set (80 frames each, one person in half of them, two in the
others), prepares them with `pcm3 prepare`, and reads the same files with a straightforward Python
parser into the padded array that training scripts usually keep. Both centre the bodies.

    python benchmarks/prepare_ntu.py
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from environment import environment

FRAMES, PADDED_FRAMES, JOINTS = 80, 300, 25
FIELDS = ("x", "y", "z", "depth_x", "depth_y", "color_x", "color_y", "w", "qx", "qy", "qz", "state")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("--fewer", type=int, default=500, help="also measured, for the memory")
    parser.add_argument(
        "--work", type=Path, help="folder for the files; a temporary one by default"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.work) as temporary:
        work = Path(temporary)
        write_files(work / "files", options.files)
        write_files(work / "fewer", options.fewer)
        figures = {
            "files": options.files,
            "megabytes": round(size(work / "files") / 1e6, 1),
            "line_by_line": baseline(work / "files", work / "padded.npy"),
            "pcm3": prepare(work / "files", work / "store", "float32"),
            "pcm3_float16": prepare(work / "files", work / "half", "float16"),
            "pcm3_fewer_files": {
                "files": options.fewer,
                **prepare(work / "fewer", work / "fewer_store", "float32"),
            },
        }
    slow, fast = figures["line_by_line"], figures["pcm3"]
    figures["times_as_fast"] = round(slow["seconds"] / fast["seconds"], 1)
    for name in ("pcm3", "pcm3_float16"):
        share = figures[name]["megabytes"] / slow["megabytes"]
        figures[name]["share_of_padded"] = round(share, 3)
    result = {
        "benchmark": "prepare_ntu",
        "command": f"python benchmarks/prepare_ntu.py --files {options.files} "
        f"--fewer {options.fewer}",
        **figures,
        "environment": environment(),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "prepare_ntu.json").write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(figures, indent=1))


def write_files(folder: Path, count: int) -> None:
    """Recordings of random walks in the layout of the data set."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    for index in range(count):
        persons = 1 + index % 2
        values = rng.normal(0, 0.01, (FRAMES, persons, JOINTS, len(FIELDS) - 1)).cumsum(0)
        values[..., 2] += 3
        lines = [str(FRAMES)]
        for frame in values:
            lines.append(str(persons))
            for person, joints in enumerate(frame):
                lines += [f"{72057594037931101 + person} 0 1 1 1 1 0 0.02764709 -0.05745083 2"]
                lines += [str(JOINTS)]
                lines += [" ".join(f"{value:.7g}" for value in joint) + " 2" for joint in joints]
        setup, action = 1 + index // 60 % 17, 1 + index % 60
        subject, replication = 1 + index // 1020 % 40, 1 + index // 40800
        name = f"S{setup:03}C001P{subject:03}R{replication:03}A{action:03}.skeleton"
        (folder / name).write_text("\r\n".join(lines) + "\r\n")


def baseline(folder: Path, out: Path) -> dict[str, float]:
    """One file after another, one line after another, into a padded array on disk."""
    started = time.perf_counter()
    files = sorted(folder.iterdir())
    padded = np.lib.format.open_memmap(
        out, "w+", np.float32, (len(files), 3, PADDED_FRAMES, JOINTS, 2)
    )
    for index, file in enumerate(files):
        clip = np.zeros((3, PADDED_FRAMES, JOINTS, 2), np.float32)
        for time_step, bodies in enumerate(read_line_by_line(file)[:PADDED_FRAMES]):
            for person, joints in enumerate(bodies[:2]):
                for number, joint in enumerate(joints):
                    clip[:, time_step, number, person] = joint["x"], joint["y"], joint["z"]
        center = clip[:, :, 1:2, :1]
        padded[index] = (clip - center) * clip.any(axis=(0, 2), keepdims=True)
    padded.flush()
    seconds = time.perf_counter() - started
    return {
        "seconds": round(seconds, 2),
        "files_per_second": round(len(files) / seconds, 1),
        "megabytes": round(padded.nbytes / 1e6, 1),
    }


def read_line_by_line(file: Path) -> list[list[list[dict[str, float]]]]:
    with file.open() as lines:
        frames = []
        for _ in range(int(lines.readline())):
            bodies = []
            for _ in range(int(lines.readline())):
                lines.readline()
                joints = []
                for _ in range(int(lines.readline())):
                    values = map(float, lines.readline().split())
                    joints.append(dict(zip(FIELDS, values, strict=True)))
                bodies.append(joints)
            frames.append(bodies)
    return frames


def prepare(source: Path, store: Path, dtype: str) -> dict[str, Any]:
    """The command as a user runs it, with all its processes watched."""
    command = [sys.executable, "-m", "pcm3", "prepare", "ntu", str(source), str(store)]
    started = time.perf_counter()
    process = subprocess.Popen([*command, "--dtype", dtype], stdout=subprocess.DEVNULL)
    peak: list[float] = [0.0]
    watcher = threading.Thread(target=watch, args=(process, peak))
    watcher.start()
    if process.wait():
        raise SystemExit(f"{' '.join(command)} failed")
    seconds = time.perf_counter() - started
    watcher.join()
    return {
        "seconds": round(seconds, 2),
        "files_per_second": round(len(list(source.iterdir())) / seconds, 1),
        "peak_memory_megabytes": round(peak[0] / 1e6, 1),
        "megabytes": round(size(store) / 1e6, 1),
    }


def watch(process: subprocess.Popen[bytes], peak: list[float]) -> None:
    """Follow the private memory of a process and its children."""
    while process.poll() is None:
        peak[0] = max(peak[0], sum(private_memory(pid) for pid in family(process.pid)))
        time.sleep(0.05)


def family(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [pid, *(member for child in children for member in family(int(child)))]


def private_memory(pid: int) -> float:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0.0
    rows = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return float(rows.get("RssAnon", "0 kB").split()[0]) * 1024


def size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*"))


if __name__ == "__main__":
    main()
