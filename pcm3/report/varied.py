"""The settings in which the runs of a report differ, in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pcm3.encoders import ENCODERS
from pcm3.io.imports import is_import_path
from pcm3.methods.catalog import get_preset
from pcm3.runs.folder import comparable, find_method_name


def settings_that_differ(configs: Sequence[dict[str, Any]]) -> list[str]:
    """Return the settings of each run that another run has otherwise, seed and epochs aside.

    If runs have different presets, these are named. Values of the preset are then left out, unless
    another run of the same preset has another value.

    Args:
        configs: Contents of ``config.json``; empty where there is none.

    Returns:
        Names and values for each run; empty if nothing differs.
    """
    count = len(configs)
    # those of the presets are compared too: the schedules of all follow from the same shares
    flat = _flat([*configs, *map(_of_preset, configs)])
    runs, bases = flat[:count], flat[count:]
    presets = [config.get("preset") for config in configs]
    values: dict[str, set[str]] = {}
    for settings in runs:
        for name, value in settings.items():
            values.setdefault(name, set()).add(repr(value))
    names = [name for name in values if len(values[name]) > 1]
    texts = []
    for settings, base, preset in zip(runs, bases, presets, strict=True):
        alike = [other for other, its in zip(runs, presets, strict=True) if its == preset]
        shown = [f"preset {preset}"] if preset and len({*presets}) > 1 else []
        for name in names:
            here = [repr(other.get(name)) for other in (settings, *alike)]
            usual = name in base and {*here} == {repr(base[name])}
            if name in settings and not usual:
                shown.append(f"{name} {_in_words(settings[name])}")
        texts.append(", ".join(shown))
    return texts


def code_of(config: dict[str, Any]) -> dict[str, str]:
    """Return the digests of the code of the user that a run was trained with, by title.

    Runs of earlier versions have none.
    """
    paths = (find_method_name(config) or "", str(config.get("model", {}).get("encoder", "")))
    own = [path.partition(":")[0] for path in paths if is_import_path(path)]
    known = {name: " then ".join(digests) for name, digests in config.get("code", {}).items()}
    return {f"code of {name}": known.get(name, "unknown") for name in [*own, *known]}


def _in_words(value: Any) -> str:
    return " ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)


def _of_preset(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what ``config.json`` of the unchanged preset would hold; empty if it is not known."""
    try:
        chosen = get_preset(config["preset"])
    except (KeyError, ValueError):  # of a later version, or of a method that is not imported
        return {}
    epochs = config.get("train", {}).get("epochs", chosen.train.epochs)
    changed = replace(chosen, train=chosen.train.scaled_to(epochs))
    settings: dict[str, Any] = json.loads(changed.to_json())
    return settings


def _flat(configs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the settings and the data of each run by their names, without seed and epochs."""
    known = [comparable(config) if config else {} for config in configs]
    trained = _without_derived([kept.get("train", {}) for kept in known])
    flat = [
        {
            **code_of(config),
            **_known_parts(kept),
            **_of_run(kept),
            **_of_model(kept.get("model", {})),
            **train,
        }
        for config, kept, train in zip(configs, known, trained, strict=True)
    ]
    for settings in flat:
        for name in ("seed", "epochs"):
            settings.pop(name, None)
    return flat


def _of_run(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run was trained on, from and under."""
    data = config.get("data", {})
    of_run = {
        "training protocol": config.get("protocol"),
        "max_frames": config.get("max_frames") or "none",
        "any_layout": config.get("any_layout"),
        "from": config.get("start", "").rstrip("0123456789-") or "none",  # each seed has its own
        "training data": f"{data['sequences']} sequences ({data.get('checksum')})"
        if data
        else None,
        "normalization": data.get("normalization"),
    }
    return {name: value for name, value in of_run.items() if value is not None} if config else {}


def _known_parts(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: words for name, words in config.get("parts", {}).items() if words is not None}


def _without_derived(trained: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Leave out the epochs of drop and warm-up if they only scale with the number of epochs."""
    kept = [dict(train) for train in trained]
    for name in ("drop_epoch", "warmup_epochs"):
        used = [train for train in kept if train.get("epochs") and name in train]
        if name == "drop_epoch":
            used = [train for train in used if train.get("schedule") != "cosine"]
        longest = max(used, key=lambda train: int(train["epochs"]), default={})
        share = longest.get(name, 0) / longest.get("epochs", 1)
        if all(abs(train[name] - share * train["epochs"]) <= _ROUNDING for train in used):
            used = []
        for train in kept:
            if not any(train is other for other in used):
                train.pop(name, None)
    return kept


_ROUNDING = 0.5  # epochs, as schedules are scaled to whole ones


_ENCODERS = {kind.__name__: name for name, kind in ENCODERS.items()}


def _of_model(model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a model; one built in Python names the classes in the same way."""
    kept = {name: value for name, value in model.items() if name not in ("method", "name")}
    if kept.get("encoder") in _ENCODERS:
        kept["encoder"] = _ENCODERS[kept["encoder"]]
    return kept
