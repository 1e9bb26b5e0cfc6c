"""Tables of `docs/benchmark.md` from `results/families.json`; table.py prints them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

FILE = Path(__file__).parent / "results" / "families.json"

UTD, NW, KARD = "utd_mhad subjects:1,3,5,7", "nw_ucla views:1,2", "kard xsub"
MSRC = "msrc12 xsub semi"
PRECOG, UNTRIMMED = "precog2016 xsub detection", "msrc12_untrimmed xsub detection"
SBU = tuple(f"sbu_interaction fold:{fold} linear" for fold in range(1, 6))

Column = tuple[tuple[str, ...], str]
"""Results whose mean is a column, and the figure of each."""

COLUMNS: dict[str, dict[str, Column]] = {
    "linear": {
        "UTD-MHAD": ((f"{UTD} linear",), "top1"),
        "NW-UCLA": ((f"{NW} linear",), "top1"),
        "KARD": ((f"{KARD} linear",), "top1"),
        "SBU": (SBU, "top1"),
        "MSRC-12, 1 %": ((MSRC,), "top1_at_0.01"),
        "MSRC-12, 5 %": ((MSRC,), "top1_at_0.05"),
        "MSRC-12, 10 %": ((MSRC,), "top1_at_0.1"),
    },
    "retrieval": {
        "UTD-MHAD": ((f"{UTD} knn",), "top1"),
        "NW-UCLA": ((f"{NW} knn",), "top1"),
        "KARD": ((f"{KARD} knn",), "top1"),
        "MSRC-12": (("msrc12 xsub knn",), "top1"),
    },
    "occlusion": {
        "body parts hidden": ((f"{UTD} occlusion",), "spatial_top1_occluded_training"),
        "frames hidden": ((f"{UTD} occlusion",), "temporal_top1_occluded_training"),
    },
    "few-shot": {
        "1 example": (("uiprmd_kinect xsub fewshot",), "logistic_1shot"),
        "5 examples": (("uiprmd_kinect xsub fewshot",), "logistic_5shot"),
    },
    "detection": {
        "PRECOG-2016": ((PRECOG,), "map_action_voc_0.5"),
        "MSRC-12, untrimmed": ((UNTRIMMED,), "map_action_voc_0.5"),
    },
}
"""Columns of each task."""

TITLES = {
    "untrained": "GRU, untrained",
    "untrained-transformer": "transformer, untrained",
    "skeletonclr": "SkeletonCLR",
    "skeletonclr-transformer": "SkeletonCLR, transformer",
    "simclr": "SimCLR",
    "aimclr": "AimCLR",
    "cmd": "CMD",
    "pstl": "PSTL",
    "vicreg": "VICReg",
    "autoencoder": "autoencoder",
    "mae": "MAE",
    "nat": "NAT",
    "mamp": "MAMP",
    "latent": "latent prediction",
    "displacement": "displacement",
    "ms2l": "MS2L",
    "pcm3-contrast": "PCM3, contrast alone",
    "pcm3": "PCM3",
    "pcm3++": "PCM3++",
}
CONTRASTIVE = ("skeletonclr", "simclr", "aimclr", "cmd", "pstl", "vicreg")
GENERATIVE = ("autoencoder", "mae", "nat", "mamp", "latent")
MASKED = ("mae", "nat", "mamp", "latent")
CONTEXT = ("displacement", "ms2l")
COMBINED = ("pcm3", "pcm3++")


class Claim(NamedTuple):
    """An observation of the papers: some methods are ahead of others in some tasks."""

    text: str
    ahead: tuple[str, ...]
    behind: tuple[str, ...]
    tasks: tuple[str, ...] = tuple(COLUMNS)


CLAIMS = (
    Claim("contrastive over generative", CONTRASTIVE, GENERATIVE, ("retrieval",)),
    Claim("contrastive over generative", CONTRASTIVE, GENERATIVE, ("few-shot",)),
    Claim("masked modelling over contrastive", MASKED, CONTRASTIVE, ("detection",)),
    Claim(
        "combinations over single families",
        COMBINED,
        (*CONTRASTIVE, *GENERATIVE, *CONTEXT),
    ),
    Claim("PCM3 over its contrastive part", ("pcm3",), ("pcm3-contrast",)),
    Claim("PCM3++ over PCM3", ("pcm3++",), ("pcm3",)),
    Claim("MAMP over MAE", ("mamp",), ("mae",)),
    Claim("MAMP over NAT (said to be equal)", ("mamp",), ("nat",)),
    Claim("context over untrained", CONTEXT, ("untrained",)),
)

Seeds = dict[int, Mapping[str, Mapping[str, float]]]
"""Figures of the runs of a variation."""


def read() -> dict[str, Seeds]:
    """Figures by variation and seed."""
    runs: dict[str, Seeds] = {}
    for row in json.loads(FILE.read_text())["results"]:
        runs.setdefault(row["variation"], {})[row["seed"]] = row["figures"]
    return runs


def value(figures: Mapping[str, Mapping[str, float]], column: Column) -> float:
    """A column of one run, in percent."""
    names, key = column
    return 100 * statistics.mean(figures[name][key] for name in names)


def methods(tasks: Iterable[str]) -> list[str]:
    """One row for each method, and the columns of some tasks."""
    runs = read()
    columns = [(task, name, each) for task in tasks for name, each in COLUMNS[task].items()]
    heads = [name if task == "linear" else f"{task}: {name}" for task, name, _ in columns]
    rows = [f"| Method | {' | '.join(heads)} | Mean | Seeds |"]
    rows.append("| --- " * (len(heads) + 3) + "|")
    for name in (name for name in TITLES if name in runs):
        seeds = list(runs[name].values())
        values = [[value(figures, column) for figures in seeds] for _, _, column in columns]
        values.append([statistics.mean(each) for each in zip(*values, strict=True)])
        cells = " | ".join(map(_spread, values))
        rows.append(f"| {TITLES[name]} | {cells} | {len(seeds)} |")
    return rows


def claims() -> list[str]:
    """How far the papers' observations hold: differences, in points."""
    runs = read()
    rows = ["| Observation | Tasks | Difference | Columns ahead | Seeds |"]
    rows.append("| --- | --- | --- | --- | --- |")
    for claim in CLAIMS:
        names = (*claim.ahead, *claim.behind)
        if not all(name in runs for name in names):
            continue
        seeds = sorted(set.intersection(*(set(runs[name]) for name in names)))
        columns = [each for task in claim.tasks for each in COLUMNS[task].values()]
        table = [[_difference(runs, claim, seed, column) for column in columns] for seed in seeds]
        by_column = [statistics.mean(each) for each in zip(*table, strict=True)]
        tasks = "all" if claim.tasks == tuple(COLUMNS) else ", ".join(claim.tasks)
        ahead = f"{sum(each > 0 for each in by_column)} of {len(columns)}"
        difference = _spread([statistics.mean(each) for each in table], signed=True)
        rows.append(f"| {claim.text} | {tasks} | {difference} | {ahead} | {len(seeds)} |")
    return rows


def _difference(runs: Mapping[str, Seeds], claim: Claim, seed: int, column: Column) -> float:
    ahead, behind = (
        statistics.mean(value(runs[name][seed], column) for name in names)
        for names in (claim.ahead, claim.behind)
    )
    return ahead - behind


def _spread(values: Sequence[float], signed: bool = False) -> str:
    """Mean, and standard deviation of several values."""
    mean = f"{statistics.mean(values):{'+' if signed else ''}.1f}"
    return mean if len(values) < 2 else f"{mean} ± {statistics.stdev(values):.1f}"


TABLES: dict[str, Callable[[], list[str]]] = {
    "families_linear": lambda: methods(("linear",)),
    "families_retrieval": lambda: methods(("retrieval", "few-shot")),
    "families_hard": lambda: methods(("occlusion", "detection")),
    "families_claims": claims,
}
