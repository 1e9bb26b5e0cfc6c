"""Model cards: what a file of an encoder or a classifier says about itself, as Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from torch import nn

from pcm3.encoders.files import Pretrained
from pcm3.inference.classifier import Classifier
from pcm3.runs.folder import find_run

_FITTED = {
    "linear": "logistic regression on features of the frozen encoder",
    "knn": "all labelled recordings vote, the nearest most; the encoder is frozen",
    "finetune": "the encoder was trained too",
}
_SPECIAL = re.compile(r"[\\`*\[\]<|~]|\b_|_\b")
_USE = """\
## Use

```bash
pip install 'pcm3[train,hub]'
hf download REPOSITORY --local-dir model  # this repository, as user/name
{command}
```

Recordings need the same joints, in the same order; `pcm3` checks them.
"""


def encoder_card(pretrained: Pretrained, path: str | Path) -> str:
    """Describe an encoder, and the run that it comes from, as Markdown.

    Args:
        pretrained: The encoder.
        path: Its file or its run folder, whose ``config.json`` tells how it was trained.

    Raises:
        SkeletonFormatError: If ``config.json`` is damaged.
    """
    rows = [*_input_rows(pretrained), *_run_rows(path)]
    command = "pcm3 features --run model --data STORE --out features.npz"
    if Path(path).is_file():
        command = command.replace("model", "model/encoder.safetensors")
    return "\n".join(
        (
            f"# An encoder of skeleton recordings, {_text(pretrained.skeleton.name)}",
            "",
            "It turns recordings of moving people, given as joint coordinates, into features.",
            "",
            *_table(rows),
            "",
            _USE.format(command=command),
        )
    )


def classifier_card(classifier: Classifier) -> str:
    """Describe a classifier as Markdown: classes, input, how it was fitted, how sure it is."""
    made = classifier.made
    names = ", ".join(map(_text, classifier.class_names))
    data = {key: made.get(key) for key in ("store", "source", "licence", "protocol")}
    rows = [
        ("Classes", f"{len(classifier.class_names)}: {names}"),
        ("Fitted by", f"{classifier.how}: {_FITTED[classifier.how]}"),
        ("Labels", classifier.label and f"column {classifier.label}"),
        *_data_rows(data, "Labelled recordings"),
        ("Number of labelled recordings", made.get("recordings")),
        ("Background", "the last class: frames without an action" * classifier.background),
        ("Window for long recordings", f"{classifier.window} frames"),
        ("Temperature", f"{classifier.temperature:.3g}"),
        ("Threshold", f"labels with a probability below {classifier.threshold:.1%} are unknown"),
        *_figure_rows(made),
        *_input_rows(classifier.pretrained),
        ("Frame rate", classifier.fps and f"{classifier.fps:g} frames per second"),
        ("Unit", classifier.unit),
        ("Encoder from run", made.get("run")),
        ("Seed", made.get("seed")),
        ("Version of pcm3", made.get("pcm3")),
    ]
    command = "pcm3 predict model/classifier.safetensors RECORDINGS --out predictions.csv"
    return "\n".join(
        (
            f"# A classifier of skeleton recordings, {_text(classifier.pretrained.skeleton.name)}",
            "",
            "It labels recordings of moving people, given as joint coordinates, with calibrated "
            "probabilities.",
            "",
            *_table(rows),
            "",
            _USE.format(command=command),
        )
    )


def _input_rows(pretrained: Pretrained) -> list[tuple[str, Any]]:
    encoder, skeleton = pretrained.encoder, pretrained.skeleton
    return [
        ("Encoder", f"{type(encoder).__name__}, {_count(encoder):,} parameters"),
        ("Joints", f"{len(skeleton)}: {', '.join(map(_text, skeleton.joints))}"),
        ("Coordinates", encoder.in_channels),
        ("Persons", encoder.persons),
        ("Stream", pretrained.stream),
        ("Frames", f"recordings are resized to {pretrained.frames}"),
        ("Normalization", pretrained.normalization),
    ]


def _run_rows(path: str | Path) -> list[tuple[str, Any]]:
    """How an encoder was trained, from the settings of its run."""
    run, epoch = find_run(path)
    if run is None or not run.config.is_file():
        return []
    settings = run.settings()
    model, train = settings.get("model", {}), settings.get("train", {})
    epochs = f"{epoch} of {train.get('epochs')}" if epoch is not None else train.get("epochs")
    rows = [
        ("Method", settings.get("method", model.get("method"))),
        ("Epochs", epochs),
        ("Batch size", train.get("batch_size")),
        ("Seed", train.get("seed")),
        ("Started from run", settings.get("start")),
    ]
    seen = settings.get("seen") or []
    for number, entry in enumerate(seen, 1):
        rows += _data_rows(entry, f"Training data {number}" if len(seen) > 1 else "Training data")
    trained = settings.get("data", {})
    rows.append(("Sequences in training", trained.get("sequences")))
    return rows


def _data_rows(entry: Mapping[str, Any], title: str) -> list[tuple[str, Any]]:
    """What is known of a store: name, protocol, source and licence."""
    protocol = entry.get("protocol")
    part = {None: "", "all": ", all of it"}.get(protocol, f", training part of {protocol}")
    name = entry.get("store")
    return [
        (title, name and f"{name}{part}"),
        (f"{title}: source", entry.get("source")),
        (f"{title}: licence", entry.get("licence")),
    ]


def _figure_rows(made: Mapping[str, Any]) -> list[tuple[str, Any]]:
    figures, folds = made.get("out_of_fold"), made.get("folds")
    if not isinstance(figures, Mapping):
        return []
    titles = {"accuracy": "Accuracy", "calibration_error": "Calibration error"}
    return [
        (title, f"{figures[key]:.1%}, out of fold ({folds})")
        for key, title in titles.items()
        if isinstance(figures.get(key), float)
    ]


def _table(rows: Iterable[tuple[str, Any]]) -> list[str]:
    """Rows as a Markdown table; those without a value are left out."""
    kept = [(title, value) for title, value in rows if value not in (None, "")]
    lines = [f"| {title} | {_escaped(str(value))} |" for title, value in kept]
    return ["| | |", "| --- | --- |", *lines]


def _text(name: str) -> str:
    """A name from a file on one line."""
    return " ".join(name.split())


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line."""
    return _SPECIAL.sub(lambda found: f"\\{found[0]}", _text(text))


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
