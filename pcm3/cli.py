"""The ``pcm3`` command."""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pcm3._version import __version__


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    try:
        _dispatch([argument for argument in arguments if argument != "--debug"])
    except KeyboardInterrupt as stop:
        kept = arguments[:1] in (["prepare"], ["pretrain"]) or arguments[:2] == ["evaluate", "all"]
        goes_on = "; run the same command to go on" if kept else ""
        print(f"pcm3: {str(stop) or 'stopped'}{goes_on}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever reads our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except (ValueError, OSError, ImportError) as error:
        if debug:
            raise
        print(f"pcm3: error: {_explain(error)}", file=sys.stderr)
        return 2
    return 0


def _dispatch(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
    elif arguments[0] == "--version":
        print(f"pcm3 {__version__}")
    elif arguments[0] in COMMANDS:
        COMMANDS[arguments[0]](arguments[1:])
    else:
        raise ValueError(
            f"expected a command among {', '.join(COMMANDS)}, got {arguments[0]!r}"
            + _meant(arguments[0], COMMANDS)
        )


def _meant(word: str, names: Iterable[str], also: Mapping[str, str] = {}) -> str:
    """A question, where a word is near a name, or near what a name is also called."""
    near = get_close_matches(word, [*names, *also], n=1)
    return f"; did you mean {also.get(near[0], near[0])}?" if near else ""


def _explain(error: Exception) -> str:
    if isinstance(error, ModuleNotFoundError):
        return f"this command needs {error.name}; install it with pip install 'pcm3[train]'"
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part)
    return str(error)


def _overview() -> str:
    lines = ["usage: pcm3 COMMAND [options]", ""]
    lines += [
        f"  {name:<10}{(command.__doc__ or '').splitlines()[0]}"
        for name, command in COMMANDS.items()
    ]
    lines += [
        "",
        "pcm3 COMMAND --help shows a command's options. --debug shows where an error came from.",
        "",
        "example:",
        "  pcm3 prepare packed recordings.npz store",
        "  pcm3 pretrain --preset small --data store --out run",
        "  pcm3 evaluate linear --run run --data store",
    ]
    return "\n".join(lines)


def _parse(kind: Any, command: str, arguments: Sequence[str]) -> Any:
    import tyro  # noqa: PLC0415

    # the defaults of settings depend on presets: --x and --no-x; elsewhere one of them is enough
    config = () if is_dataclass(kind) else (tyro.conf.FlagCreatePairsOff,)
    registry = tyro.constructors.ConstructorRegistry()
    registry.primitive_rule(_one_or_more)
    with registry:
        return tyro.cli(kind, prog=f"pcm3 {command}", args=arguments, config=config)


def _one_or_more(info: Any) -> Any:
    """The values of an option that takes several: as tyro reads them, but never none."""
    from tyro.constructors import ConstructorRegistry, PrimitiveTypeInfo  # noqa: PLC0415

    inner = get_args(info.type)
    if info.type_origin is not tuple or inner[1:] != (...,):
        return None
    as_list = PrimitiveTypeInfo.make(list[inner[0]], info.markers)  # type: ignore[valid-type]
    spec: Any = ConstructorRegistry.get_primitive_spec(as_list)

    def read(words: list[str]) -> tuple[Any, ...]:
        if not words:
            raise ValueError("expected at least one value, got none")
        return tuple(spec.instance_from_str(words))

    return replace(
        spec,
        metavar=spec.metavar.removeprefix("[").removesuffix("]"),
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, tuple) and spec.is_instance(list(value)),
    )


def _finish(
    command: str, metrics: dict[str, Any], as_json: bool, say: str = "", **rest: Any
) -> None:
    """The end of a command: a line for people, and with ``--json`` one for programs."""
    if say:
        print(say)
    if as_json:
        print(json.dumps({"command": command, "metrics": metrics, **rest}))


def _demo(arguments: Sequence[str]) -> None:
    """Synthetic skeletons, pretraining, evaluation: a table and pictures in minutes."""
    import torch  # noqa: PLC0415

    from pcm3.demo import demo  # noqa: PLC0415

    # On tensors this small a second thread gains little, and loses much on a busy machine.
    torch.set_num_threads(1)

    def options(
        out: Path = Path("demo"), epochs: int = 120, seed: int = 0, json: bool = False
    ) -> None:
        """Pretrain on synthetic skeletons and compare with a random encoder.

        Args:
            out: Folder for data, runs and pictures.
            epochs: Pretraining epochs of each method.
            seed: Of data and training.
            json: Print the result as JSON on the last line.
        """
        _finish("demo", demo(out, epochs=epochs, seed=seed), json)

    _parse(options, "demo", arguments)


def _prepare(arguments: Sequence[str]) -> None:
    """Raw files to a store: one folder that training and evaluation read."""
    from tyro.conf import OmitArgPrefixes, Positional, arg  # noqa: PLC0415

    from pcm3.data.normalize import Normalization  # noqa: PLC0415
    from pcm3.data.prepare import prepare  # noqa: PLC0415
    from pcm3.data.readers import Format  # noqa: PLC0415
    from pcm3.data.report import describe  # noqa: PLC0415
    from pcm3.data.store import Store, StoreDtype  # noqa: PLC0415
    from pcm3.training.progress import ProgressReport  # noqa: PLC0415

    def options(
        format: Positional[Format | Literal["auto"]],
        source: Annotated[Path, Positional, arg(metavar="SOURCE")],
        store: Annotated[Path, Positional, arg(metavar="STORE")],
        normalization: Normalization = "center",
        duplicate_single: bool = False,
        persons: int | None = None,
        dtype: StoreDtype = "float32",
        min_frames: int = 1,
        skip_bad: bool = False,
        workers: int | None = None,
        overwrite: bool = False,
        reader: OmitArgPrefixes[ReaderOptions] = ReaderOptions(),
        json: bool = False,
    ) -> None:
        """Read recordings and write a store; the same command again continues a stopped one.

        Args:
            format: What the files are; auto, or leaving it out, finds it out from the path.
            source: The file or folder to read.
            store: The folder to write; appears only when it is complete.
            normalization: Recipe for the coordinates; center subtracts the first person's centre
                joint frame by frame; isc (PCM3, CMD) also turns the body to face one way, which
                recordings from several cameras need; sgn (MAMP) moves each recording once.
            duplicate_single: Of sgn: a lone person is there twice, as in the published NTU-120.
            persons: Persons that a sequence has room for; by default what the format has.
            dtype: Type of the stored coordinates; float16 takes half the room.
            min_frames: Drop shorter sequences.
            skip_bad: Count files that do not hold what they should instead of stopping.
            workers: Processes that read; one for each core by default.
            overwrite: Replace a store that is there.
            reader: What only some formats know.
            json: Print the report as JSON on the last line.
        """
        bar: list[ProgressReport] = []

        def progress(done: int, total: int) -> None:
            if not bar:
                bar.append(ProgressReport("prepare", total).__enter__())
            bar[0].advance_to(done)

        try:
            report = prepare(
                source,
                store,
                format=None if format == "auto" else format,
                normalization=normalization,
                duplicate_single=duplicate_single,
                persons=persons,
                dtype=dtype,
                min_frames=min_frames,
                skip_bad=skip_bad,
                workers=workers,
                overwrite=overwrite,
                progress=progress,
                **reader.given(),
            )
        finally:
            if bar:
                bar[0].__exit__(None, None, None)
        counts = {key: report[key] for key in ("units", "read", "kept")}
        counts |= {key: len(report[key]) for key in ("dropped", "bad")}
        _finish("prepare", counts, json, describe(Store(store)), report=report)

    first = next((argument for argument in arguments if not argument.startswith("-")), "")
    is_path = Path(first).name != first or Path(first).exists()
    if first and first not in get_args(Format) and is_path:
        arguments = ["auto", *arguments]
    _parse(options, "prepare", arguments)


def _show(arguments: Sequence[str]) -> None:
    """What a store holds, and what was left out of it."""
    from tyro.conf import Positional, arg  # noqa: PLC0415

    from pcm3.data.report import describe, read_report  # noqa: PLC0415
    from pcm3.data.store import Store  # noqa: PLC0415

    def options(
        store: Annotated[Path, Positional, arg(metavar="STORE")], json: bool = False
    ) -> None:
        """Describe a store.

        Args:
            store: The store.
            json: Print the summary as JSON on the last line.
        """
        opened = Store(store)
        say = describe(opened)
        _finish("show", opened.summary(), json, say, report=read_report(opened))

    _parse(options, "show", arguments)


def _pretrain(arguments: Sequence[str]) -> None:
    """Pretrain an encoder on a store; the same command again continues a stopped run."""
    import tyro  # noqa: PLC0415

    from pcm3.data.store import Store  # noqa: PLC0415
    from pcm3.training.config import Config, TrainConfig  # noqa: PLC0415
    from pcm3.training.devices import is_first  # noqa: PLC0415
    from pcm3.training.presets import PRESETS, get_preset, post_distillation  # noqa: PLC0415
    from pcm3.training.pretrain import plan, pretrain  # noqa: PLC0415
    from pcm3.training.run import Run  # noqa: PLC0415

    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    peek.add_argument("--preset")
    peek.add_argument("--phase", default="pretrain")
    peek.add_argument("--from", dest="start", type=Path)
    peek.add_argument("--train.epochs", dest="epochs", default="")
    for name in ("drop-epoch", "warmup-epochs"):
        aliases = (f"--train.{name}", f"--train.{name.replace('-', '_')}")
        peek.add_argument(*aliases, dest="schedule", action="append")
    early = peek.parse_known_args(list(arguments))[0]
    distil = early.phase == "post-distill"
    if distil and early.start is None:
        raise ValueError("phase post-distill goes on from a run: give it as --from RUN")
    if distil and early.preset is not None:
        raise ValueError("phase post-distill has the settings of its run: leave out --preset")
    inherits = early.start is not None and early.preset is None
    chosen = Run(early.start).load_config() if inherits else get_preset(early.preset or "small")
    if distil:
        chosen = post_distillation(chosen)
    if early.epochs.isdecimal() and not early.schedule:  # what is no number is refused below
        chosen = replace(chosen, train=chosen.train.scaled_to(int(early.epochs)))

    model_type: Any = type(chosen.model)

    @dataclass
    class Options:
        """Pretrain on the training part of a store.

        The defaults shown are the chosen preset's; with --from and without --preset those of the
        run that it goes on from.
        """

        data: Annotated[
            tuple[Path, ...], tyro.conf.arg(help="The store, or several to train on as one.")
        ] = tyro.MISSING
        out: Annotated[Path, tyro.conf.arg(help="The run folder.")] = tyro.MISSING
        preset: Annotated[
            str, tyro.conf.arg(help=f"Settings to start from: {', '.join(PRESETS)}.")
        ] = early.preset or (f"that of {early.start}" if inherits else "small")
        phase: Annotated[
            Literal["pretrain", "post-distill"],
            tyro.conf.arg(help="post-distill is the second phase of PCM3++."),
        ] = "pretrain"
        start: Annotated[
            Path | None,
            tyro.conf.arg(name="from", help="Run whose weights to start from."),
        ] = None
        protocol: Annotated[
            tuple[str, ...],
            tyro.conf.arg(
                help="Training part: xsub, xview, fold:K, COLUMN:values or all; of all stores, or "
                "one for each."
            ),
        ] = tuple(chosen.protocol.split())
        model: Annotated[model_type, tyro.conf.arg(help="What is trained.")] = chosen.model
        train: TrainConfig = field(default_factory=lambda: chosen.train)
        dry_run: Annotated[
            bool,
            tyro.conf.FlagCreatePairsOff,
            tyro.conf.arg(help="Say what would be trained and what it costs; write nothing."),
        ] = False
        json: Annotated[
            bool,
            tyro.conf.FlagCreatePairsOff,
            tyro.conf.arg(help="Print the result as JSON on the last line."),
        ] = False

    options = _parse(Options, "pretrain", arguments)
    config = Config(options.model, options.train, " ".join(options.protocol))
    stores = [Store(path) for path in options.data]
    if options.dry_run:
        planned = plan(config, stores)
        _finish("pretrain", planned, options.json, _describe_plan(planned))
        return
    records = pretrain(config, stores, options.out, start=options.start)
    last = records[-1] if records else {"epoch": 0}
    if not is_first():
        return
    _finish(
        "pretrain",
        last,
        options.json,
        f"{options.out}: {last['epoch']} of {options.train.epochs} epochs trained",
        run=str(options.out),
    )


def _describe_plan(planned: dict[str, float]) -> str:
    total = planned["step"] * planned["sequences"] * planned["epochs"]
    return (
        f"{planned['sequences']:,} training sequences, {planned['epochs']:,} epochs, "
        f"{planned['steps']:,} steps\n"
        f"{planned['parameters'] / 1e6:.2f} M parameters\n"
        f"{planned['forward'] / 1e9:.3g} G multiply-accumulates a sequence forward, "
        f"{planned['step'] / 1e9:.3g} G with the backward pass, {total / 1e15:.3g} P in all"
    )


def _evaluate(arguments: Sequence[str]) -> None:
    """Evaluate an encoder on a downstream task, or on all that the data support."""
    import tyro  # noqa: PLC0415

    from pcm3.data.store import Store  # noqa: PLC0415
    from pcm3.evaluation.runs import (  # noqa: PLC0415
        evaluate_all,
        evaluate_runs,
        headline,
        write_result,
    )
    from pcm3.evaluation.tasks import TASKS  # noqa: PLC0415

    task = arguments[0] if arguments else "--help"
    if task in ("-h", "--help"):
        lines = [f"  {name:<12}{each.about}" for name, each in TASKS.items()]
        print(
            "\n".join(
                [
                    "usage: pcm3 evaluate TASK --run RUN --data STORE [options]\n",
                    *lines,
                    f"  {'all':<12}Every task that the store supports, with its default settings.",
                    "\npcm3 evaluate TASK --help lists the options of a task.",
                ]
            )
        )
        return
    if task not in (*TASKS, "all"):
        raise ValueError(
            f"expected a task among {', '.join(TASKS)}, all; got {task!r}"
            + _meant(task, (*TASKS, "all"), _ALSO_CALLED)
        )
    several = task == "linear"
    run_type: Any = tuple[Path, ...] if several else Path

    @dataclass
    class Options:
        run: Annotated[
            run_type,
            tyro.conf.arg(
                help="The run folder, where the result is kept, or a file that save_encoder wrote."
                + (" Several: their classifiers' scores are added." if several else "")
            ),
        ]
        data: Annotated[Path, tyro.conf.arg(help="The store.")]
        protocol: Annotated[
            str | None,
            tyro.conf.arg(
                help="Training and test part: xsub, xview, fold:K, COLUMN:values; by default the "
                "one that the run was trained under."
            ),
        ] = None
        json: Annotated[
            bool,
            tyro.conf.FlagCreatePairsOff,
            tyro.conf.arg(help="Print the result as JSON on the last line."),
        ] = False

    if task == "all":
        Options.__doc__ = "Every task that the store supports; what was evaluated before is kept."
        options = _parse(Options, "evaluate all", arguments[1:])
        results = evaluate_all([options.run], Store(options.data), options.protocol)
        metrics = {name: each["metrics"] for name, each in results.items()}
        _finish("evaluate all", metrics, options.json)
        return

    settings_type: Any = TASKS[task].settings

    @dataclass
    class TaskOptions(Options):
        settings: Annotated[settings_type, tyro.conf.arg(name="")] = field(
            default_factory=settings_type
        )

    @dataclass
    class FusionOptions(TaskOptions):
        weights: Annotated[
            tuple[float, ...] | None,
            tyro.conf.arg(help="Of several runs' scores; equal by default."),
        ] = None

    kind = FusionOptions if several else TaskOptions
    kind.__doc__ = TASKS[task].about
    options = _parse(kind, f"evaluate {task}", arguments[1:])
    runs = options.run if several else (options.run,)
    store, weights = Store(options.data), getattr(options, "weights", None)
    result = evaluate_runs(task, runs, store, options.protocol, options.settings, weights)
    for path, about in zip(runs, result["runs"], strict=True):
        if about["test_sequences_seen"]:
            print(
                f"pcm3: warning: {path} was pretrained (protocol {about['protocol']}), without "
                f"labels, on {about['test_sequences_seen']} of the {result['test_sequences']} "
                "test sequences",
                file=sys.stderr,
            )
    say = f"{task} {result['protocol']}: {headline(task, result['metrics'])}"
    for note in result["notes"]:
        print(f"pcm3: note: {note}", file=sys.stderr)
    file = write_result(task, runs, result, options.settings, weights)
    say += f"  ({file})" if file else ""
    if len(runs) > 1:
        each = zip(runs, result["runs"], result["weights"], strict=True)
        lines = [f"  {path}: top1 {its['top1']:.1%}, weight {w:.3g}" for path, its, w in each]
        say = "\n".join([*lines, say])
    rest = {key: result[key] for key in ("protocol", "weights", "runs")}
    _finish(f"evaluate {task}", result["metrics"], options.json, say, **rest)


def _features(arguments: Sequence[str]) -> None:
    """Write a run's features of every sequence of a store to one .npz file."""
    import numpy as np  # noqa: PLC0415

    from pcm3._files import replacing  # noqa: PLC0415
    from pcm3.data.store import Store  # noqa: PLC0415
    from pcm3.evaluation.features import dataset_for, extract_features  # noqa: PLC0415
    from pcm3.hub import load_encoder  # noqa: PLC0415

    def options(run: Path, data: Path, out: Path, json: bool = False) -> None:
        """Compute features (N, D) and write them with labels and the store's columns.

        Args:
            run: The run folder, or a file that save_encoder wrote.
            data: The store.
            out: The .npz file to write.
            json: Print the result as JSON on the last line.
        """
        if out.suffix != ".npz":
            raise ValueError(f"expected --out FILE.npz, got {out}")
        store = Store(data)
        pretrained = load_encoder(run)
        features = extract_features(pretrained, dataset_for(pretrained, store))
        arrays: dict[str, Any] = dict(store.columns)
        arrays |= {"features": features.values.numpy(), "labels": features.labels.numpy()}
        arrays["names"] = np.array(store.names)
        with replacing(out) as temporary, temporary.open("wb") as file:
            np.savez(file, **arrays)
        shape = tuple(features.values.shape)
        _finish("features", {"shape": shape}, json, f"{out}: features {shape}", out=str(out))

    _parse(options, "features", arguments)


def _export(arguments: Sequence[str]) -> None:
    """Write a run's encoder as a file that runs without pcm3."""
    from pcm3.export import export_onnx, export_program  # noqa: PLC0415
    from pcm3.hub import load_encoder  # noqa: PLC0415

    writers = {".pt2": export_program, ".onnx": export_onnx}

    def options(run: Path, out: Path, frames: int | None = None, json: bool = False) -> None:
        """Write the encoder as FILE.pt2 for PyTorch or FILE.onnx for other runtimes, and check it.

        Its input is clips (N, C, T, V, M), normalised and of the encoder's stream; its outputs are
        frame features (N, T', D) and sequence features (N, D).

        Args:
            run: The run folder, or a file that save_encoder wrote.
            out: The .pt2 or .onnx file to write.
            frames: T, fixed in the file; by default what the run was trained on.
            json: Print the result as JSON on the last line.
        """
        if out.suffix not in writers:
            raise ValueError(f"expected --out FILE{' or FILE'.join(writers)}, got {out}")
        pretrained = load_encoder(run)
        encoder, length = pretrained.encoder, pretrained.frames if frames is None else frames
        deviation = writers[out.suffix](encoder, out, length)
        clips = [None, encoder.in_channels, length, encoder.joints, encoder.persons]
        say = f"{out}: clips (N, {', '.join(map(str, clips[1:]))}), within {deviation:.0e}"
        _finish("export", {"clips": clips, "deviation": deviation}, json, say, out=str(out))

    _parse(options, "export", arguments)


def _report(arguments: Sequence[str]) -> None:
    """One table and one page with pictures of the results of many runs."""
    from tyro.conf import Positional, arg  # noqa: PLC0415

    from pcm3.evaluation.report import write_report  # noqa: PLC0415

    def options(
        runs: Annotated[tuple[Path, ...], Positional, arg(metavar="RUN...")],
        out: Path = Path("report"),
        json: bool = False,
    ) -> None:
        """Put results side by side; runs that differ in the seed alone share a column.

        Args:
            runs: Run folders with results of pcm3 evaluate.
            out: Folder for report.html, report.md and report.json.
            json: Print the figures as JSON on the last line.
        """
        report = write_report(runs, out)
        metrics: dict[str, dict[str, float]] = {}
        for row in report.rows:
            name = " ".join(part for part in row[:5] if part)
            for column, cell in row.cells.items():
                metrics.setdefault(column, {})[name] = cell.mean
        headlines = report.table.read_text(encoding="utf-8").partition("\n## ")[0]
        say = f"{headlines}\n{report.page}"
        _finish("report", metrics, json, say, out=str(out))

    _parse(options, "report", arguments)


@dataclass(frozen=True)
class ReaderOptions:
    """What only some formats know; see the documentation of each."""

    ignore: Path | None = None
    """ntu: file that names the samples to leave out, one a line."""
    edition: Literal[60, 120] | None = None
    """ntu: 60 reads only the actions of NTU RGB+D 60."""
    untrimmed: bool = False
    """pku: whole videos with a class for every frame, for detection."""
    phase: Literal[1, 2] | None = None
    """pku: which phase, where the folder holds both."""
    skeleton: str | None = None
    """folder: name of the joint layout, coco17 say, instead of a skeleton.json."""
    fps: float | None = None
    """folder: frames per second."""
    unit: str | None = None
    """folder: unit of the coordinates."""
    unit_scale: float | None = None
    """bvh: metres in one of the file's units; 0.01 by default."""

    def given(self) -> dict[str, Any]:
        """Those that are not left at their default."""
        return {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if getattr(self, each.name) != each.default
        }


_ALSO_CALLED = {
    "recognition": "linear",
    "retrieval": "knn",
    "transfer": "finetune, with another store as --data",
}
"""What the field calls tasks that have other names here."""

COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "demo": _demo,
    "prepare": _prepare,
    "show": _show,
    "pretrain": _pretrain,
    "evaluate": _evaluate,
    "features": _features,
    "export": _export,
    "report": _report,
}

if __name__ == "__main__":
    sys.exit(main())
