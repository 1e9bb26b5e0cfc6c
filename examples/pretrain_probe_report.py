"""The whole road from Python: recordings, two runs, linear probe and nearest neighbours, a report.

Prints the report's table and where its page is; ``python pretrain_probe_report.py FOLDER`` keeps
everything in FOLDER, and goes on there if it was stopped.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from pcm3 import PCM3
from pcm3.data import SkeletonDataset, Store, generate, split
from pcm3.evaluation.evaluate import evaluate_runs
from pcm3.evaluation.kept import result_file
from pcm3.report.page import Report, write_report
from pcm3.runs.results import write_result

PROTOCOL = "xsub"  # the people of the test part are not in the training part


def main(folder: str | Path = "pretrain_probe_report", epochs: int = 60) -> Report:
    """Pretrain, evaluate beside the untrained encoder, and report; everything is in the folder."""
    folder = Path(folder)
    data = folder / "store"
    store = Store(data) if data.exists() else generate(data)
    training, _ = split(store, PROTOCOL)
    runs = [folder / "untrained", folder / "pcm3"]
    for run, length in zip(runs, (0, epochs), strict=True):
        torch.manual_seed(0)  # both begin with the same weights
        model = PCM3.from_preset("small", store.skeleton, store.persons, hidden=32, queue_size=1024)
        model.fit(SkeletonDataset(store, training), out=run, epochs=length, accelerator="cpu")
        for task in ("linear", "knn"):
            result = evaluate_runs(task, [run], store, PROTOCOL)
            write_result(result_file(result, [run]), result)
    report = write_report(runs, folder / "report")
    print(report.table.read_text())
    print(f"the page with the pictures: {report.page}")
    return report


if __name__ == "__main__":
    main(*sys.argv[1:2])
