"""Prepare the packed recordings of open data sets, each in its own layout, at 30 frames a second.

MSRC-12 is prepared untrimmed and cut into its intervals. A store that is there is kept. The stores
are those of `examples/sweeps/benchmark.toml`, and together its training set: `--any-layout` maps
all layouts to one.

    python benchmarks/open_data.py --data FOLDER --out stores
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from pcm3.data import prepare
from pcm3.data.store import Store

NAMES = (
    *("bandai_namco", "gtu_action3d", "kard", "msrc12", "msrc12_untrimmed", "nw_ucla"),
    *("precog2016", "sbu_interaction", "uiprmd_kinect", "utd_mhad"),
)
_UNTRIMMED = {"msrc12": "msrc12_untrimmed"}
"""Data sets that are cut out of another one's untrimmed recordings."""


def open_store(name: str, data: Path, out: Path, *, flat: bool = False) -> Store:
    """Open the store of a data set in a folder; prepare it first if it is not there.

    If ``flat``, the third coordinate is left out.
    """
    store = out / (f"{name}_2d" if flat else name)
    if not store.exists():
        with tempfile.TemporaryDirectory() as folder:
            source = data / f"{name}.npz"
            if name in _UNTRIMMED:
                source = Path(folder) / f"{name}.npz"
                _cut(data / f"{_UNTRIMMED[name]}.npz", source)
            prepare(source, store, format="packed", fps=30, coordinates=2 if flat else None)
    return Store(store)


def _cut(source: Path, out: Path) -> None:
    """Cut untrimmed recordings at their intervals."""
    with np.load(source) as file:
        packed = {name: file[name] for name in file.files if name != "frame_labels"}
    segments = packed.pop("segments")
    starts = np.cumsum(packed["lengths"]) - packed["lengths"]
    sequence, first, last, label = segments.T
    joints = packed["joints"]
    packed["joints"] = np.concatenate(
        [joints[starts[s] + a : starts[s] + b] for s, a, b, _ in segments]
    )
    packed["lengths"], packed["labels"] = last - first, label
    for column in ("subjects", "views", "instructions"):
        if column in packed:
            packed[column] = packed[column][sequence]
    np.savez(out, **packed)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of packed .npz files")
    parser.add_argument("--out", type=Path, required=True, help="folder of the stores")
    options = parser.parse_args()
    for name in NAMES:
        print(f"{name}: {len(open_store(name, options.data, options.out)):,} sequences", flush=True)


if __name__ == "__main__":
    main()
