"""How long a store of many sequences takes to open, before and after it had checksums.

Stores of the same 40,000 short sequences, trimmed and untrimmed, are written and opened by the code
that is here and by that of an earlier commit, taking turns, each in fresh processes. Writes the
shortest of all openings, in seconds of a processor, as the files are in memory, to
results/opening.json.

    python benchmarks/opening.py
"""

from __future__ import annotations

import argparse
import io
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from environment import environment

ROOT = Path(__file__).parents[1]
BEFORE = "040600378714077401d6b4e6e37365b0c0492c83"
OPEN = """
import sys, time
import numpy as np
from pathlib import Path
from pcm3.data import Store, StoreWriter
from pcm3.skeleton import NTU25

path, sequences, openings, untrimmed = sys.argv[1], *map(int, sys.argv[2:])
if not Path(path).exists():
    rng = np.random.default_rng(0)
    clips = rng.normal(size=(sequences, 4, 1, 25, 3)).astype(np.float32)
    names = [f"class {number}" for number in range(60)]
    with StoreWriter(path, NTU25, class_names=names) as writer:
        for at, clip in enumerate(clips):
            about = {"name": f"S001C001P001R001A001-{at}", "subjects": at % 40, "views": at % 3}
            if untrimmed:
                about["frame_labels"] = [at % 60] * 4
            writer.add(clip, -1 if untrimmed else at % 60, **about)
seconds = []
for _ in range(openings):
    start = time.process_time()
    Store(path)
    seconds.append(time.process_time() - start)
print(min(seconds))
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--sequences", type=int, default=40_000)
    parser.add_argument("--openings", type=int, default=30, help="in each process")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind")
    parser.add_argument("--before", default=BEFORE, help="the earlier commit; none for none")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        codes = {"now": ROOT}
        if options.before != "none":
            codes["before"] = unpack(options.before, Path(folder) / "code")
        result = {
            "benchmark": "opening",
            "command": f"python benchmarks/opening.py --sequences {options.sequences} "
            f"--openings {options.openings} --rounds {options.rounds} --before {options.before}",
            "milliseconds": {
                kind: {
                    name: round(1000 * seconds, 2)
                    for name, seconds in measure(codes, Path(folder), kind, options).items()
                }
                for kind in ("trimmed", "untrimmed")
            },
            "environment": environment(),
        }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "opening.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def unpack(commit: str, folder: Path) -> Path:
    """The library as it was."""
    command = ["git", "-C", str(ROOT), "archive", commit, "pcm3"]
    done = subprocess.run(command, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


def measure(
    codes: dict[str, Path], folder: Path, kind: str, options: argparse.Namespace
) -> dict[str, float]:
    """Seconds of the shortest opening by each code."""
    shortest = dict.fromkeys(codes, float("inf"))
    for _ in range(options.rounds):
        for name, code in codes.items():
            numbers = (options.sequences, options.openings, int(kind == "untrimmed"))
            arguments = [str(folder / f"{name} {kind}"), *map(str, numbers)]
            done = subprocess.run(
                [sys.executable, "-c", OPEN, *arguments],
                env=os.environ | {"PYTHONPATH": str(code)},
                cwd=folder,  # not where the code that is here would be found first
                capture_output=True,
                text=True,
                check=True,
            )
            shortest[name] = min(shortest[name], float(done.stdout))
    return shortest


if __name__ == "__main__":
    main()
