"""The file of a sweep: its variations, seeds and evaluations, read from TOML and checked."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from pcm3.checks import check_seed
from pcm3.data.splits import join_protocols
from pcm3.errors import SkeletonFormatError
from pcm3.evaluation.tasks.registry import TASKS
from pcm3.io.files import regular
from pcm3.io.json import check_kind
from pcm3.methods.catalog import RunSettings, find_method, get_preset, post_distillation
from pcm3.sweep.settings import (
    Table,
    change_settings,
    check_names,
    flatten,
    in_words,
    merge,
    nest,
)

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_SETTINGS: dict[str, Any] = {
    **{"preset": str, "method": str, "from": str, "phase": str},
    **{"data": str | list[str], "protocol": str | list[str]},
    **{"max_frames": int | str, "any_layout": bool, "model": dict[str, Any]},
    **{"train": dict[str, Any]},
}
"""Settings of a variation, and their types."""
_EVALUATION: dict[str, Any] = {
    **{"task": str, "data": str, "protocol": str, "settings": dict[str, Any]},
    **{"allow_normalization": bool, "max_frames": int},
}
_FILE: dict[str, Any] = {
    **{"baseline": str, "seeds": list[int], "common": dict[str, Any], "axes": dict[str, Any]},
    **{"variations": list[dict[str, Any]], "evaluations": list[dict[str, Any]]},
}
_NOT_HERE = {
    "seed": "the seeds of a sweep are in seeds",
    "devices": "each run of a sweep trains on one device",
    "nodes": "each run of a sweep trains on one device",
}


class Evaluation(NamedTuple):
    """A task on which every run is evaluated.

    Attributes:
        task: One of ``TASKS``.
        data: The store; None for the first one that the run was trained on.
        protocol: Training and test part; None for the default of ``pcm3 evaluate``.
        settings: Settings of the task.
        allow_normalization: Accept a store of another normalization than that of the training.
        max_frames: Frames after which sequences are cut off; None for the task's default.
    """

    task: str
    data: Path | None
    protocol: str | None
    settings: Any
    allow_normalization: bool
    max_frames: int | None


class Variation(NamedTuple):
    """A row of a sweep.

    Attributes:
        name: Its name.
        config: The settings of its runs, but for the seed.
        data: The stores that it is trained on.
        start: Name of the variation whose run gives the initial weights; None for none.
        given: The settings as the file has them, those of ``common`` included, by dotted name.
    """

    name: str
    config: RunSettings
    data: tuple[Path, ...]
    start: str | None
    given: Mapping[str, Any]


class Cell(NamedTuple):
    """A variation with a seed: one run.

    Attributes:
        number: Its place among all cells, from 0.
        variation: The variation.
        seed: The seed of training.
        start: Number of the cell whose run gives the initial weights; None for none.
    """

    number: int
    variation: Variation
    seed: int
    start: int | None

    @property
    def name(self) -> str:
        """Name of the run folder."""
        return f"{self.variation.name}-seed{self.seed}"

    @property
    def config(self) -> RunSettings:
        """Settings of the run."""
        config = self.variation.config
        return replace(config, train=replace(config.train, seed=self.seed))


@dataclass(frozen=True)
class Sweep:
    """Variations that are trained with several seeds, evaluated and compared.

    Attributes:
        file: The file that it was read from.
        baseline: Name of the variation that the others are compared with; None for none.
        seeds: The seeds.
        variations: The variations by name.
        evaluations: What every run is evaluated on.
        varied: Dotted names of the settings in which variations are given differently.
    """

    file: Path
    baseline: str | None
    seeds: tuple[int, ...]
    variations: Mapping[str, Variation]
    evaluations: tuple[Evaluation, ...]
    varied: tuple[str, ...]

    @property
    def cells(self) -> list[Cell]:
        """All runs: those of the first seed, then those of the next one."""
        numbers = {name: number for number, name in enumerate(self.variations)}
        rounds = enumerate(self.seeds)
        return [
            Cell(
                at * len(numbers) + numbers[name],
                variation,
                seed,
                None if variation.start is None else at * len(numbers) + numbers[variation.start],
            )
            for at, seed in rounds
            for name, variation in self.variations.items()
        ]


def read_sweep(file: str | Path) -> Sweep:
    """Read the file of a sweep and check all that can be checked without its stores.

    Args:
        file: A TOML file, see the page on sweeps.

    Raises:
        SkeletonFormatError: If the file is not TOML, or a key, a preset, a method, a setting, a
            task or a name is unknown or of another type; the message says where.
        OSError: If the file cannot be read.
    """
    file = Path(file)
    try:
        table = tomllib.loads(regular(file).read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SkeletonFormatError(f"{file}: expected TOML: {error}") from None
    with _at(str(file)):
        return _read(file, table)


@contextmanager
def _at(where: str) -> Iterator[None]:
    """Name the place in the message of an error."""
    try:
        yield
    except ValueError as error:
        raise SkeletonFormatError(f"{where}: {error}") from None


def _read(file: Path, table: Table) -> Sweep:
    _check_table(table, _FILE)
    seeds = tuple(table.get("seeds", [0]))
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"expected one or more different seeds, got {[*seeds]}")
    for seed in seeds:
        check_seed(seed)
    common = table.get("common", {})
    with _at("common"):
        _check_table(common, _SETTINGS)
    variations: dict[str, Variation] = {}
    rows = list(_rows(table))
    for where, name, own in rows:
        with _at(f"{where} ({name})"):
            if name in variations:
                raise ValueError("expected different names of variations")
            variations[name] = _variation(name, common, own, variations)
            for part in _PARTS:
                getattr(variations[name].config, part).check_effect(own.get(part, {}))
    with _at("common"):
        _check_common(common, [variation.config for variation in variations.values()])
    with _at("evaluations"):
        evaluations = tuple(_evaluations(table.get("evaluations", [])))
    baseline = table.get("baseline")
    if baseline is not None:
        _check_known("baseline", baseline, variations)
    keys = dict.fromkeys(key for _, _, own in rows for key in flatten(own))
    return Sweep(file, baseline, seeds, variations, evaluations, tuple(keys))


_PARTS = ("model", "train")


def _check_common(common: Table, configs: Sequence[RunSettings]) -> None:
    """Require that each common setting has an effect in at least one variation."""
    for part in _PARTS:
        names = [*common.get(part, {})]
        for config in configs:
            unused = getattr(config, part).without_effect()
            names = [name for name in names if name in unused]
        getattr(configs[-1], part).check_effect(names)


def _check_table(table: Table, kinds: Mapping[str, Any]) -> None:
    check_names(table, kinds)
    for name, value in table.items():
        check_kind(value, kinds[name], name)


def _check_known(what: str, name: str, known: Iterable[str]) -> None:
    if name not in (names := [*known]):
        near = get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"expected {what} among {', '.join(names)}, got {name!r:.200}{hint}")


def _rows(table: Table) -> Iterator[tuple[str, str, Table]]:
    """Yield where each variation is, its name and its own settings: each with each grid point."""
    named = [("axes", "", Table())]
    if "variations" in table:
        named = []
        for at, own in enumerate(table["variations"]):
            with _at(f"variations[{at}]"):
                check_kind(own.get("name"), str, "name")
                _check_table(own, {"name": str, **_SETTINGS})
            rest = {key: value for key, value in own.items() if key != "name"}
            named.append((f"variations[{at}]", own["name"], rest))
    elif "axes" not in table:
        raise ValueError("expected axes or variations, got neither")
    with _at("axes"):
        axes = _axes(table.get("axes", {}))
    for where, name, own in named:
        for point in itertools.product(*axes.values()):
            given = dict(zip(axes, point, strict=True))
            words = [_word(key, value) for key, value in given.items()]
            full = "_".join([name, *words] if name else words)
            if not re.fullmatch(r"\w[\w.,+=-]*", full):
                raise ValueError(
                    f"{where}: expected a name of letters, digits and ., + = - _, got {full!r:.200}"
                )
            settings = merge(own, nest(given))
            if name and "from" in own:  # the run at the same point of the grid
                settings["from"] = own["from"] + full.removeprefix(name)
            yield where, full, settings


def _axes(table: Table) -> dict[str, list[Any]]:
    axes = flatten(table)
    for name, values in axes.items():
        check_kind(values, list[Any], name)
        if not values or any(value in values[:at] for at, value in enumerate(values)):
            raise ValueError(f"expected one or more different values of {name}, got {values}")
        with _at(name):
            for value in values:
                _check_table(nest({name: value}), _SETTINGS)
    return axes


def _word(key: str, value: Any) -> str:
    """Name a value of an axis, in letters that are good for file names."""
    text = f"{key.rpartition('.')[2]}-{in_words(value).replace(', ', '-')}"
    return re.sub(r"[^\w.+=-]+", "-", text)


def _variation(name: str, common: Table, own: Table, earlier: Mapping[str, Variation]) -> Variation:
    table, start = merge(common, own), own.get("from")
    if "from" in common or "phase" in common:
        raise ValueError("expected from and phase in variations, got them in common")
    if start is not None:
        _check_known("from: a variation above", start, earlier)
    phase = own.get("phase", "pretrain")
    _check_known("phase", phase, ("pretrain", "post-distill"))
    if phase == "post-distill":
        if start is None:
            raise ValueError("expected from with phase post-distill, got none")
        if fixed := sorted({"preset", "method", "data", "protocol"} & own.keys()):
            raise ValueError(
                f"{', '.join(fixed)} has no effect: post-distillation has those of {start}"
            )
        first = earlier[start]
        config = _changed_config(post_distillation(first.config), own)
        return Variation(name, config, first.data, start, {**first.given, **flatten(own)})
    base = get_preset(table.get("preset", "small"))
    if "method" in table:
        kind = find_method(table["method"])
        base = replace(base, model=kind.Settings.sharing(base.model), preset=None)
    data = table.get("data", [])
    paths = tuple(map(Path, [data] if isinstance(data, str) else data))
    if not paths:
        raise ValueError("expected data, one store or several, got none")
    return Variation(name, _changed_config(base, table), paths, start, flatten(table))


def _changed_config(base: RunSettings, table: Table) -> RunSettings:
    """Change settings as ``pcm3 pretrain`` does: epochs alone scale the schedule."""
    model, train = table.get("model", {}), table.get("train", {})
    for name in train.keys() & _NOT_HERE.keys():
        raise ValueError(f"train.{name} is not for sweeps: {_NOT_HERE[name]}")
    schedule = base.train
    if isinstance(train.get("epochs"), int) and not {"drop_epoch", "warmup_epochs"} & train.keys():
        schedule = schedule.scaled_to(train["epochs"])
    protocol = table.get("protocol", base.protocol)
    rest: Table = {name: table[name] for name in ("max_frames", "any_layout") if name in table}
    top = replace(
        base,
        model=change_settings(base.model, model, "model"),
        train=change_settings(schedule, train, "train"),
        protocol=protocol if isinstance(protocol, str) else join_protocols(protocol),
    )
    return change_settings(top, rest)


def _evaluations(tables: Sequence[Table]) -> Iterator[Evaluation]:
    for at, table in enumerate(tables):
        with _at(f"[{at}]"):
            check_kind(table.get("task"), str, "task")
            _check_known("task", table["task"], TASKS)
            task = TASKS[table["task"]]
            own = {field.name for field in fields(task.settings)}
            for name in table.keys() & own - _EVALUATION.keys():
                raise ValueError(f"unknown {name}; did you mean settings.{name}?")
            _check_table(table, _EVALUATION)
            settings = change_settings(task.settings(), table.get("settings", {}), "settings")
            limit = table.get("max_frames")
            yield Evaluation(
                table["task"],
                Path(table["data"]) if "data" in table else None,
                table.get("protocol"),
                settings,
                table.get("allow_normalization", False),
                limit,
            )


def shown_settings(sweep: Sweep) -> dict[str, dict[str, str]]:
    """Return the settings in which variations differ, in words, by the name of the variation.

    A setting that a variation does not give is that of its preset, where the preset has it.
    """
    values = {
        key: {name: in_words(_value(row, key)) for name, row in sweep.variations.items()}
        for key in sweep.varied
    }
    differing = {key: column for key, column in values.items() if len({*column.values()}) > 1}
    short = [key.rpartition(".")[2] for key in differing]
    titles = {
        key: word if short.count(word) == 1 else key
        for key, word in zip(differing, short, strict=True)
    }
    return {
        name: {titles[key]: column[name] for key, column in differing.items()}
        for name in sweep.variations
    }


def _value(variation: Variation, key: str) -> Any:
    if key in variation.given:
        return variation.given[key]
    if key == "phase":
        return "pretrain"
    value: Any = variation.config
    for name in key.split("."):
        value = getattr(value, name, "")
    return value
