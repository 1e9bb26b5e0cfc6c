"""The results of many runs as entries of a report, grouped and named."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from pcm3.encoders.files import PRETRAINED, fingerprint
from pcm3.errors import SkeletonFormatError
from pcm3.evaluation.tasks.registry import TASKS, check_result
from pcm3.report.varied import code_of, settings_that_differ
from pcm3.runs.folder import Run, comparable, find_method_name, knows_settings
from pcm3.runs.results import Result, changed_settings, read_result
from pcm3.runs.series import Entry


class Entries(NamedTuple):
    """The results of several runs.

    Attributes:
        entries: The results.
        left_out: Runs and files without a result, each with the reason.
        metrics: Column to the metrics of its runs with results, a record for each epoch, with the
            ``seconds`` of training if they are known.
        given: Column to the one that was given for its runs, see ``read_entries``.
    """

    entries: list[Entry]
    left_out: list[str]
    metrics: dict[str, list[list[dict[str, Any]]]]
    given: dict[str, str]


def read_entries(runs: Sequence[str | Path], columns: Sequence[str] | None = None) -> Entries:
    """Read the results of run folders.

    Runs without results or with damaged settings, and files that are not results, are left out and
    listed. A run without results is not listed if its scores are part of another run's results.

    Args:
        runs: Folders with a ``results`` folder that ``pcm3 evaluate`` wrote.
        columns: The column of each run; by default runs that differ only in the seed share one.
            Runs of a column that were trained with different code of the user get columns of their
            own, named after the code but for the first one.

    Raises:
        ValueError: If there is no run, one is given twice, none has results, or there is not a
            column for each run.
    """
    paths = [Path(run) for run in runs]
    if not paths:
        raise ValueError("expected at least one run folder, got none")
    if columns is not None and len(columns) != len(paths):
        raise ValueError(f"expected a column for each of {len(paths)} runs, got {len(columns)}")
    places = [path.resolve() for path in paths]
    for at, path in enumerate(paths):
        if places[at] in places[:at]:
            raise ValueError(f"expected different runs, got {path} twice")
    read = [_read(path) for path in paths]
    fused = {about.run for run in read for _, result in run.files for about in result.runs[1:]}
    left_out = [reason for run in read for reason in run.left_out]
    left_out += [
        f"{path}: no results; pcm3 evaluate TASK --run {path} --data STORE makes them"
        for path, place, run in zip(paths, places, read, strict=True)
        if not run.files and not run.left_out and place.name not in fused
    ]
    if not any(run.files for run in read):
        raise ValueError(f"expected a run folder with results, got none: {'; '.join(left_out)}")
    names = [place.name for place in places]
    names = [
        name if names.count(name) == 1 else str(path)
        for name, path in zip(names, paths, strict=True)
    ]
    configs = [run.config for run in read]
    given = columns or _columns(names, configs)
    columns = _split_by_code(given, configs)
    column_of = {place.name: column for place, column in zip(places, columns, strict=True)}
    varied = settings_that_differ(configs)
    entries = _tell_stores_apart(
        [
            _entry(result, run.config, names[at], columns[at], column_of, file, at)._replace(
                varied=varied[at]
            )
            for at, run in enumerate(read)
            for file, result in run.files
        ]
    )
    order = list(TASKS)

    def rank(entry: Entry) -> tuple[Any, ...]:
        result = entry.result
        key = (entry.store, result.protocol, order.index(result.task), bool(entry.fused))
        return *key, len(entry.settings), entry.how, entry.place

    metrics: dict[str, list[list[dict[str, Any]]]] = {}
    for run, column in zip(read, columns, strict=True):
        if run.files:
            metrics.setdefault(column, []).append(run.metrics)
    given_for = dict(zip(columns, given, strict=True))
    return Entries(sorted(entries, key=rank), left_out, metrics, given_for)


def column_titles(entries: Sequence[Entry]) -> dict[str, str]:
    """Map each column to its title, which gives the number of seeds, in the order of the runs."""
    runs: dict[str, set[str]] = {}
    for entry in sorted(entries, key=lambda entry: entry.place):
        runs.setdefault(entry.column, set()).add(entry.run)
    return {
        column: column if len(members) == 1 else f"{column} ({len(members)} seeds)"
        for column, members in runs.items()
    }


class _Run(NamedTuple):
    """The files of a run: its settings, empty if it has none, its results and its metrics."""

    config: dict[str, Any]
    files: list[tuple[Path, Result]]
    left_out: list[str]
    metrics: list[dict[str, Any]]


def _read(path: Path) -> _Run:
    run = Run(path)
    if not path.is_dir():
        return _Run({}, [], [f"{path}: {_no_folder(path)}"], [])
    try:
        config = run.settings() if run.config.exists() else {}
    except SkeletonFormatError as damage:
        return _Run({}, [], [str(damage)], [])
    encoder = fingerprint(path) if run.encoder.is_file() else None
    files, left_out = [], []
    for file in sorted(run.results.glob("*.json")):
        try:
            result = read_result(file, check_result)
        except SkeletonFormatError as damage:
            left_out.append(str(damage))
            continue
        if _is_of_another(result, encoder):
            left_out.append(f"{file}: made with another encoder than {run.encoder}; evaluate again")
        else:
            files.append((file, result))
    try:
        metrics = _timed(run.read_metrics(), config.get("train", {}))
    except SkeletonFormatError as damage:
        metrics = []
        left_out.append(str(damage))
    return _Run(config, files, left_out, metrics)


def _timed(
    metrics: Sequence[Mapping[str, float]], train: Mapping[str, Any]
) -> list[dict[str, float]]:
    """Add the ``seconds`` of training to the metrics of each epoch, if its speed is known."""
    size = train.get("batch_size", 0) * train.get("devices", 1) * train.get("nodes", 1)
    timed, before = [], 0.0
    for record in metrics:
        speed = record.get("samples_per_second", 0.0)
        known = size > 0 and speed > 0
        steps, before = record["step"] - before, record["step"]
        timed.append({**record, **({"seconds": steps * size / speed} if known else {})})
    return timed


def _no_folder(path: Path) -> str:
    if path.is_file() or str(path) == PRETRAINED:
        return (
            f"expected a folder with results; pcm3 evaluate TASK --run {path} --data STORE --out "
            "FOLDER makes one for an encoder"
        )
    return "no such folder"


def _is_of_another(result: Result, encoder: str | None) -> bool:
    """Return whether a result was made with other weights than the run's last ones."""
    about = result.runs[0]
    if None in (encoder, about.encoder) or about.epoch is not None:
        return False  # nothing to compare, or of an encoder that was kept during training
    return about.encoder != encoder


def _entry(
    result: Result,
    config: dict[str, Any],
    run: str,
    column: str,
    column_of: Mapping[str, str],
    file: Path,
    place: int,
) -> Entry:
    seed = config.get("train", {}).get("seed")
    fused = (
        column_of.get(other.run, other.run if column == run else _without_seed(other.run, seed))
        for other in result.runs[1:]
    )
    return Entry(
        result=result,
        run=run,
        column=column,
        store=result.store,
        settings=_shown(result),
        fused=tuple(fused),
        method=find_method_name(config),
        epochs=config.get("train", {}).get("epochs"),
        seed=seed,
        file=f"{run}/results/{file.name}",
        place=place,
    )


def _shown(result: Result) -> dict[str, Any]:
    """Return the settings that tell a result from others of its task, store, protocol and run."""
    task = TASKS[result.task]
    given = result.settings | {"epoch": result.runs[0].epoch}
    always = {name: given.get(name) for name in ("epoch", *task.shown)}
    settings: dict[str, Any] = {name: value for name, value in always.items() if value is not None}
    settings |= changed_settings(result.settings, task.defaults)
    if len(set(result.weights)) > 1:
        settings["weights"] = result.weights
    if result.allow_normalization:
        settings["allow_normalization"] = True
    if result.left_out and result.left_out.get("frames"):
        settings["max_frames"] = result.max_frames
    return settings


def _without_seed(name: str, seed: Any) -> str:
    """Guess the name that runs of all seeds share from that of a run without known settings."""
    head = name.removesuffix(str(seed))
    if head == name or head[-1:].isdigit():
        return name
    return head.rstrip("-_. ").removesuffix("seed").rstrip("-_. ") or name


def _tell_stores_apart(entries: Sequence[Entry]) -> list[Entry]:
    """Add to the name of a store what differs between the stores that have it.

    That is the size or, if sizes are equal, the fingerprint of the content.
    """
    for describe in (_size, _content):
        found: dict[str, set[str]] = {}
        for entry in entries:
            found.setdefault(entry.store, set()).add(describe(entry.result))
        entries = [
            entry._replace(store=f"{entry.store} ({describe(entry.result)})")
            if len(found[entry.store]) > 1
            else entry
            for entry in entries
        ]
    return list(entries)


def _content(result: Result) -> str:
    return f"content {(result.store_fingerprint or 'unknown')[:8]}"


def _size(result: Result) -> str:
    counts = [f"{count} {name}" for name, count in result.data.items()]
    return ", ".join([*counts, f"{len(result.class_names)} classes"])


def _columns(names: Sequence[str], configs: Sequence[dict[str, Any]]) -> list[str]:
    """Return the column of each run: a name shared by runs that differ only in the seed."""
    groups: dict[tuple[str, int], list[int]] = {}
    seeds: dict[str, list[Any]] = {}
    for at, config in enumerate(configs):
        key, seed = _key(config) or names[at], config.get("train", {}).get("seed")
        earlier = seeds.setdefault(key, [])
        # a run with the seed of an earlier one, such as a copy, is not another draw
        groups.setdefault((key, earlier.count(seed)), []).append(at)
        earlier.append(seed)
    labels = [_label([names[at] for at in places]) for places in groups.values()]
    columns = [""] * len(names)
    for label, places in zip(labels, groups.values(), strict=True):
        whole = ", ".join(names[at] for at in places)
        for at in places:
            columns[at] = label if labels.count(label) == 1 else whole
    return columns


def _split_by_code(columns: Sequence[str], configs: Sequence[dict[str, Any]]) -> list[str]:
    """Give runs of a column that were trained with other code than its first run another column."""
    first: dict[str, dict[str, str]] = {}
    split = []
    for column, config in zip(columns, configs, strict=True):
        code = code_of(config)
        other = config and code != first.setdefault(column, code)
        words = ", ".join(f"{name} {digests}" for name, digests in code.items())
        split.append(f"{column} ({words})" if other else column)
    return split


def _key(config: dict[str, Any]) -> str | None:
    """Return the settings, without the seed, that determine the results; None if some are unknown.

    Parts of a method that was built in Python may be unknown.
    """
    if not knows_settings(config) or None in config.get("parts", {}).values():
        return None
    kept, train = comparable(config), config["train"]
    kept["train"] |= {"devices": train.get("devices", 1) * train.get("nodes", 1), "seed": None}
    kept["start"] = config.get("start", "").rstrip("0123456789")  # each seed has its own
    kept["code"] = code_of(config)
    return json.dumps(kept, sort_keys=True)


def _label(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    letters = zip(*names, strict=False)
    same = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, letters))
    if any(name[same : same + 1].isdigit() for name in names):
        same = len(names[0][:same].rstrip("0123456789"))  # numbers stay whole
    common = names[0][:same].rstrip("-_. ").removesuffix("seed").rstrip("-_. ")
    return common or ", ".join(names)
