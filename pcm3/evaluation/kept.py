"""The files in which a folder keeps results, and the check that a kept result is current."""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from pcm3.data.store import Store
from pcm3.encoders.files import fingerprint
from pcm3.errors import SkeletonFormatError
from pcm3.evaluation.tasks.registry import TASKS, check_result
from pcm3.runs.folder import Run, find_run, find_stream
from pcm3.runs.results import Result, Settings, changed_settings, read_result
from pcm3.runs.seen import identify
from pcm3.terminal import tell

_LONGEST_NAME = 180  # bytes; file names may have 255, and endings are added


def results_folder(path: Path, out: Path | None = None) -> Path | None:
    """Return the folder that results are kept in; None without a run or another folder.

    Args:
        path: The evaluated run or encoder, the first of several.
        out: The folder to keep results of an encoder without a run in, as if it were its run.

    Raises:
        ValueError: If the encoder has a run, which keeps its results, or ``out`` is a run folder or
            a store, or has results of another encoder.
    """
    run, _ = find_run(path)
    if out is None:
        return run.results if run else None
    if run is not None:
        raise ValueError(
            f"an option has no effect: {run.path} keeps the results of its encoders; --out is for "
            "an encoder without a run folder"
        )
    folder = Run(out)
    if folder.config.exists() or (out / "meta.json").exists():
        raise ValueError(f"expected a folder for results alone, got the run or store {out}")
    for file in sorted(folder.results.glob("*.json")):
        with suppress(SkeletonFormatError):  # a damaged file may be replaced
            if read_result(file, check_result).runs[0].encoder not in (None, fingerprint(path)):
                raise ValueError(
                    f"{out} keeps results of another encoder than {path}: choose another folder"
                )
    return folder.results


def result_file(result: Result, paths: Sequence[Path], out: Path | None = None) -> Path | None:
    """Return the file that a result is kept in; None if there is no folder for it.

    Args:
        result: The result.
        paths: The evaluated runs or encoders, as in ``evaluate_runs``.
        out: As of ``results_folder``.

    Raises:
        OSError: If the folder cannot be read.
        ValueError: As of ``results_folder``.
    """
    folder = results_folder(paths[0], out)
    if folder is None:
        return None
    equal = [1 / len(paths)] * len(paths)
    name = result_name(
        result.task,
        paths,
        result.store,
        result.protocol,
        result.settings,
        () if result.weights == equal else result.weights,
        result.allow_normalization,
        result.max_frames,
    )
    return _place(folder / f"{name}.json", result.data)


def find_kept(
    task: str,
    paths: Sequence[Path],
    store: Store,
    protocol: str,
    allow_normalization: bool,
    settings: Settings | None = None,
    max_frames: int | None = None,
    out: Path | None = None,
) -> Result | None:
    """Find the kept result of a task for this encoder and store.

    Damaged results are reported on standard error.

    Args:
        task: One of ``TASKS``.
        paths: The evaluated run or encoder, as in ``evaluate_runs``.
        store: The data.
        protocol: Training and test part.
        allow_normalization: Whether the store's normalization is not the encoder's.
        settings: Settings as ``plain_settings`` returns them; the defaults if None.
        max_frames: Frames after which sequences are cut off; the task's default if None.
        out: As of ``results_folder``.
    """
    folder = results_folder(paths[0], out)
    if folder is None:
        return None
    settings = TASKS[task].defaults if settings is None else settings
    limit = TASKS[task].limit(settings) if max_frames is None else max_frames
    name = result_name(
        task,
        paths,
        store.path.resolve().name,
        protocol,
        settings,
        allow_normalization=allow_normalization,
        max_frames=limit,
    )
    file = _place(folder / f"{name}.json", identify(store))
    if not file.is_file():
        return None
    try:
        result = read_result(file, check_result)
    except SkeletonFormatError as damage:
        why = str(damage).removeprefix(f"{file}: ")
        tell(f"pcm3: warning: {file} is not a result; evaluated again ({why})", file=sys.stderr)
        return None
    known = result.left_out is not None  # older versions did not record where they cut
    wanted = (task, store.fingerprint, settings, limit, [fingerprint(paths[0])])
    encoders = [about.encoder for about in result.runs]
    kept = (result.task, result.store_fingerprint, result.settings, result.max_frames, encoders)
    return result if known and kept == wanted else None


def result_name(
    task: str,
    paths: Sequence[Path],
    store: str,
    protocol: str,
    settings: Mapping[str, Any],
    weights: Sequence[float] = (),
    allow_normalization: bool = False,
    max_frames: int | None = None,
) -> str:
    """Name the file of a result after the task, the settings, the runs and the data.

    The name contains the settings that differ from the task's defaults. A long name is cut, and
    ends in a digest of the whole name.

    Args:
        task: One of ``TASKS``.
        paths: The evaluated runs or encoders, as in ``evaluate_runs``.
        store: Name of the store.
        protocol: Training and test part.
        settings: Settings as ``plain_settings`` returns them.
        weights: Weights of the runs' scores, if they are not equal.
        allow_normalization: Whether the store's normalization is not the encoder's.
        max_frames: Frames after which sequences were cut off.
    """
    run, epoch = find_run(paths[0])
    defaults = TASKS[task].defaults
    parts = [task, *([] if epoch is None else [f"epoch{epoch}"]), find_stream(paths[0]) or ""]
    parts = [part for part in parts if part]
    for name, value in changed_settings(settings, defaults).items():
        values = value if isinstance(value, list) else [value]
        parts.append(f"{name}-{'-'.join(map(str, values))}")
    parts += ["allow_normalization"] * allow_normalization
    if max_frames not in (None, TASKS[task].limit(settings)):
        parts.append(f"max_frames-{max_frames}")
    if len(paths) > 1:
        beside = (run.path if run else paths[0]).resolve().parent
        others = [os.path.relpath(path.resolve(), beside) for path in paths[1:]]
        parts += ["fused", *others, *(f"{weight:g}" for weight in weights)]
    whole = "_".join([*parts, store, protocol]).replace(":", "_").replace(os.sep, "-")
    letters = whole.encode(errors="surrogatepass")
    if len(letters) <= _LONGEST_NAME:
        return whole
    digest = hashlib.blake2b(letters, digest_size=8).hexdigest()
    return f"{letters[: _LONGEST_NAME - 20].decode(errors='ignore')}_{digest}"


def _place(file: Path, data: Mapping[str, int]) -> Path:
    """Return the file of a result, another one if a store of the same name has taken it."""
    with suppress(SkeletonFormatError):  # a damaged file may be replaced
        if read_result(file, check_result).data != data:
            file = file.with_stem("-".join([file.stem, *map(str, data.values())]))
    return file
