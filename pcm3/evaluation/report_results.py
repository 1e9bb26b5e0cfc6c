"""What is on file about runs: the results of their evaluations, and which belong together."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import takewhile
from pathlib import Path
from typing import Any, NamedTuple

from pcm3.evaluation.tasks import TASKS


class Result(NamedTuple):
    """What one evaluation found.

    Attributes:
        run: Name of the run.
        column: Name of the runs that differ from it in nothing but the seed, itself included.
        task: One of ``TASKS``.
        store: Name of the store, with its size where there are several of the name.
        protocol: Training and test part.
        settings: Those that are not the task's defaults, the solver in any case, and of an encoder
            that was kept on the way its epoch.
        fused: The columns, or else the names, of the runs whose scores were added to its own.
        metrics: The figures.
        details: What pictures need.
        notes: What the figures should be read with.
        class_names: Of the store.
        seen: How many of the test sequences pretraining has seen, without labels, the most of
            several runs; None where that is not known.
        train_sequences: Of the training part; None where that is not known.
        test_sequences: How many there are.
        method: Of the run, as are ``epochs`` and ``seed``; None where that is not known.
        file: Where it is from, ``RUN/results/NAME.json``.
        place: Of the run among those given, from 0.
    """

    run: str
    column: str
    task: str
    store: str
    protocol: str
    settings: dict[str, Any]
    fused: tuple[str, ...]
    metrics: dict[str, Any]
    details: dict[str, Any]
    notes: list[str]
    class_names: list[str]
    seen: int | None
    train_sequences: int | None
    test_sequences: int
    method: str | None
    epochs: int | None
    seed: int | None
    file: str
    place: int

    @property
    def how(self) -> str:
        """Settings and fused runs in words, empty where there is nothing to say."""
        words = [f"{name} {_words(value)}" for name, value in self.settings.items()]
        words += [f"fused with {' + '.join(self.fused)}"] if self.fused else []
        return ", ".join(words)


def read_results(runs: Sequence[str | Path]) -> list[Result]:
    """Read the results of run folders; files that hold something else are named and passed over.

    So is a run whose scores alone are in the results of others.

    Args:
        runs: Folders with a ``results`` folder that ``pcm3 evaluate`` wrote.

    Raises:
        ValueError: If there is no run, one is given twice, or one occurs in no result.
    """
    paths = [Path(run) for run in runs]
    if not paths:
        raise ValueError("expected at least one run folder, got none")
    places = [path.resolve() for path in paths]
    for at, path in enumerate(paths):
        if places[at] in places[:at]:
            raise ValueError(f"expected different runs, got {path} twice")
    names = [place.name for place in places]
    names = [
        name if names.count(name) == 1 else str(path)
        for name, path in zip(names, paths, strict=True)
    ]
    columns = _columns(paths, names)
    column_of = {path.name: column for path, column in zip(places, columns, strict=True)}
    files = [sorted((path / "results").glob("*.json")) for path in paths]
    contents = [
        [(file, content) for file in its if (content := _read(file)) is not None] for its in files
    ]
    added = {about["run"] for its in contents for _, each in its for about in each["runs"][1:]}
    found, sizes = [], []
    for place, (path, name, column) in enumerate(zip(paths, names, columns, strict=True)):
        own, makes = contents[place], f"pcm3 evaluate TASK --run {path} --data STORE makes them"
        if not own and places[place].name not in added:
            raise ValueError(f"{path}: expected a run folder with results, got none; {makes}")
        if not own:
            print(f"pcm3: {path} has no results but in those of others; {makes}", file=sys.stderr)
        found += [_result(content, name, column, column_of, file, place) for file, content in own]
        sizes += [_size(content) for _, content in own]
    sizes_of: dict[str, set[str]] = {}
    for each, size in zip(found, sizes, strict=True):
        sizes_of.setdefault(each.store, set()).add(size)
    found = [  # a store that was made anew is another one
        each if len(sizes_of[each.store]) == 1 else each._replace(store=f"{each.store} ({size})")
        for each, size in zip(found, sizes, strict=True)
    ]
    order = list(TASKS)
    return sorted(
        found,
        key=lambda each: (
            *(each.store, each.protocol, order.index(each.task), bool(each.fused)),
            *(len(each.settings), each.how, each.place),
        ),
    )


def column_titles(results: Sequence[Result]) -> dict[str, str]:
    """Column to title, in the order of the runs: with the number of seeds of several."""
    runs: dict[str, set[str]] = {}
    for each in sorted(results, key=lambda result: result.place):
        runs.setdefault(each.column, set()).add(each.run)
    return {
        column: column if len(those) == 1 else f"{column} ({len(those)} seeds)"
        for column, those in runs.items()
    }


def _read(file: Path) -> dict[str, Any] | None:
    """A result, or None of a file that holds something else."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        task = content["command"].removeprefix("evaluate ")
        good = task in TASKS and all(
            isinstance(content[name], kind)
            for name, kind in (
                *(("store", str), ("protocol", str), ("metrics", dict), ("runs", list)),
            )
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        good = False
    if not good:
        print(f"pcm3: {file} passed over: no result of pcm3 evaluate", file=sys.stderr)
        return None
    return dict(content)


def _result(
    content: dict[str, Any],
    run: str,
    column: str,
    column_of: Mapping[str, str],
    file: Path,
    place: int,
) -> Result:
    config = _read_config(file.parent.parent)
    task = content["command"].removeprefix("evaluate ")
    defaults = json.loads(json.dumps(asdict(TASKS[task].settings())))
    others = [about["run"] for about in content["runs"][1:]]
    seed = config.get("train", {}).get("seed")
    fused = tuple(
        column_of.get(other, other if column == run else _without_seed(other, seed))
        for other in others
    )
    given = content.get("settings", {})
    epoch = content["runs"][0].get("epoch") if content["runs"] else None
    always = {"epoch": epoch, "solver": given.get("solver")}
    settings = {name: value for name, value in always.items() if value is not None}
    settings |= _changed(given, defaults)
    weights = content.get("weights", [])
    if len(set(weights)) > 1:
        settings["weights"] = weights
    seen = [about.get("test_sequences_seen") for about in content["runs"]]
    known = [count for count in seen if count is not None]
    return Result(
        run=run,
        column=column,
        task=task,
        store=content["store"],
        protocol=content["protocol"],
        settings=settings,
        fused=fused,
        metrics=content["metrics"],
        details=content.get("details", {}),
        notes=[str(note) for note in content.get("notes", ())],
        class_names=[str(name) for name in content.get("class_names", ())],
        seen=max(known, default=None),
        train_sequences=content.get("train_sequences"),
        test_sequences=content.get("test_sequences", 0),
        method=config.get("method"),
        epochs=config.get("train", {}).get("epochs"),
        seed=seed,
        file=f"{run}/results/{file.name}",
        place=place,
    )


def _without_seed(name: str, seed: Any) -> str:
    """What the runs of all seeds share, of a run that is not here to be asked for its own."""
    head = name.removesuffix(str(seed))
    if head == name or head[-1:].isdigit():
        return name
    return head.rstrip("-_. ").removesuffix("seed").rstrip("-_. ") or name


def _size(content: Mapping[str, Any]) -> str:
    data, classes = content.get("data", {}), len(content.get("class_names", ()))
    counts = [f"{data[name]} {name}" for name in ("sequences", "frames") if name in data]
    return ", ".join([*counts, f"{classes} classes"])


def _columns(paths: Sequence[Path], names: Sequence[str]) -> list[str]:
    """Of every run the name that it shares with those that differ in the seed alone."""
    groups: dict[tuple[str, int], list[int]] = {}
    seeds: dict[str, list[Any]] = {}
    for at, path in enumerate(paths):
        config = _read_config(path)
        if config:
            seed = config.get("train", {}).pop("seed", None)
            if config.get("start"):  # each seed goes on from a run of its own
                config["start"] = config["start"].rstrip("0123456789")
            key = json.dumps(config, sort_keys=True)
        else:
            key, seed = str(path.resolve()), None
        earlier = seeds.setdefault(key, [])
        # a run with another's seed, a copy say, is no other draw
        groups.setdefault((key, earlier.count(seed)), []).append(at)
        earlier.append(seed)
    labels = [_label([names[at] for at in those]) for those in groups.values()]
    columns = [""] * len(paths)
    for label, those in zip(labels, groups.values(), strict=True):
        whole = ", ".join(names[at] for at in those)
        for at in those:
            columns[at] = label if labels.count(label) == 1 else whole
    return columns


def _read_config(run: Path) -> dict[str, Any]:
    """Settings of a run; empty where they are not on file."""
    file = run / "config.json"
    if not file.is_file():
        return {}
    try:
        config = dict(json.loads(file.read_text(encoding="utf-8")))
    except (ValueError, TypeError):
        raise ValueError(f"{file}: expected the settings of a run as JSON") from None
    config.pop("seen", None)  # follows from the rest
    return config


def _label(names: Sequence[str]) -> str:
    if len(names) == 1:
        return names[0]
    letters = zip(*names, strict=False)
    same = sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, letters))
    if any(name[same : same + 1].isdigit() for name in names):
        same = len(names[0][:same].rstrip("0123456789"))  # no part of a number
    common = names[0][:same].rstrip("-_. ").removesuffix("seed").rstrip("-_. ")
    return common or ", ".join(names)


def _changed(
    settings: Mapping[str, Any], defaults: Mapping[str, Any], prefix: str = ""
) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        default = defaults.get(name)
        if isinstance(value, dict):
            inner = default if isinstance(default, dict) else {}  # of another version
            found |= _changed(value, inner, f"{prefix}{name}.")
        elif value != default:
            found[prefix + name] = value
    return found


def _words(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
