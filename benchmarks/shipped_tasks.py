"""The shipped encoder beside an untrained one in few-shot recognition, detection and fine-tuning.

Fine-tuning an untrained encoder is training from scratch, with the same epochs. Encoders that
`shipped.py --encoders FOLDER` kept are measured too.

    python benchmarks/shipped_tasks.py --data FOLDER --cache FOLDER --encoders FOLDER
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from environment import environment
from open_data import open_store

from pcm3.data.body import BODY
from pcm3.encoders.files import Pretrained, load_pretrained, save_encoder
from pcm3.evaluation.evaluate import evaluate_runs
from pcm3.evaluation.tasks.detection.detection import DetectionSettings
from pcm3.evaluation.tasks.fewshot import FewShotSettings
from pcm3.evaluation.tasks.finetune import FinetuneSettings
from pcm3.methods.catalog import get_preset
from pcm3.skeleton import COMMON15

SEEDS = (0, 1, 2)
KEPT = {
    "pool": "shipped-pool-*-{seed}",
    "own": "shipped-own-{file}-*-{seed}",
    "continued": "shipped-continued-{file}-*-{seed}",
}
"""Names of the encoders that shipped.py keeps."""


class Judged(NamedTuple):
    """A task on a data set: fine-tuning, with a share of the labels, or frozen."""

    file: str
    protocol: str
    task: str
    figure: str
    labels: float = 1.0

    def settings(self, seed: int) -> Any:
        """The settings of the task."""
        if self.task == "finetune":
            return FinetuneSettings(label_fraction=self.labels, balanced=True, seed=seed)
        return DetectionSettings(seed=seed) if self.task == "detection" else FewShotSettings()


JUDGED = {
    "UI-PRMD, 1 example": Judged("uiprmd_kinect", "xsub", "fewshot", "logistic_1shot"),
    "UI-PRMD, 5 examples": Judged("uiprmd_kinect", "xsub", "fewshot", "logistic_5shot"),
    "PRECOG-2016, detection": Judged("precog2016", "xsub", "detection", "map_action_voc_0.5"),
    "UTD-MHAD": Judged("utd_mhad", "xsub", "finetune", "top1"),
    "UTD-MHAD, 20 % of labels": Judged("utd_mhad", "xsub", "finetune", "top1", 0.2),
    "NW-UCLA": Judged("nw_ucla", "views:1,2", "finetune", "top1"),
    "NW-UCLA, 20 % of labels": Judged("nw_ucla", "views:1,2", "finetune", "top1", 0.2),
}


def encoders(file: str, seed: int, kept: Path | None, folder: Path) -> Iterator[tuple[str, Path]]:
    """Encoders to judge on a data set, and their files."""
    for name in ("untrained", "shipped"):
        out = folder / f"{name}-{seed}.safetensors"
        if not out.exists():
            save_encoder(out, load_pretrained() if name == "shipped" else _untrained(seed))
        yield name, out
    for name, pattern in KEPT.items() if kept else ():
        found = sorted(kept.glob(pattern.format(file=file, seed=seed) + ".safetensors"))
        yield from ((name, each) for each in found[:1])


def _untrained(seed: int) -> Pretrained:
    torch.manual_seed(seed)
    model = get_preset("small").model.build(COMMON15, 2)
    encoder = model.trained_encoder.eval()
    return Pretrained(encoder, COMMON15, model.stream, model.frames, BODY, "body lengths")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of packed .npz files")
    parser.add_argument("--cache", type=Path, required=True, help="folder for prepared stores")
    parser.add_argument("--encoders", type=Path, help="encoders that shipped.py kept")
    parser.add_argument("--only", nargs="+", choices=JUDGED, default=list(JUDGED))
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    file = options.out / "shipped_tasks.json"
    rows = json.loads(file.read_text())["results"] if file.exists() else []
    with tempfile.TemporaryDirectory() as folder:
        for seed in SEEDS:
            for what in options.only:
                judged = JUDGED[what]
                store = open_store(judged.file, options.data, options.cache)
                for name, path in encoders(judged.file, seed, options.encoders, Path(folder)):
                    key = {"encoder": name, "seed": seed, "what": what}
                    if any(key.items() <= row.items() for row in rows):
                        continue
                    result = evaluate_runs(
                        judged.task, [path], store, judged.protocol, judged.settings(seed)
                    )
                    figure = result.metrics[judged.figure]
                    print(f"{name}, seed {seed}: {what} {100 * figure:.1f}", flush=True)
                    rows.append({**key, "figure": figure, "environment": environment()})
                    record(rows, file)


def record(rows: list[dict[str, Any]], file: Path) -> None:
    """Write what was measured so far."""
    command = "python benchmarks/shipped_tasks.py --data FOLDER --cache FOLDER --encoders FOLDER"
    result = {"benchmark": "shipped_tasks", "command": command, "results": rows}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
