"""The commands ``classifier`` and ``predict``."""

import sys
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pcm3.commands.options import STILLS, check_new, finish, parse
from pcm3.terminal import tell

if TYPE_CHECKING:
    from pcm3.inference.classifier import Classifier
    from pcm3.inference.predictions import Prediction

_TABLES, _ANIMATIONS = (".csv", ".json"), (".gif", ".html", ".mp4")
_WORST = 5  # classes that are said to be confused
SHOWN = 20
"""Rows of a table on the screen."""


def classifier_command(arguments: Sequence[str]) -> None:
    """Fit a classifier on labelled recordings, and keep it in one file."""

    def options(
        run: Path,
        data: Path,
        out: Path,
        protocol: str | None = None,
        label: str | None = None,
        how: Literal["linear", "knn", "finetune"] = "linear",
        epochs: int | None = None,
        seed: int = 0,
        accelerator: str = "auto",
        allow_normalization: bool = False,
        overwrite: bool = False,
        json: bool = False,
    ) -> None:
        """Fit a classifier on the labelled recordings of a store, for pcm3 predict.

        The file has the encoder, the classifier, the names of the classes and all that is needed to
        prepare recordings alike. Its probabilities are calibrated with out-of-fold predictions.

        Args:
            run: The run folder, the file of an encoder, or pretrained, the encoder of pcm3.
            data: The store.
            out: The file to write, usually .safetensors.
            protocol: Fit on the training part of this protocol; by default on that of the protocol
                that the run was trained under on this store, else on all recordings.
            label: The column with the labels, of words or integers; by default the store's classes.
            how: linear is logistic regression on features of the encoder; knn lets all labelled
                recordings vote, the nearest most; finetune trains the encoder too.
            epochs: Passes of finetune over the labelled recordings; by default as published.
            seed: Random seed of the folds, and of finetune.
            accelerator: Device of the encoder: cpu, cuda, mps or auto.
            allow_normalization: Allow a store with another normalization than the encoder's.
            overwrite: Replace an existing file.
            json: Print the result as JSON on the last line.
        """
        from pcm3._torch import allow_tf32, find_device  # noqa: PLC0415
        from pcm3.data.dataset import describe_form  # noqa: PLC0415
        from pcm3.data.store import Store  # noqa: PLC0415
        from pcm3.encoders.files import fingerprint  # noqa: PLC0415
        from pcm3.evaluation.features import dataset_for, load_for  # noqa: PLC0415
        from pcm3.evaluation.tasks.finetune import FinetuneSettings  # noqa: PLC0415
        from pcm3.inference.files import save_classifier  # noqa: PLC0415
        from pcm3.inference.fit import fit_classifier, training_part  # noqa: PLC0415

        if epochs is not None and how != "finetune":
            raise ValueError(f"an option has no effect: epochs are of finetune, got {how}")
        check_new(out, overwrite)
        device = find_device(accelerator)
        allow_tf32(False)
        store = Store(data)
        pretrained, notes = load_for(run, store, allow_normalization)
        notes += describe_form(dataset_for(pretrained, store, []))
        chosen, part = training_part(run, store, protocol)
        pretrained.encoder.to(device)
        classifier = fit_classifier(
            pretrained,
            store,
            part,
            label=label,
            how=how,
            settings=FinetuneSettings(epochs=epochs, seed=seed),
            seed=seed,
            about={
                "command": ["classifier", *arguments],
                "run": run.resolve().name,
                "encoder_fingerprint": fingerprint(run),
                "protocol": chosen,
            },
        )
        store.check_unchanged()
        save_classifier(out, classifier)
        for note in [*notes, *_people(store.columns, label)]:
            tell(f"pcm3: note: {note}", file=sys.stderr)
        metrics = _metrics(classifier)
        lines = _describe(out, classifier, "subjects" in store.columns)
        finish("classifier", metrics, json, *lines, out=str(out))

    parse(
        options,
        "classifier",
        arguments,
        "pcm3 classifier --run run --data store --out classifier.safetensors",
        "pcm3 classifier --run run --data store --label correct --how knn --out good.safetensors",
    )


def _metrics(classifier: "Classifier") -> dict[str, Any]:
    made = classifier.made
    return {
        "classes": list(classifier.class_names),
        "recordings": made["recordings"],
        "unlabelled": made["unlabelled"],
        "protocol": made["protocol"],
        "folds": made["folds"],
        "out_of_fold": made["out_of_fold"],
        "by_class": made["by_class"],
        "temperature": classifier.temperature,
        "threshold": classifier.threshold,
    }


def _describe(out: Path, classifier: "Classifier", has_subjects: bool) -> list[str]:
    made = classifier.made
    figures = made["out_of_fold"]
    unlabelled = f", {made['unlabelled']} without label left out" if made["unlabelled"] else ""
    return [
        *_estimate(made, has_subjects),
        *_confusions(made["by_class"]),
        f"{out}: {classifier.how}, {len(classifier.class_names)} classes, fitted on "
        f"{made['recordings']} recordings of protocol {made['protocol']}{unlabelled}",
        f"out-of-fold predictions ({made['folds']}): accuracy {figures['accuracy']:.1%}, "
        f"calibration error {figures['calibration_error']:.1%}",
        f"on average, their probabilities are {_direction(figures)}",
        f"temperature {classifier.temperature:.3g}; labels with a probability below "
        f"{classifier.threshold:.1%} are unknown",
    ]


def _direction(figures: Mapping[str, float]) -> str:
    """Say whether probabilities are lower or higher than the share of right predictions."""
    excess = figures["mean_probability"] - figures["accuracy"]
    if f"{abs(excess):.1%}" == "0.0%":
        return "neither too low nor too high"
    return f"{100 * abs(excess):.1f} percentage points too {'high' if excess > 0 else 'low'}"


def _estimate(made: Mapping[str, Any], has_subjects: bool) -> list[str]:
    """Say in words how many recordings were labelled right when they were left out."""
    from pcm3.inference.fit import MOST_CALIBRATED  # noqa: PLC0415

    counts, items = made["by_class"], f"{made['folds_of']}s"
    labelled, judged, right = (
        sum(each[key] for each in counts.values()) for key in ("labelled", "judged", "right")
    )
    by = made["folds"].removeprefix("by ")
    group = "person" if by == "subject" else by
    left_out = "they" if by == made["folds_of"] else f"all {items} of their {group}"
    lines = [
        f"{right:,} of {judged:,} labelled {items} were labelled right when {left_out} were left "
        f"out{': an estimate for new people' * (by == 'subject')}"
    ]
    if by != "subject" and has_subjects:
        why = made["not_by_subject"] or "some recordings have none"
        lines.append(
            f"for new people the number may be lower; the column subjects cannot be used: {why}"
        )
    elif by != "subject":
        lines.append(
            "for new people the number may be lower: a column subjects gives an estimate for them"
        )
    if judged == MOST_CALIBRATED < labelled:
        lines.append(f"{judged:,} of the {labelled:,} labelled {items} were drawn to be judged")
    elif judged < labelled:
        some = [name for name, each in counts.items() if each["judged"] < each["labelled"]]
        lines.append(
            f"{labelled - judged:,} of the {labelled:,} labelled {items} were not judged, as all "
            f"of their class were left out with them: {', '.join(some[:3])}"
            f"{', ...' * (len(some) > 3)}"
        )
    return lines


def _confusions(counts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say what classes are taken for, those with the most errors first."""
    wrong = [(each["right"] - each["judged"], name) for name, each in counts.items()]
    worst = [name for errors, name in sorted(wrong, key=lambda pair: pair[0]) if errors]
    lines = []
    for name in worst[:_WORST]:
        each = counts[name]
        others = each["taken_for"]
        most = [other for other, count in others.items() if count == max(others.values())]
        often = "most often taken" if len(most) < len(others) else "taken"
        lines.append(
            f"  {name}: {each['right']:,} of {each['judged']:,} right, {often} for "
            f"{' and '.join(most[:2])}{' and others' * (len(most) > 2)}"
        )
    left = len(worst) - _WORST
    return [*lines, f"  ... and errors in {left} more classes"] if left > 0 else lines


def _people(columns: Collection[str], label: str | None) -> list[str]:
    """Notes on columns that may say who is recorded, if none is called so."""
    from pcm3.data.readers.shared.table import probably_meant  # noqa: PLC0415

    if "subjects" in columns:
        return []
    return [
        f"the column {name} may tell people apart: call it subjects, and prepare again, for an "
        "estimate for new people"
        for name in probably_meant("subjects", columns)
        if name != label
    ]


def predict_command(arguments: Sequence[str]) -> None:
    """Predict the labels of recordings with a kept classifier."""
    from tyro.conf import Positional, arg  # noqa: PLC0415

    def options(
        classifier: Annotated[Path, Positional, arg(metavar="CLASSIFIER")],
        source: Annotated[Path, Positional, arg(metavar="SOURCE")],
        out: Path | None = None,
        index: str | None = None,
        top: int = 1,
        threshold: float | None = None,
        windows: bool = False,
        whole: bool = False,
        rule: Literal["sliding_window", "activity"] = "sliding_window",
        source_fps: float | None = None,
        accelerator: str = "auto",
        overwrite: bool = False,
        json: bool = False,
    ) -> None:
        """Label recordings: each person of each recording, or intervals of long recordings.

        Args:
            classifier: The file that pcm3 classifier wrote.
            source: A store, or files that pcm3 prepare reads without options.
            out: The .csv or .json file to write; or of one recording with its labels over time a
                .png, .pdf or .svg picture, or a .gif, .html or .mp4 animation.
            index: Predict this recording only: its number, from 0, or its name.
            top: Number of classes to list, the likeliest first.
            threshold: Labels with a lower probability are unknown; 0 for none. By default that of
                the classifier.
            windows: Find intervals in all recordings; by default in those of more than twice the
                frames of the longest training recording, and with a classifier of untrimmed ones.
            whole: Give every recording one label, however long it is.
            rule: How the probabilities of frames become intervals: sliding_window follows the
                likeliest class, activity takes every run of frames that are no background.
            source_fps: Frames per second of the recordings, if the files do not give it; by default
                that of the classifier.
            accelerator: Device of the encoder: cpu, cuda, mps or auto.
            overwrite: Replace an existing file.
            json: Print the predictions as JSON on the last line.
        """
        from pcm3._torch import allow_tf32, find_device  # noqa: PLC0415
        from pcm3.data.report import find_sequence  # noqa: PLC0415
        from pcm3.inference.files import load_classifier  # noqa: PLC0415
        from pcm3.inference.predictions import predict, write_csv  # noqa: PLC0415
        from pcm3.inference.recordings import open_recordings  # noqa: PLC0415

        check_new(out, overwrite, (*_TABLES, *STILLS, *_ANIMATIONS))
        if windows and whole:
            raise ValueError("expected --windows or --whole, got both")
        loaded = load_classifier(classifier)
        loaded.pretrained.encoder.to(find_device(accelerator))
        allow_tf32(False)
        with open_recordings(source, loaded, source_fps) as recordings:
            store = recordings.store
            chosen = None if index is None else [find_sequence(store, index)]
            found = predict(
                loaded,
                recordings,
                chosen,
                top=top,
                threshold=threshold,
                windows=windows or (False if whole else None),
                rule=rule,
            )
            fps = store.meta["fps"]
            rows = [each.to_json(fps) for each in found]
            if out is not None and out.suffix == ".csv":
                write_csv(out, found, fps)
            elif out is not None and out.suffix == ".json":
                write_json(out, rows)
            elif out is not None:
                from pcm3.inference.pictures import picture_predictions  # noqa: PLC0415

                picture_predictions(store, found, out)
        for note in recordings.notes:
            tell(f"pcm3: note: {note}", file=sys.stderr)
        counts = Counter(each.label for each in found)
        metrics = {"recordings": len({each.index for each in found}), "labels": dict(counts)}
        lines = _table(found, fps)
        if out is not None:
            lines.append(str(out))
        rest = {"predictions": rows, "notes": recordings.notes, "fps": fps}
        finish("predict", metrics, json, *lines, **rest, out=None if out is None else str(out))

    parse(
        options,
        "predict",
        arguments,
        "pcm3 predict classifier.safetensors recordings --out predictions.csv",
        "pcm3 predict classifier.safetensors long.npy --out long.html",
    )


def write_json(out: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows of a table as JSON, whole or not at all."""
    import json  # noqa: PLC0415

    from pcm3.io.files import replacing  # noqa: PLC0415

    with replacing(out) as temporary:
        temporary.write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")


def _table(predictions: "Sequence[Prediction]", fps: float | None) -> list[str]:
    """Predictions as lines; of many the least sure."""
    from pcm3.inference.tables import who  # noqa: PLC0415

    many = len(predictions) > SHOWN
    if many:
        predictions = sorted(predictions, key=lambda each: each.probability)
    rows: list[tuple[str, ...]] = []
    for each in predictions[:SHOWN]:
        span = f"{each.start} to {each.end}"
        if fps is not None:
            span += f" ({each.start / fps:.1f} to {each.end / fps:.1f} s)"
        label = f"{each.label} {each.probability:.0%}"
        if len(each.ranked) > 1:
            label += f"  ({', '.join(f'{name} {value:.0%}' for name, value in each.ranked)})"
        known = "labelled" if each.labelled else ""
        rows.append((each.recording, f"person {who(each.person)}", span, label, known))
    return ["least sure:"] * many + aligned(rows, len(predictions))


def aligned(rows: Sequence[tuple[str, ...]], count: int) -> list[str]:
    """Rows as lines in columns, and a line on those that are not shown."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    left = count - len(rows)
    return [*lines, f"... and {left} more"] if left else lines
