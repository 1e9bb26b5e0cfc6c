"""``evaluate_runs`` and ``evaluate_all``, which the command ``evaluate`` calls."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pcm3._torch import allow_tf32, find_device
from pcm3.checks import check_not_empty
from pcm3.data.dataset import SkeletonDataset, describe_form, describe_left_out, describe_windows
from pcm3.data.splits import note_on_copies, note_on_words, split
from pcm3.data.store import Store
from pcm3.encoders.files import encoder_file, fingerprint
from pcm3.evaluation.classification import fuse
from pcm3.evaluation.features import dataset_for, load_for
from pcm3.evaluation.kept import find_kept, result_file, results_folder
from pcm3.evaluation.parts import choose_parts, keep_labelled
from pcm3.evaluation.tasks.base import Task
from pcm3.evaluation.tasks.registry import TASKS
from pcm3.runs.folder import find_run, find_stream
from pcm3.runs.results import Result, RunAbout, plain_settings, write_result
from pcm3.runs.seen import Found, find_past, find_seen, identify
from pcm3.terminal import tell

_FEW = 100  # test sequences, each of which moves an accuracy by a percentage point or more


def evaluate_runs(
    task: str,
    paths: Sequence[Path],
    store: Store,
    protocol: str | None = None,
    settings: Any = None,
    weights: Sequence[float] | None = None,
    accelerator: str = "auto",
    allow_normalization: bool = False,
    max_frames: int | None = None,
) -> Result:
    """Evaluate a trained encoder, or several encoders by the sum of their class scores.

    Args:
        task: One of ``TASKS``; several encoders need ``"linear"``.
        paths: Run folders, or files that ``save_encoder`` wrote.
        store: The data. If the task needs labels, sequences without a label are left out.
        protocol: Training and test part. By default the protocol that the runs were trained under,
            or, on a store that no run was trained on, the task's own protocol if it has one.
        settings: Settings of the task. Summed scores are logarithms of probabilities with solver
            ``"logistic"``, else logits.
        weights: Weights of several encoders' scores; equal by default.
        accelerator: Device of the encoders: cpu, cuda, mps or auto.
        allow_normalization: Accept a store of another normalization than that of the training.
        max_frames: Frames after which sequences are cut off; the default depends on the task, see
            ``Task.frames``.

    Returns:
        The result, which ``write_result`` writes to a file.

    Raises:
        ValueError: If an encoder is given twice, the runs have different protocols and none is
            given, an option has no effect on the task, a part that needs labels has none, the
            store does not fit, or the accelerator is not available.
    """
    started = time.perf_counter()
    device = find_device(accelerator)
    allow_tf32(False)
    chosen = TASKS[task]
    settings = settings or chosen.settings()
    plain = plain_settings(settings)
    _check_paths(task, paths, weights)
    if lacking := chosen.lacks(store):
        raise ValueError(f"{store.path}: {lacking}, which {task} needs")
    own, protocol, parts = choose_parts(chosen, paths, store, protocol)
    copies = len(split(store, protocol, drop_duplicates=False)[1]) - len(parts[1])
    limit = _limit(task, chosen, plain, max_frames)
    unlabelled: list[str] = []
    if chosen.needs == "labels":
        parts, unlabelled = keep_labelled(store, parts, chosen)
    fusion = chosen.fusion if len(paths) > 1 else None
    scores, runs, normalization_notes = [], [], list[str]()
    found = [find_seen(find_past(path), store) for path in paths]
    for path, (protocols, _), known in zip(paths, own, found, strict=True):
        pretrained, note = load_for(path, store, allow_normalization)
        normalization_notes += note
        pretrained.encoder.to(device)
        training, test = (dataset_for(pretrained, store, part, limit) for part in parts)
        if fusion:
            scores.append(fusion.scores(pretrained, training, test, settings))
            metrics = fusion.judge(scores[-1], test, settings)
        else:
            metrics = chosen.evaluate(pretrained, training, test, settings)
        best = chosen.headlines(metrics)[:1]
        headline = {name: metrics[name] for name in best}
        runs.append(_describe_run(path, protocols, known.count_in(parts[1]), headline))
    if fusion:
        metrics = fusion.judge(fuse(scores, weights), test, settings)
    details = metrics.pop("details")
    left_out = {name: count + test.left_out[name] for name, count in training.left_out.items()}
    notes = [*dict.fromkeys(normalization_notes), *note_on_words(store, protocol)]
    notes += [*note_on_copies(store, protocol), *unlabelled, *_note_on_unknown(runs)]
    notes += describe_left_out(left_out, limit)
    notes += describe_form(test)
    if chosen.frames(plain) == "windows":
        both = dataset_for(pretrained, store, np.union1d(*parts), limit)
        notes += describe_windows(both, "the features of their windows are averaged")
    notes += [*_unknown_classes(training, test, chosen), *details.pop("notes", [])]
    if chosen.new_classes:
        notes += _seen_classes(found, store, details["classes"])
    return Result(
        task=task,
        store=store.path.resolve().name,
        store_fingerprint=store.fingerprint,
        protocol=protocol,
        settings=plain,
        allow_normalization=bool(normalization_notes),
        max_frames=limit,
        left_out=left_out | {"copies": copies},
        data=identify(store),
        train_sequences=len(training),
        test_sequences=len(test),
        class_names=list(test.class_names),
        seconds=round(time.perf_counter() - started, 2),
        device=device.type,
        metrics=metrics,
        notes=notes,
        weights=list(weights) if weights else [1 / len(paths)] * len(paths),
        runs=runs,
        details=details,
    )


def evaluate_all(
    paths: Sequence[Path],
    store: Store,
    protocol: str | None = None,
    accelerator: str = "auto",
    allow_normalization: bool = False,
    out: Path | None = None,
) -> dict[str, Result]:
    """Evaluate an encoder on every task that the store supports, with default settings.

    Prints each result, or why a task was left out. In a run folder, or ``out``, each result is
    written at once, and results that the folder already has for this encoder and store are reused.

    Args:
        paths: One run folder, or one file that ``save_encoder`` wrote.
        store: The data.
        protocol: As in ``evaluate_runs``.
        accelerator: As in ``evaluate_runs``.
        allow_normalization: As in ``evaluate_runs``.
        out: The folder to keep the results of an encoder without a run in.

    Returns:
        The result of each task by name.

    Raises:
        ValueError: If several runs are given, no task fits, the accelerator or protocol does not
            exist, the encoder cannot be read, its normalization is not the store's, or ``out``
            is for another encoder.
    """
    # errors that concern all tasks are raised once
    find_device(accelerator)
    _check_paths("all", paths, None)
    _, normalization_notes = load_for(paths[0], store, allow_normalization)
    choose_parts(TASKS["linear"], paths, store, protocol)
    results_folder(paths[0], out)
    warned: set[str] = set()
    results: dict[str, Result] = {}
    for name, task in TASKS.items():
        try:
            _, chosen, _ = choose_parts(task, paths, store, protocol)
            result = kept = find_kept(
                name, paths, store, chosen, bool(normalization_notes), out=out
            )
            if result is None:
                result = evaluate_runs(
                    name,
                    paths,
                    store,
                    protocol,
                    accelerator=accelerator,
                    allow_normalization=allow_normalization,
                )
        except ValueError as reason:
            tell(f"{name:<12}left out: {reason}", flush=True)
            continue
        results[name] = result
        took = "kept" if kept else f"{result.seconds:.0f} s"
        figures = f"{task.summary(result.metrics)}{task.how(result.settings)}{few_tests(result)}"
        tell(f"{name:<12}{figures}  ({took})", flush=True)
        for note in result.notes:
            tell(f"{'':<12}{note}", flush=True)
        file = None if kept else result_file(result, paths, out)
        if file is not None:  # after printing: a write may fail
            write_result(file, result)
        for warning in seen_tests(paths, result):
            if warning not in warned:
                tell(f"pcm3: warning: {warning}", file=sys.stderr)
            warned.add(warning)
    if not results:
        raise ValueError(f"no task fits {store.path}")
    return results


def few_tests(result: Result) -> str:
    """Format the number of test sequences if it is so small that figures are rough, else empty."""
    return f"; {result.test_sequences} test sequences" if result.test_sequences < _FEW else ""


def seen_tests(paths: Sequence[Path], result: Result) -> list[str]:
    """Return warnings about runs whose pretraining has seen test sequences."""
    return [
        f"{path} was pretrained{f' (protocol {about.protocol})' if about.protocol else ''}, "
        f"without labels, on {about.test_sequences_seen} of the {result.test_sequences} test "
        "sequences"
        for path, about in zip(paths, result.runs, strict=True)
        if about.test_sequences_seen
    ]


def _check_paths(task: str, paths: Sequence[Path], weights: Sequence[float] | None) -> None:
    if len(paths) == 1 and weights is not None:
        raise ValueError("an option has no effect: weights need several runs")
    check_not_empty("runs", paths)
    if len(paths) > 1 and (task not in TASKS or TASKS[task].fusion is None):
        raise ValueError(f"{task} evaluates one run, got {len(paths)}")
    files = [encoder_file(path).resolve() for path in paths]
    for index, file in enumerate(files):
        if file in files[:index]:
            raise ValueError(f"expected different runs, got {paths[index]} twice")


def _limit(task: str, chosen: Task, plain: dict[str, Any], max_frames: int | None) -> int | None:
    """Return the frame after which sequences are cut off.

    Raises:
        ValueError: If the task has windows of its own and a limit is given.
    """
    if max_frames is None:
        return chosen.limit(plain)
    if chosen.frames(plain) == "all":
        raise ValueError(f"an option has no effect: {task} reads recordings whole, in windows")
    return max_frames


def _describe_run(
    path: Path, protocols: Sequence[str], seen: int | None, headline: dict[str, float]
) -> RunAbout:
    run, epoch = find_run(path)
    stream = find_stream(path)
    return RunAbout(
        run=(run.path if run else path).resolve().name + (f"-{stream}" if stream else ""),
        epoch=epoch,
        encoder=fingerprint(path),
        protocol=" ".join(protocols) or None,
        test_sequences_seen=seen,
        headline=headline,
    )


def _note_on_unknown(runs: Sequence[RunAbout]) -> list[str]:
    """Return a note if it is unknown whether runs have seen test sequences."""
    names = [about.run for about in runs if about.test_sequences_seen is None]
    of = f" of {', '.join(names)}" if len(runs) > 1 else ""
    note = f"whether pretraining{of} has seen test sequences is unknown"
    return [note] if names else []


def _unknown_classes(training: SkeletonDataset, test: SkeletonDataset, task: Task) -> list[str]:
    """Return a note if test classes need training sequences and have none."""
    known, tested = set(training.labels.tolist()), set(test.labels.tolist())
    if not task.learns_classes or tested <= known:
        return []
    return [f"{len(tested - known)} of {len(tested)} test classes have no training sequence"]


def _seen_classes(found: Sequence[Found], store: Store, classes: Sequence[int]) -> list[str]:
    """Return a note if a run was pretrained on sequences of classes that should be new to it."""
    known: set[int] = set()
    for each in found:
        known |= set(store.labels[each.seen].tolist())
    count = len(known.intersection(classes))
    if not count:
        return []
    return [
        f"pretraining has seen sequences of {count} of the {len(classes)} classes, without labels; "
        "few-shot figures of papers are of classes that it has not seen"
    ]
