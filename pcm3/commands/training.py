"""The commands ``demo`` and ``pretrain``."""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_type_hints

from pcm3.commands.options import finish, parse
from pcm3.terminal import duration, tell

if TYPE_CHECKING:
    from pcm3.data.store import Store
    from pcm3.data.synthetic.motion import SyntheticMotion
    from pcm3.methods.catalog import RunSettings


def demo_command(arguments: Sequence[str]) -> None:
    """Label, pretrain and evaluate on synthetic skeletons: a table and pictures in minutes."""
    import torch  # noqa: PLC0415

    from pcm3.demo import demo  # noqa: PLC0415

    # with such small tensors a second thread gains little, and costs much on a busy machine
    torch.set_num_threads(1)

    def options(
        out: Path = Path("demo"), epochs: int = 120, seed: int = 0, json: bool = False
    ) -> None:
        """Label synthetic recordings without training, then pretrain on them and compare encoders.

        Args:
            out: Folder for data, runs and pictures.
            epochs: Pretraining epochs from new weights; half as many from the shipped encoder.
            seed: Random seed of data and training.
            json: Print the result as JSON on the last line.
        """
        finish("demo", demo(out, epochs=epochs, seed=seed), json)

    parse(options, "demo", arguments, "pcm3 demo --out demo")


def pretrain_command(arguments: Sequence[str]) -> None:
    """Pretrain an encoder on a store; repeat the command to continue a stopped run."""
    import tyro  # noqa: PLC0415

    from pcm3.data.splits import join_protocols, part_protocols  # noqa: PLC0415
    from pcm3.data.synthetic.motion import SyntheticMotion  # noqa: PLC0415
    from pcm3.methods.catalog import RunSettings  # noqa: PLC0415
    from pcm3.methods.settings import TrainSettings  # noqa: PLC0415
    from pcm3.runs.folder import Run  # noqa: PLC0415
    from pcm3.training.devices import is_first  # noqa: PLC0415
    from pcm3.training.pretrain import plan, pretrain  # noqa: PLC0415

    arguments = [_present_name(argument) for argument in arguments]
    early, chosen = _settings(arguments)
    model_type: Any = type(chosen.model)

    everything = "--help-all" in arguments

    @dataclass
    class Options:
        """Pretrain on the training part of a store; repeat the command to continue after a stop.

        The defaults are those of the chosen preset; with --from and without --preset, those of
        that run. To train a finished run longer, start another from it: --from RUN.

        This page is a selection: pcm3 pretrain --help-all lists all settings of training
        (--train.NAME), of the method (--model.NAME) and of generated motion (--motion.NAME).
        """

        data: Annotated[
            tuple[Path, ...],
            tyro.conf.arg(
                help="The store, or several stores to train on together; synthetic generates "
                "motion during training, see --motion."
            ),
        ] = tyro.MISSING
        out: Annotated[Path, tyro.conf.arg(help="The run folder.")] = tyro.MISSING
        preset: Annotated[
            str, tyro.conf.arg(help="Settings to start from; pcm3 presets lists them.")
        ] = early.preset or _no_preset(early)
        method: Annotated[
            str | None,
            tyro.conf.arg(help="Method instead of the preset's: a name, or MODULE:CLASS."),
        ] = None
        phase: Annotated[
            Literal["pretrain", "post-distill"],
            tyro.conf.arg(help="Training phase; post-distill is the second phase of PCM3++."),
        ] = "pretrain"
        start: Annotated[
            Path | None,
            tyro.conf.arg(
                name="from",
                help="Run folder, encoder file or pretrained to take weights from.",
            ),
        ] = None
        protocol: Annotated[
            tuple[str, ...],
            tyro.conf.arg(
                help="Training part: xsub, xview, fold:K, COLUMN:values or all; one for all "
                "stores, or one for each."
            ),
        ] = tuple(part_protocols(chosen.protocol))
        max_frames: Annotated[
            int | None,
            tyro.conf.arg(
                help="Number of frames at which longer recordings are truncated; none trains on "
                "all frames, in windows."
            ),
        ] = chosen.max_frames
        any_layout: Annotated[
            bool,
            tyro.conf.FlagCreatePairsOff,
            tyro.conf.arg(
                help="Train an encoder for any layout and unit: joints are mapped to 15 common "
                "ones, bodies turned upright and scaled. Always so if --from needs it."
            ),
        ] = False
        dry_run: Annotated[
            bool,
            tyro.conf.FlagCreatePairsOff,
            tyro.conf.arg(help="Print what would be trained and its cost; write nothing."),
        ] = False
        json: Annotated[
            bool,
            tyro.conf.FlagCreatePairsOff,
            tyro.conf.arg(help="Print the result as JSON on the last line."),
        ] = False

    @dataclass
    class AllOptions(Options):
        model: Annotated[model_type, tyro.conf.arg(help="Settings of the method.")] = chosen.model
        train: TrainSettings = field(default_factory=lambda: chosen.train)
        motion: MotionSettings = field(default_factory=MotionSettings)

    suppress: Any = tyro.conf.Suppress
    hidden = [
        (name, suppress[kind], getattr(chosen.train, name))
        for name, kind in get_type_hints(TrainSettings).items()
        if name not in _MOST_USED
    ]
    usual: Any = make_dataclass("TrainSettings", hidden, bases=(TrainSettings,), frozen=True)
    used = usual(**vars(chosen.train))

    @dataclass
    class BriefOptions(Options):
        train: Annotated[usual, tyro.conf.arg(help="Settings of training, the main ones.")] = used

    BriefOptions.__doc__ = AllOptions.__doc__ = Options.__doc__
    brief = not everything and not {"-h", "--help"}.isdisjoint(arguments)
    options = parse(
        BriefOptions if brief else AllOptions,
        "pretrain",
        arguments,
        "pcm3 pretrain --preset small --data store --out run",
        "pcm3 pretrain --preset small --train.epochs 50 --model.hidden 128 --data store --out run",
        "pcm3 pretrain --phase post-distill --from run --data store --out distilled",
        "pcm3 pretrain --data synthetic --train.batch-size 128 --train.epochs 40 --out run",
    )
    config = RunSettings(
        options.model,
        options.train,
        join_protocols(options.protocol),
        options.max_frames,
        _trains_any_layout(options),
        chosen.preset,
    )
    if not Run(options.out).config.exists():  # runs of earlier versions may be continued
        for part, settings in (("model", config.model), ("train", config.train)):
            settings.check_effect(_named(arguments, part))
    data = _data(options.data, options.motion, pairs=getattr(options.model, "pairs", False))
    if early.preset and is_first() and not isinstance(data, SyntheticMotion):
        _say_normalization(early.preset, data)
    if options.dry_run:
        planned = plan(config, data, options.out, start=options.start)
        text = config.to_json()
        lines = [*_describe_plan(planned), "settings:", *text.split("\n")]
        finish("pretrain", planned, options.json, *lines, settings=json.loads(text))
        return
    before = len(Run(options.out).read_metrics())
    try:
        records = pretrain(config, data, options.out, start=options.start)
    except KeyboardInterrupt:
        if is_first():
            raise
        raise SystemExit(130) from None  # the first process prints the message for all
    kept = f", {before} of them earlier" if before else ""
    if before == options.train.epochs > 0:
        kept += f"; to train longer, start another run: --from {options.out} --out OTHER"
    last = records[-1] if records else {"epoch": options.train.epochs}
    if not is_first():
        return
    finish(
        "pretrain",
        last,
        options.json,
        f"{options.out}: {_epochs(options.train.epochs)} trained" + kept,
        run=str(options.out),
    )


_MOST_USED = ("epochs", "batch_size", "lr", "accelerator", "seed")
"""Settings of training that ``--help`` shows."""


@dataclass(frozen=True)
class MotionSettings:
    """Motion that --data synthetic generates during training."""

    sequences: int = 12800
    """Sequences in an epoch; each epoch has new ones."""
    skeleton: Path = Path("common15")
    """Joint layout: the name of a built-in one, or a skeleton.json."""
    persons: int = 1
    """1, or 2: then a second person is there in one of five sequences."""
    frames: tuple[int, int] = (20, 120)
    """Shortest and longest sequence, at 30 frames per second."""
    seed: int = 0
    """Seed of the sequences."""
    normalization: Literal["none", "center", "isc", "body"] = "center"
    """Recipe, as in prepare; body as with --any-layout."""


def _data(
    paths: Sequence[Path], motion: MotionSettings, *, pairs: bool
) -> "list[Store] | SyntheticMotion":
    """Open the stores, or set up the motion that ``synthetic`` stands for."""
    from pcm3.data.store import Store  # noqa: PLC0415
    from pcm3.data.synthetic.motion import SyntheticMotion  # noqa: PLC0415

    word = Path(_GENERATED)
    if word not in paths:
        for option, given in (("motion", motion != MotionSettings()), ("model.pairs", pairs)):
            if given:
                raise ValueError(f"expected --data synthetic with --{option}, got stores")
        return [Store(path) for path in paths]
    if len(paths) > 1:
        raise ValueError("expected --data synthetic alone, got stores beside it")
    if word.exists():
        raise ValueError(
            f"--data {word} stands for generated motion, but there is a folder {word}; write its "
            "full path to train on it, or rename it"
        )
    return SyntheticMotion(**vars(motion), pairs=pairs)


_GENERATED = "synthetic"


def _trains_any_layout(options: Any) -> bool:
    """Whether the encoder is for any layout, as asked for or because the one it starts from is."""
    from pcm3.training.devices import is_first  # noqa: PLC0415
    from pcm3.training.start import takes_any_layout  # noqa: PLC0415

    if options.any_layout or options.motion.normalization == "body":
        return True
    if options.start is None or not takes_any_layout(options.start):
        return False
    if is_first():
        said = f"--from {options.start} takes recordings of any layout: trains as --any-layout"
        tell(f"pcm3: note: {said}", file=sys.stderr)
    return True


def _say_normalization(preset: str, stores: "Sequence[Store]") -> None:
    """Print a note if the recordings have another normalization than in the preset's paper."""
    from pcm3.methods.base import find_preset  # noqa: PLC0415

    published = find_preset(preset).normalization
    for store in stores:
        actual = store.meta["normalization"]
        if published not in (None, actual):
            tell(
                f"pcm3: note: {preset} was published on recordings with --normalization "
                f"{published}, but {store.path} has {actual}",
                file=sys.stderr,
            )
        elif preset in ("small-mamp", "small-mae", "small-nat") and actual == "isc":
            tell(
                "pcm3: note: MAMP was published on recordings that are centred but not rotated; "
                f"those of {store.path} are rotated (isc), for which {preset} is not measured",
                file=sys.stderr,
            )


def _settings(arguments: Sequence[str]) -> "tuple[argparse.Namespace, RunSettings]":
    """Parse the options that set defaults of others: preset, method, phase, start, epochs."""
    from pcm3.io.imports import import_named  # noqa: PLC0415
    from pcm3.methods.catalog import (  # noqa: PLC0415
        find_method,
        get_preset,
        post_distillation,
    )
    from pcm3.runs.folder import Run  # noqa: PLC0415
    from pcm3.training.start import is_run  # noqa: PLC0415

    peek = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    peek.add_argument("--preset")
    peek.add_argument("--method")
    peek.add_argument("--model.encoder", dest="encoder", default="")
    peek.add_argument("--phase", default="pretrain")
    peek.add_argument("--from", dest="start", type=Path)
    peek.add_argument("--train.epochs", dest="epochs", default="")
    for name in ("drop-epoch", "warmup-epochs"):
        aliases = (f"--train.{name}", f"--train.{name.replace('-', '_')}")
        peek.add_argument(*aliases, dest="schedule", action="append")
    early = peek.parse_known_args(list(arguments))[0]
    distil = early.phase == "post-distill"
    if distil and early.start is None:
        raise ValueError("expected --from RUN with --phase post-distill, got no run")
    of_run = early.start is not None and is_run(early.start)
    if distil and not of_run:
        raise ValueError(
            f"expected --from RUN with --phase post-distill, got the encoder {early.start}"
        )
    if distil and early.preset is not None:
        raise ValueError(
            "expected --phase post-distill without --preset, whose settings are those of the run, "
            f"got --preset {early.preset}"
        )
    named = [
        name.partition(":")[0] for name in (early.method, early.encoder) if ":" in (name or "")
    ]
    import_named(named)
    if of_run and early.preset is None and early.method is None:
        chosen = Run(early.start).load_config()
    else:
        chosen = get_preset(early.preset or "small")
    if early.method is not None:
        settings = find_method(early.method).Settings.sharing(chosen.model)
        chosen = replace(chosen, model=settings, preset=None)
    if distil:
        chosen = post_distillation(chosen)
    if early.epochs.isdecimal() and not early.schedule:  # anything but a number is refused below
        chosen = replace(chosen, train=chosen.train.scaled_to(int(early.epochs)))
    return early, chosen


def _named(arguments: Sequence[str], part: str) -> list[str]:
    """Return the names of the settings in options ``--PART.NAME`` and ``--PART.no-NAME``."""
    start = f"--{part}."
    words = [word.partition("=")[0] for word in arguments if word.startswith(start)]
    names = [word.removeprefix(start).replace("-", "_").removeprefix("no_") for word in words]
    return [*dict.fromkeys(names)]


def _present_name(argument: str) -> str:
    """Replace the name of an option in earlier versions by its present name."""
    from pcm3.methods.settings import FORMER_NAMES  # noqa: PLC0415

    option, equals, value = argument.partition("=")
    names = {"--deterministic": "--train.deterministic"}
    for former, name in FORMER_NAMES.items():
        for spelling in (former, former.replace("_", "-")):
            names[f"--model.{spelling}"] = f"--model.{name}"
    return names.get(option, option) + equals + value


def _no_preset(early: argparse.Namespace) -> str:
    """Return the text shown as the preset if no preset was given."""
    from pcm3.training.start import is_run  # noqa: PLC0415

    of_run = early.start is not None and is_run(early.start) and not early.method
    return f"that of {early.start}" if of_run else "small"


def _describe_plan(planned: dict[str, float]) -> list[str]:
    total = planned["step"] * planned["batch"] * planned["steps"]
    rest = planned["sequences"] % planned["batch"]
    left = f"; an epoch leaves {rest} out, others each time" if rest else ""
    return [
        f"{planned['sequences']:,} training clips, {planned['epochs']:,} epochs, "
        f"{planned['steps']:,} steps of {planned['batch']:,}{left}",
        f"{planned['parameters'] / 1e6:.2f} M parameters",
        f"{planned['forward'] / 1e9:.3g} G multiply-accumulates per sequence forward, "
        f"{planned['step'] / 1e9:.3g} G with the backward pass, {total / 1e15:.3g} P in total",
        f"about {duration(planned['seconds'])} on this machine, if nothing else runs, and "
        f"{planned['bytes'] / 1e9:.2g} GB of memory besides the data",
    ]


def _epochs(count: int) -> str:
    return "1 epoch" if count == 1 else f"{count} epochs"
