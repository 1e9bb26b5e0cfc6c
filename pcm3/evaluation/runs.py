"""Evaluation of runs, alone or together, as the command does it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from pcm3.data.splits import split
from pcm3.data.store import Store
from pcm3.evaluation.features import dataset_for
from pcm3.evaluation.fusion import fuse
from pcm3.evaluation.linear import SGDProbe
from pcm3.evaluation.recognition import Solver, evaluate_knn, linear_scores, summarize
from pcm3.hub import encoder_file, load_encoder
from pcm3.training.run import Run
from pcm3.training.seen import count_seen, own_protocol

Task = Literal["linear", "knn"]


def evaluate_runs(
    task: Task,
    paths: Sequence[Path],
    store: Store,
    protocol: str | None = None,
    *,
    solver: Solver = "logistic",
    sgd: SGDProbe | None = None,
    weights: Sequence[float] | None = None,
    k: int = 1,
) -> dict[str, Any]:
    """Evaluate trained encoders; of several the classifiers' scores are added.

    Args:
        task: ``"linear"`` or ``"knn"``, which takes one encoder.
        paths: Run folders, or files that ``save_encoder`` wrote.
        store: The data.
        protocol: Training and test part; by default the one that the runs were trained under.
        solver: Of ``"linear"``, see ``evaluate_linear``. What is added is the logarithms of the
            probabilities with ``"logistic"``, the logits with ``"sgd"``.
        sgd: Schedule of solver ``"sgd"``.
        weights: Of several encoders' scores; equal by default.
        k: Of ``"knn"``: neighbours that vote.

    Returns:
        What ``results/NAME.json`` holds: ``protocol``, ``metrics``, ``weights``, sizes, and
        ``runs``: for each its ``top1``, its own ``protocol`` and the number of
        ``test_sequences_seen`` in pretraining, without labels; None where it is not known.

    Raises:
        ValueError: If an encoder is there twice, runs of different protocols are evaluated
            without saying by which, an option has no effect on the task, or the store does not
            fit.
    """
    _check_options(task, paths, solver, sgd, weights, k)
    runs = [Run(path) if path.is_dir() else None for path in paths]
    own = [own_protocol(run, store) if run and run.config.is_file() else None for run in runs]
    protocol = protocol or _common_protocol(paths, own)
    if protocol == "all":
        raise ValueError("protocol 'all' would test on training data; give another --protocol")
    parts, scores = split(store, protocol), []
    abouts: list[dict[str, Any]] = []
    for path, run, its in zip(paths, runs, own, strict=True):
        pretrained = load_encoder(path)
        training, test = (dataset_for(pretrained, store, part) for part in parts)
        if task == "linear":
            scores.append(linear_scores(pretrained, training, test, solver, sgd))
            metrics = summarize(scores[-1], test)
        else:
            metrics = evaluate_knn(pretrained, training, test, k)
        seen = run.settings().get("seen") if run and run.config.is_file() else None
        abouts.append(
            {
                "run": path.resolve().name,
                "protocol": its,
                "test_sequences_seen": None if seen is None else count_seen(seen, store, parts[1]),
                "top1": metrics["top1"],
            }
        )
    if len(paths) > 1:
        metrics = summarize(fuse(scores, weights), test)
    return {
        "command": f"evaluate {task}",
        "store": store.path.resolve().name,
        "protocol": protocol,
        "solver": solver if task == "linear" else f"{k} nearest, cosine",
        "train_sequences": len(training),
        "test_sequences": len(test),
        "metrics": metrics,
        "weights": list(weights) if weights else [1 / len(paths)] * len(paths),
        "runs": abouts,
    }


def result_name(
    task: Task,
    paths: Sequence[Path],
    store: str,
    protocol: str,
    *,
    solver: Solver = "logistic",
    weights: Sequence[float] | None = None,
    k: int = 1,
) -> str:
    """Name of the result in the first run: what was evaluated how, and with which others."""
    parts: list[str] = [task]
    parts += [f"k{k}"] if task == "knn" and k > 1 else []
    parts += ["sgd"] if solver == "sgd" else []
    if len(paths) > 1:
        beside = paths[0].resolve().parent
        others = [os.path.relpath(path.resolve(), beside) for path in paths[1:]]
        parts += ["fused", *(other.replace(os.sep, "-") for other in others)]
        parts += [f"{weight:g}" for weight in weights or ()]
    return "_".join([*parts, store, protocol.replace(":", "_")])


def _check_options(
    task: Task,
    paths: Sequence[Path],
    solver: Solver,
    sgd: SGDProbe | None,
    weights: Sequence[float] | None,
    k: int,
) -> None:
    for ignored, what in (
        (task == "knn" and solver != "logistic", "a solver is of linear, not of knn"),
        (solver != "sgd" and sgd not in (None, SGDProbe()), "the schedule is of solver sgd"),
        (task == "linear" and k != 1, "k is of knn, not of linear"),
        (len(paths) == 1 and weights is not None, "weights are of several runs"),
    ):
        if ignored:
            raise ValueError(f"an option has no effect: {what}")
    if task == "knn" and len(paths) > 1:
        raise ValueError(f"knn evaluates one run, got {len(paths)}")
    files = [encoder_file(path).resolve() for path in paths]
    for index, file in enumerate(files):
        if file in files[:index]:
            raise ValueError(f"expected different runs, got {paths[index]} twice")


def _common_protocol(paths: Sequence[Path], own: Sequence[str | None]) -> str:
    for path, protocol in zip(paths, own, strict=True):
        if protocol is None:
            raise ValueError(
                f"{path} does not say which protocol its training part came from; give one, "
                "--protocol xsub say"
            )
    if len(set(own)) > 1:
        pairs = zip(own, paths, strict=True)
        raise ValueError(
            "expected runs that were trained under one protocol, got "
            f"{', '.join(f'{protocol} ({path})' for protocol, path in pairs)}: some have seen "
            "others' test sequences; --protocol says by which to evaluate them all the same"
        )
    return str(own[0])
