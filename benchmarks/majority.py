"""Accuracy of always naming the commonest training class, on open data.

python benchmarks/majority.py --data FOLDER_OF_PACKED_NPZ
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import numpy as np
from environment import environment
from recognition import DATASETS

from pcm3.data import Store, prepare, split


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of packed .npz files")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    shares = {}
    with tempfile.TemporaryDirectory() as folder:
        for dataset, protocols in DATASETS.items():
            path = Path(folder) / dataset
            prepare(options.data / f"{dataset}.npz", path)
            shares[dataset] = round(statistics.mean(share(Store(path), p) for p in protocols), 4)
    result = {
        "benchmark": "majority",
        "command": "python benchmarks/majority.py",
        "top1": shares,
        "environment": environment(),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "majority.json").write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


def share(store: Store, protocol: str) -> float:
    """On the test part of a protocol."""
    training, test = (store.labels[part] for part in split(store, protocol))
    return float((test == np.bincount(training).argmax()).mean())


if __name__ == "__main__":
    main()
