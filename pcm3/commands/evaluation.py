"""The commands ``evaluate``, ``features``, ``export`` and ``report``."""

import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from pcm3.commands.options import check_new, finish, meant, parse
from pcm3.errors import SkeletonFormatError
from pcm3.terminal import tell

if TYPE_CHECKING:
    from pcm3.evaluation.tasks.base import Task
    from pcm3.inference.classifier import Classifier

_FRAMES = {
    "windows": "all frames are used, in windows of 300 whose features are averaged",
    "first": "the first 300 frames are used, as in the published code",
    "all": "all frames are used, which this task requires",
}

_ALSO_PRINTED = (
    *("protocol", "allow_normalization", "max_frames", "left_out", "notes", "weights", "runs"),
)


def evaluate_command(arguments: Sequence[str]) -> None:
    """Evaluate an encoder on a downstream task, or on all that the data support."""
    from pcm3.evaluation.tasks.registry import TASKS  # noqa: PLC0415

    task = arguments[0] if arguments else "--help"
    if task in ("-h", "--help"):
        tell(
            "usage: pcm3 evaluate TASK --run RUN --data STORE [options]",
            "",
            *(f"  {name:<12}{known.about}" for name, known in TASKS.items()),
            f"  {'all':<12}Every task that the store supports, with its default settings.",
            "",
            "pcm3 evaluate TASK --help lists the options of a task.",
        )
    elif task == "all":
        _evaluate_all(arguments[1:])
    elif task in TASKS:
        _evaluate_task(task, arguments[1:])
    else:
        also = {
            name: meaning for known in TASKS.values() for name, meaning in known.also_called.items()
        }
        raise ValueError(
            f"expected a task among {', '.join(TASKS)}, all; got {task!r}"
            + meant(task, (*TASKS, "all"), also)
        )


def _evaluate_all(arguments: Sequence[str]) -> None:
    from pcm3.data.store import Store  # noqa: PLC0415
    from pcm3.evaluation.evaluate import evaluate_all  # noqa: PLC0415

    kind = _options()
    kind.__doc__ = "Run every task that the store supports; existing results are kept."
    options = parse(kind, "evaluate all", arguments, "pcm3 evaluate all --run run --data store")
    results = evaluate_all(
        [options.run],
        Store(options.data),
        options.protocol,
        options.accelerator,
        options.allow_normalization,
        options.out,
    )
    metrics = {name: result.metrics for name, result in results.items()}
    finish("evaluate all", metrics, options.json)


def _evaluate_task(name: str, arguments: Sequence[str]) -> None:
    from pcm3.data.store import Store  # noqa: PLC0415
    from pcm3.evaluation.evaluate import evaluate_runs, few_tests, seen_tests  # noqa: PLC0415
    from pcm3.evaluation.kept import result_file, results_folder  # noqa: PLC0415
    from pcm3.evaluation.tasks.registry import TASKS  # noqa: PLC0415
    from pcm3.runs.results import write_result  # noqa: PLC0415

    task = TASKS[name]
    shown = ("--run run --data store", *task.examples)
    examples = [f"pcm3 evaluate {name} {example}" for example in shown]
    options = parse(_task_options(task), f"evaluate {name}", arguments, *examples)
    runs = options.run if task.fusion else (options.run,)
    results_folder(runs[0], options.out)  # refuses before the work is done
    result = evaluate_runs(
        name,
        runs,
        Store(options.data),
        options.protocol,
        task.settings(**vars(options.settings)),
        getattr(options, "weights", None),
        options.accelerator,
        options.allow_normalization,
        options.max_frames,
    )
    for warning in seen_tests(runs, result):
        tell(f"pcm3: warning: {warning}", file=sys.stderr)
    for note in result.notes:
        tell(f"pcm3: note: {note}", file=sys.stderr)
    file = result_file(result, runs, options.out)
    text = f"{name} {result.protocol}{task.how(result.settings)}: {task.summary(result.metrics)}"
    text += few_tests(result)
    text += f"  ({file})" if file else ""
    lines: list[str] = []
    if len(runs) > 1:
        lines = [
            f"  {run}: {task.summary(about.headline)}, weight {weight:.3g}"
            for run, about, weight in zip(runs, result.runs, result.weights, strict=True)
        ]
    content = result.to_json()
    rest = {key: content[key] for key in _ALSO_PRINTED}
    finish(f"evaluate {name}", result.metrics, options.json, *lines, text, **rest)
    if file is not None:  # after printing, because writing may fail
        write_result(file, result)


def _options(task: "Task | None" = None) -> Any:
    """Build the class of the options that all tasks share, with the help texts of a task."""
    from tyro.conf import FlagCreatePairsOff, arg  # noqa: PLC0415

    several = task is not None and task.fusion is not None
    run_type: Any = tuple[Path, ...] if several else Path

    @dataclass
    class Options:
        run: Annotated[
            run_type,
            arg(
                help="Run folder, which keeps the result, encoder file or pretrained."
                + (" The classifier scores of several runs are added." if several else "")
            ),
        ]
        data: Annotated[Path, arg(help="The store.")]
        protocol: Annotated[
            str | None,
            arg(
                help="Training and test part: xsub, xview, fold:K, COLUMN:values; by default the "
                f"protocol that the run was trained under{task.protocol_help if task else ''}.",
                help_behavior_hint="",
            ),
        ] = None
        out: Annotated[
            Path | None,
            arg(
                help="Folder to keep the result of an encoder without a run in.",
                help_behavior_hint="",
            ),
        ] = None
        accelerator: Annotated[str, arg(help="Device of the encoder: cpu, cuda, mps or auto.")] = (
            "auto"
        )
        allow_normalization: Annotated[
            bool,
            FlagCreatePairsOff,
            arg(help="Allow a store with another normalization than the encoder's."),
        ] = False
        json: Annotated[
            bool, FlagCreatePairsOff, arg(help="Print the result as JSON on the last line.")
        ] = False

    return Options


def _task_options(task: "Task") -> Any:
    """Build the class of the options of a task."""
    from tyro.conf import arg  # noqa: PLC0415

    base, settings_type = _options(task), _with_recipes(task)
    frames = _FRAMES[task.frames(task.defaults)]

    @dataclass
    class Options(base):  # type: ignore[misc, valid-type]
        settings: Annotated[settings_type, arg(name="")] = field(  # type: ignore[valid-type]
            default_factory=settings_type
        )
        max_frames: Annotated[
            int | None,
            arg(
                help="Number of frames at which longer recordings are truncated; by default "
                f"{frames}{task.frames_help}.",
                help_behavior_hint="",
            ),
        ] = None

    @dataclass
    class FusionOptions(Options):
        weights: Annotated[
            tuple[float, ...] | None,
            arg(
                help="Weights of the scores of several runs; equal by default.",
                help_behavior_hint="",
            ),
        ] = None

    kind = FusionOptions if task.fusion else Options
    kind.__doc__ = task.about
    return kind


def _with_recipes(task: "Task") -> Any:
    """The settings of a task; the help shows what the recipes have for those that are None."""
    from tyro.conf import arg  # noqa: PLC0415

    kinds, usual = get_type_hints(task.settings), task.defaults.get("recipe")
    declared: list[tuple[str, Any, Any]] = []
    for setting in fields(task.settings):
        values = {
            name: _in_words(getattr(recipe, setting.name))
            for name, recipe in task.recipes.items()
            if setting.default is None and hasattr(recipe, setting.name)
        }
        if not values:
            continue
        shown = ", ".join(f"{name} {value}" for name, value in values.items())
        if len({*values.values()}) == 1:
            shown = f"default: {next(iter(values.values()))}"
        elif usual in values:
            shown = f"default: {values[usual]}"
        hint = arg(help_behavior_hint=f"({shown})")
        declared.append((setting.name, Annotated[kinds[setting.name], hint], None))
    name = task.settings.__name__
    return make_dataclass(name, declared, bases=(task.settings,), frozen=True)


def _in_words(value: Any) -> str:
    if isinstance(value, tuple):
        return " ".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def features_command(arguments: Sequence[str]) -> None:
    """Write the features of every sequence of a store to an .npz file."""
    import numpy as np  # noqa: PLC0415

    from pcm3._torch import allow_tf32, find_device  # noqa: PLC0415
    from pcm3.data.dataset import describe_form, describe_left_out, describe_windows  # noqa: PLC0415
    from pcm3.data.store import Store  # noqa: PLC0415
    from pcm3.encoders.files import fingerprint  # noqa: PLC0415
    from pcm3.evaluation.features import (  # noqa: PLC0415
        dataset_for,
        extract_features,
        load_for,
    )
    from pcm3.io.files import replacing  # noqa: PLC0415

    def options(
        run: Path,
        data: Path,
        out: Path,
        accelerator: str = "auto",
        allow_normalization: bool = False,
        max_frames: int | None = None,
        overwrite: bool = False,
        json: bool = False,
    ) -> None:
        """Compute features (N, D) and write them with labels and the store's columns.

        Args:
            run: The run folder, the file of an encoder, or pretrained, the encoder of pcm3.
            data: The store.
            out: The .npz file to write.
            accelerator: Device of the encoder: cpu, cuda, mps or auto.
            allow_normalization: Allow a store with another normalization than the encoder's.
            max_frames: Number of frames at which longer recordings are truncated; by default all
                frames are used, in windows of 300 whose features are averaged.
            overwrite: Replace an existing file.
            json: Print the result as JSON on the last line.
        """
        if out.suffix != ".npz":
            raise ValueError(f"expected --out FILE.npz, got {out}")
        check_new(out, overwrite)
        store, device = Store(data), find_device(accelerator)
        arrays: dict[str, Any] = {name: store.values(name) for name in store.columns}
        arrays |= {"names": np.array(store.names), "class_names": np.array(store.class_names)}
        arrays |= {"store_fingerprint": store.fingerprint, "encoder_fingerprint": fingerprint(run)}
        pretrained, notes = load_for(run, store, allow_normalization)
        pretrained.encoder.to(device)
        allow_tf32(False)
        dataset = dataset_for(pretrained, store, max_frames=max_frames)
        features = extract_features(pretrained, dataset)
        other, left_out = bool(notes), dataset.left_out
        notes += describe_left_out(left_out, max_frames)
        notes += describe_windows(dataset, "the features of their windows are averaged")
        notes += describe_form(dataset)
        store.check_unchanged()
        arrays |= {"notes": np.array(notes, dtype=np.str_)}
        arrays |= {"features": features.values.numpy(), "labels": features.labels.numpy()}
        with replacing(out) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)
        shape = tuple(features.values.shape)
        for note in notes:
            tell(f"pcm3: note: {note}", file=sys.stderr)
        rest = {"out": str(out), "allow_normalization": other, "notes": notes}
        rest |= {"max_frames": max_frames, "left_out": left_out}
        finish("features", {"shape": shape}, json, f"{out}: features {shape}", **rest)

    parse(options, "features", arguments, "pcm3 features --run run --data store --out features.npz")


def export_command(arguments: Sequence[str]) -> None:
    """Export an encoder or a classifier to a file that runs without pcm3."""
    from tyro.conf import Positional, arg  # noqa: PLC0415

    from pcm3.encoders.files import load_encoder  # noqa: PLC0415
    from pcm3.export import export_onnx, export_program  # noqa: PLC0415

    writers = {".pt2": export_program, ".onnx": export_onnx}

    def options(
        classifier: Annotated[Path | None, Positional, arg(metavar="[CLASSIFIER]")] = None,
        *,
        out: Path,
        run: Path | None = None,
        frames: int | None = None,
        overwrite: bool = False,
        json: bool = False,
    ) -> None:
        """Export as .pt2 for PyTorch or .onnx for other runtimes, and verify the file.

        The input is clips (N, C, T, V, M), normalised and of the encoder's stream. The outputs of
        an encoder are frame features (N, T', D) and sequence features (N, D), the output of a
        classifier is probabilities (N, classes), whose names are in the metadata.

        Args:
            classifier: The file of a classifier that pcm3 classifier wrote.
            out: The .pt2 or .onnx file to write.
            run: Instead of a classifier, the run folder, the file of an encoder, or pretrained.
            frames: Number of frames T, fixed in the file; by default that of training.
            overwrite: Replace an existing file.
            json: Print the result as JSON on the last line.
        """
        if out.suffix not in writers:
            raise ValueError(f"expected --out FILE{' or FILE'.join(writers)}, got {out}")
        check_new(out, overwrite)
        if (classifier is None) == (run is None):
            got = "neither" if run is None else "both"
            raise ValueError(f"expected a CLASSIFIER or --run RUN, got {got}")
        if run is not None:
            pretrained, what = load_encoder(run), "features"
        else:
            from pcm3.inference.export import export_classifier  # noqa: PLC0415

            loaded, what = _load_to_export(str(classifier)), "probabilities"
            pretrained = loaded.pretrained
        encoder, length = pretrained.encoder, pretrained.frames if frames is None else frames
        if run is not None:
            deviation = writers[out.suffix](pretrained, out, length)
        else:
            deviation = export_classifier(loaded, out, length)
        clips = [None, encoder.in_channels, length, encoder.joints, encoder.persons]
        text = f"{out}: clips (N, {', '.join(map(str, clips[1:]))}), {what} within {deviation:.0e}"
        finish("export", {"clips": clips, "deviation": deviation}, json, text, out=str(out))

    parse(
        options,
        "export",
        arguments,
        "pcm3 export --run run --out encoder.onnx",
        "pcm3 export classifier.safetensors --out classifier.onnx",
    )


def _load_to_export(file: str) -> "Classifier":
    """Load a classifier.

    Raises:
        ValueError: If it is none; the message names ``--run`` if it is an encoder.
    """
    from pcm3.encoders.files import load_encoder  # noqa: PLC0415
    from pcm3.inference.files import load_classifier  # noqa: PLC0415

    try:
        return load_classifier(file)
    except SkeletonFormatError as error:
        with suppress(SkeletonFormatError):
            load_encoder(file)
            raise ValueError(f"{error}; --run {file} exports an encoder") from None
        raise


def report_command(arguments: Sequence[str]) -> None:
    """Compare the results of several runs in a table and a page with pictures."""
    from tyro.conf import Positional, arg  # noqa: PLC0415

    from pcm3.report.comparison import as_markdown  # noqa: PLC0415
    from pcm3.report.page import write_report  # noqa: PLC0415

    def options(
        runs: Annotated[tuple[Path, ...], Positional, arg(metavar="RUN...")],
        out: Path = Path("report"),
        baseline: str | None = None,
        json: bool = False,
    ) -> None:
        """Compare results side by side; runs that differ only in the seed share a column.

        Args:
            runs: Run folders, and folders of pcm3 evaluate --out, with results.
            out: Folder for report.html, .md, .json, .csv and .tex.
            baseline: Column that the others are compared with, by a test if each has at least
                three seeds.
            json: Print the figures as JSON on the last line.
        """
        report = write_report(runs, out, baseline=baseline)
        for reason in report.left_out:
            tell(f"pcm3: warning: left out {reason}", file=sys.stderr)
        metrics: dict[str, dict[str, float]] = {}
        for row in report.rows:
            name = " ".join(part for part in row[:5] if part)
            for column, cell in row.cells.items():
                metrics.setdefault(column, {})[name] = cell.mean
        headlines = report.table.read_text(encoding="utf-8").partition("\n## ")[0]
        if baseline is not None:
            headlines = "\n\n".join(as_markdown(report.comparison))
        text = str(report.page)
        count = len(report.left_out)
        text += f"; {count} of the runs and files left out" if count else ""
        rest = {"out": str(out), "left_out": report.left_out}
        finish("report", metrics, json, *headlines.split("\n"), text, **rest)

    parse(
        options,
        "report",
        arguments,
        "pcm3 report run-0 run-1 random --out report",
        "pcm3 report run-0 run-1 run-2 other-0 other-1 other-2 --baseline run",
    )
