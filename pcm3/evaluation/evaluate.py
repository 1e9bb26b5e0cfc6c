"""Evaluation of runs, alone or together, as the command does it."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pcm3._torch import allow_tf32, find_device
from pcm3.checks import check_not_empty
from pcm3.data.dataset import SkeletonDataset, describe_left_out, describe_windows
from pcm3.data.splits import Indices, note_on_words, split
from pcm3.data.store import Store
from pcm3.encoders.files import encoder_file, fingerprint
from pcm3.errors import SkeletonFormatError
from pcm3.evaluation.features import dataset_for, load_for
from pcm3.evaluation.fusion import fuse
from pcm3.evaluation.recognition import linear_scores, summarize
from pcm3.evaluation.result_files import read_result
from pcm3.evaluation.tasks.registry import TASKS, Task
from pcm3.io.files import replacing
from pcm3.runs.folder import find_run
from pcm3.runs.seen import count_seen, identify, own_protocol
from pcm3.terminal import tell


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
) -> dict[str, Any]:
    """Evaluate trained encoders; of several the linear classifiers' scores are added.

    Args:
        task: One of ``TASKS``; several encoders need ``"linear"``.
        paths: Run folders, or files that ``save_encoder`` wrote.
        store: The data; sequences without a label are left out where the task needs labels.
        protocol: Training and test part; by default the one that the runs were trained under, or
            on a store that they were not trained on the task's own, where it has one.
        settings: Of the task, its defaults where they are not given. What is added is the
            logarithms of the probabilities with solver ``"logistic"``, else the logits.
        weights: Of several encoders' scores; equal by default.
        accelerator: Where the encoders compute: cpu, cuda, mps or auto.
        allow_normalization: Take a store of another normalization than an encoder was trained on.
        max_frames: Where longer sequences are cut off, each one clip; by default as the task has
            it, see ``Task.frames``.

    Returns:
        What ``results/NAME.json`` holds: ``protocol``, ``settings``, ``allow_normalization``
        (whether a store of another normalization was taken), ``max_frames`` (None where all
        frames count), ``left_out`` (``frames`` after these, and of how many ``sequences``), sizes,
        ``seconds``, ``device``, ``metrics``, ``notes`` for people, ``details``, ``weights``,
        and ``runs``: for each the headline figure, its own ``protocol`` and the number of
        ``test_sequences_seen`` in pretraining, without labels; None where it is not known; and of
        an encoder that was kept on the way its ``epoch``.

    Raises:
        ValueError: If an encoder is there twice, runs of different protocols are evaluated
            without saying by which, an option has no effect on the task, a part that needs labels
            has none, the store does not fit, or there is no such accelerator.
    """
    started = time.perf_counter()
    device = find_device(accelerator)
    allow_tf32(False)
    chosen = TASKS[task]
    settings = settings or chosen.settings()
    _check_paths(task, paths, weights)
    lacking = chosen.lacks(store)
    if lacking:
        raise ValueError(f"{store.path}: {lacking}, which {task} needs")
    own, protocol, parts = _parts(chosen, paths, store, protocol)
    limit = _limit(task, settings, max_frames)
    scores = []
    unlabelled: list[str] = []
    if chosen.needs == "labels":
        parts, unlabelled = _labelled(store, parts, chosen)
    abouts: list[dict[str, Any]] = []
    other: list[str] = []
    for path, (its, _) in zip(paths, own, strict=True):
        run, epoch = find_run(path)
        seen = count_seen(run, store, parts[1]) if run and run.config.is_file() else None
        pretrained, said = load_for(path, store, allow_normalization)
        other += said
        pretrained.encoder.to(device)
        training, test = (dataset_for(pretrained, store, part, limit) for part in parts)
        if len(paths) > 1:
            scores.append(linear_scores(pretrained, training, test, settings))
            metrics = summarize(scores[-1], test)
        else:
            metrics = chosen.evaluate(pretrained, training, test, settings)
        abouts.append(
            {
                "run": (run.path if run else path).resolve().name,
                **({} if epoch is None else {"epoch": epoch}),
                "encoder": fingerprint(path),
                "protocol": " ".join(its) or None,
                "test_sequences_seen": seen,
                **{name: metrics[name] for name in chosen.headlines(metrics)[:1]},
            }
        )
    if len(paths) > 1:
        metrics = summarize(fuse(scores, weights), test)
        metrics["details"]["notes"] = settings.describe()
    details = metrics.pop("details")
    notes = [*dict.fromkeys(other), *note_on_words(store, protocol), *unlabelled]
    left_out = {name: n + test.left_out[name] for name, n in training.left_out.items()}
    notes += describe_left_out(left_out, limit)
    if chosen.frames(settings) == "windows":
        both = dataset_for(pretrained, store, np.union1d(*parts), limit)
        notes += describe_windows(both, _WINDOWED)
    notes += [*_unknown_classes(training, test, chosen), *details.pop("notes", [])]
    return {
        "command": f"evaluate {task}",
        "store": store.path.resolve().name,
        "store_fingerprint": store.fingerprint,
        "protocol": protocol,
        "settings": _plain(settings),
        "allow_normalization": bool(other),
        "max_frames": limit,
        "left_out": left_out,
        "data": identify(store),
        "train_sequences": len(training),
        "test_sequences": len(test),
        "class_names": list(test.class_names),
        "seconds": round(time.perf_counter() - started, 2),
        "device": device.type,
        "metrics": metrics,
        "notes": notes,
        "weights": list(weights) if weights else [1 / len(paths)] * len(paths),
        "runs": abouts,
        "details": details,
    }


def evaluate_all(
    paths: Sequence[Path],
    store: Store,
    protocol: str | None = None,
    accelerator: str = "auto",
    allow_normalization: bool = False,
) -> dict[str, dict[str, Any]]:
    """Evaluate an encoder on every task that the store supports, with default settings.

    A task that does not fit the data is left out, and why is printed. In a run folder every result
    is kept at once; one that is there already, of this encoder and this data, is not made again.

    Args:
        paths: One run folder, or one file that ``save_encoder`` wrote.
        store: The data.
        protocol: As of ``evaluate_runs``.
        accelerator: As of ``evaluate_runs``.
        allow_normalization: As of ``evaluate_runs``.

    Returns:
        Task to result, see ``evaluate_runs``.

    Raises:
        ValueError: If there are several runs, no task is left, there is no such accelerator or
            protocol, the encoder cannot be read, or the store's normalization is not its own.
    """
    # what is wrong for every task is said once
    find_device(accelerator)
    _check_paths("all", paths, None)
    _, other = load_for(paths[0], store, allow_normalization)
    _parts(TASKS["linear"], paths, store, protocol)
    warned: set[str] = set()
    results: dict[str, dict[str, Any]] = {}
    for name, task in TASKS.items():
        settings = task.settings()
        try:
            _, chosen, _ = _parts(task, paths, store, protocol)
            result = kept = _kept(name, paths, store, chosen, settings, bool(other))
            if result is None:
                result = evaluate_runs(
                    name,
                    paths,
                    store,
                    protocol,
                    settings,
                    accelerator=accelerator,
                    allow_normalization=allow_normalization,
                )
        except ValueError as reason:
            tell(f"{name:<12}left out: {reason}", flush=True)
            continue
        results[name] = result
        took = "kept" if kept else f"{result['seconds']:.0f} s"
        figures = headline(name, result["metrics"])
        tell(f"{name:<12}{figures}{by_solver(settings)}  ({took})", flush=True)
        for note in result.get("notes", []):
            tell(f"{'':<12}{note}", flush=True)
        if not kept:  # what is printed is not lost where it cannot be written
            write_result(result_file(name, paths, result, settings), result)
        for warning in seen_tests(paths, result):
            if warning not in warned:
                tell(f"pcm3: warning: {warning}", file=sys.stderr)
            warned.add(warning)
    if not results:
        raise ValueError(f"no task fits {store.path}")
    return results


_WINDOWED = "the mean of the features of their windows counts"


def _limit(task: str, settings: Any, max_frames: int | None) -> int | None:
    """Where sequences are cut off.

    Raises:
        ValueError: If a limit is given to a task that has its own windows.
    """
    if max_frames is None:
        return TASKS[task].limit(settings)
    if TASKS[task].frames(settings) == "all":
        raise ValueError(f"an option has no effect: {task} reads recordings whole, in windows")
    return max_frames


_Own = tuple[list[str], bool]  # of an encoder, see own_protocol


def _parts(
    task: Task, paths: Sequence[Path], store: Store, given: str | None
) -> tuple[list[_Own], str, tuple[Indices, Indices]]:
    """The protocols of each run, that of the evaluation, and its training and test part.

    Raises:
        ValueError: If there is no such protocol, or none is given and runs know none in common.
    """
    own = []
    for path in paths:
        run, _ = find_run(path)
        is_run = run is not None and run.config.is_file()
        own.append(own_protocol(run, store) if run and is_run else ([], False))
    protocol = given or _default_protocol(task, paths, store, own)
    if protocol == "all":
        own_one = "" if given else f", under which {paths[0]} was trained,"
        raise ValueError(
            f"protocol 'all'{own_one} would test on training data; give another --protocol"
        )
    try:
        return own, protocol, split(store, protocol)
    except ValueError as error:
        run, _ = find_run(paths[0])
        said = "" if given or run is None else f"; {run.config} says this protocol: give --protocol"
        raise ValueError(f"{error}{said}") from None


def _labelled(
    store: Store, parts: tuple[Indices, Indices], task: Task
) -> tuple[tuple[Indices, Indices], list[str]]:
    """What of the training and the test part has a label, and what to say of the rest.

    Raises:
        ValueError: If nothing has of a part that has to.
    """
    training, test = (part[store.labels[part] >= 0] for part in parts)
    notes = []
    for name, part, kept in (("training", parts[0], training), ("test", parts[1], test)):
        if len(kept) == 0 and (kept is test or task.learns_classes):
            raise ValueError(f"{store.path}: none of the {len(part)} {name} sequences has a label")
        if without := len(part) - len(kept):
            notes.append(f"{without} of {len(part)} {name} sequences have no label: left out")
    return (training, test), notes


def seen_tests(paths: Sequence[Path], result: dict[str, Any]) -> list[str]:
    """What to warn of: runs that were pretrained on test sequences of a result of theirs."""
    return [
        f"{path} was pretrained (protocol {about.get('protocol')}), without labels, on "
        f"{about['test_sequences_seen']} of the {result['test_sequences']} test sequences"
        for path, about in zip(paths, result["runs"], strict=True)
        if about.get("test_sequences_seen")
    ]


def _unknown_classes(training: SkeletonDataset, test: SkeletonDataset, task: Task) -> list[str]:
    """What to say where test classes have no training sequence but need one."""
    known, asked = set(training.labels.tolist()), set(test.labels.tolist())
    if not task.learns_classes or asked <= known:
        return []
    return [f"{len(asked - known)} of {len(asked)} test classes have no training sequence"]


def _kept(
    task: str,
    paths: Sequence[Path],
    store: Store,
    protocol: str,
    settings: Any,
    allow_normalization: bool,
) -> dict[str, Any] | None:
    """The result on file, where it is of this encoder, this store and these settings."""
    run, _ = find_run(paths[0])
    if run is None:
        return None
    name = result_name(
        task,
        paths,
        store.path.resolve().name,
        protocol,
        settings,
        allow_normalization=allow_normalization,
    )
    file = _place(run.results / f"{name}.json", identify(store))
    if not file.is_file():
        return None
    try:
        result = read_result(file)
    except SkeletonFormatError as damage:
        why = str(damage).removeprefix(f"{file}: ")
        tell(f"pcm3: warning: {file} is no result; evaluated anew ({why})", file=sys.stderr)
        return None
    limit = TASKS[task].limit(settings)
    found = [result["command"], result.get("store_fingerprint"), result["settings"]]
    found.append(result.get("max_frames", "unknown"))
    wanted = [f"evaluate {task}", store.fingerprint, _plain(settings), limit]
    encoders = [about.get("encoder") for about in result["runs"]]
    same = found == wanted and encoders == [fingerprint(paths[0])]
    return result if same else None


def result_file(
    task: str,
    paths: Sequence[Path],
    result: dict[str, Any],
    settings: Any,
    weights: Sequence[float] | None = None,
) -> Path | None:
    """Where a result is kept: in the folder of the first run; an encoder without its run has none.

    Raises:
        OSError: If the folder cannot be read.
    """
    run, _ = find_run(paths[0])
    if run is None:
        return None
    name = result_name(
        task,
        paths,
        result["store"],
        result["protocol"],
        settings,
        weights,
        result["allow_normalization"],
        result["max_frames"],
    )
    return _place(run.results / f"{name}.json", result["data"])


def write_result(file: Path | None, result: dict[str, Any]) -> None:
    """Write a result to its file, where it has one.

    Raises:
        OSError: Naming the file, if it cannot be written.
    """
    if file is not None:
        # an entry a line, those with long lists too
        lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in result.items()]
        with replacing(file) as temporary:
            temporary.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")


def _place(file: Path, data: dict[str, int]) -> Path:
    """The file of a result, another one where a store of the same name has taken it."""
    with suppress(SkeletonFormatError):  # what is damaged may be replaced
        if read_result(file)["data"] != data:
            file = file.with_stem("-".join([file.stem, *map(str, data.values())]))
    return file


def headline(task: str, metrics: dict[str, Any]) -> str:
    """The figures that say most, as people read them."""
    names = TASKS[task].headlines(metrics)
    return ", ".join(f"{name} {figure(name, metrics[name])}" for name in names)


def figure(name: str, value: float) -> str:
    """A figure with its unit: millimetres where the name ends so, per cent otherwise."""
    return f"{value:.1f}" if name.endswith("_mm") else f"{value:.1%}"


def by_solver(settings: Any) -> str:
    """Who fitted the classifier, for a headline; empty of a task that has no choice of solvers."""
    return f" (solver {settings.solver})" if hasattr(settings, "solver") else ""


def _plain(settings: Any) -> Any:
    """Settings as JSON gives them back, without folders."""
    folders = {each.name for each in fields(settings) if "Path" in str(each.type)}
    kept = {name: value for name, value in asdict(settings).items() if name not in folders}
    return json.loads(json.dumps(kept))


def result_name(
    task: str,
    paths: Sequence[Path],
    store: str,
    protocol: str,
    settings: Any,
    weights: Sequence[float] | None = None,
    allow_normalization: bool = False,
    max_frames: int | None = None,
) -> str:
    """Name of the result in the first run: what was evaluated how, and with which others.

    Settings that differ from the task's defaults are part of it, but for folders. A long name is
    cut, and ends in a digest of the whole.
    """
    run, epoch = find_run(paths[0])
    parts = [task, *([] if epoch is None else [f"epoch{epoch}"]), *_changed(settings)]
    parts += ["allow_normalization"] * allow_normalization
    if max_frames not in (None, TASKS[task].limit(settings)):
        parts.append(f"max_frames-{max_frames}")
    if len(paths) > 1:
        beside = (run.path if run else paths[0]).resolve().parent
        others = [os.path.relpath(path.resolve(), beside) for path in paths[1:]]
        parts += ["fused", *others]
        parts += [f"{weight:g}" for weight in weights or ()]
    name = "_".join([*parts, store, protocol]).replace(":", "_").replace(os.sep, "-")
    letters = name.encode(errors="surrogatepass")
    if len(letters) <= _LONGEST_NAME:
        return name
    digest = hashlib.blake2b(letters, digest_size=8).hexdigest()
    return f"{letters[: _LONGEST_NAME - 20].decode(errors='ignore')}_{digest}"


_LONGEST_NAME = 180  # bytes; files may have 255, and more is added to the name


def _changed(settings: Any, prefix: str = "") -> list[str]:
    defaults, found = type(settings)(), []
    for each in fields(settings):
        value, default = getattr(settings, each.name), getattr(defaults, each.name)
        if is_dataclass(value):
            found += _changed(value, f"{prefix}{each.name}.")
        elif value != default and not isinstance(value, Path):
            values = value if isinstance(value, tuple) else (value,)
            found.append(f"{prefix}{each.name}-{'-'.join(map(str, values))}")
    return found


def _check_paths(task: str, paths: Sequence[Path], weights: Sequence[float] | None) -> None:
    if len(paths) == 1 and weights is not None:
        raise ValueError("an option has no effect: weights are of several runs")
    check_not_empty("runs", paths)
    if task != "linear" and len(paths) > 1:
        raise ValueError(f"{task} evaluates one run, got {len(paths)}")
    files = [encoder_file(path).resolve() for path in paths]
    for index, file in enumerate(files):
        if file in files[:index]:
            raise ValueError(f"expected different runs, got {paths[index]} twice")


def _default_protocol(task: Task, paths: Sequence[Path], store: Store, own: Sequence[_Own]) -> str:
    """What to evaluate by where nothing is said.

    Raises:
        ValueError: If the runs do not say, or not the same.
    """
    new = task.protocol(store)
    if new is not None and not any(trained_here for _, trained_here in own):
        return new
    for path, (protocols, _) in zip(paths, own, strict=True):
        if not protocols:
            raise ValueError(
                f"{path} does not say which protocol its training part came from; give one, "
                "--protocol xsub say"
            )
        if len(protocols) > 1:
            raise ValueError(
                f"{path} was trained under the protocols {' '.join(protocols)}, one for each "
                f"store, and {store.path} is none of them; give a --protocol"
            )
    if len({protocols[0] for protocols, _ in own}) > 1:
        pairs = zip(own, paths, strict=True)
        raise ValueError(
            "expected runs that were trained under one protocol, got "
            f"{', '.join(f'{protocols[0]} ({path})' for (protocols, _), path in pairs)}: some have "
            "seen others' test sequences; --protocol says by which to evaluate them all the same"
        )
    return own[0][0][0]
