"""Commands that train."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pcm3._commands.options import finish, parse


def demo_command(arguments: Sequence[str]) -> None:
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
        finish("demo", demo(out, epochs=epochs, seed=seed), json)

    parse(options, "demo", arguments)


def pretrain_command(arguments: Sequence[str]) -> None:
    """Pretrain an encoder on a store; the same command again continues a stopped run."""
    import tyro  # noqa: PLC0415

    from pcm3.data.store import Store  # noqa: PLC0415
    from pcm3.training.config import Config, TrainConfig  # noqa: PLC0415
    from pcm3.training.devices import is_first  # noqa: PLC0415
    from pcm3.training.presets import PRESETS, get_preset, post_distillation  # noqa: PLC0415
    from pcm3.training.pretrain import plan, pretrain  # noqa: PLC0415
    from pcm3.training.run import Run  # noqa: PLC0415

    arguments = ["--train.deterministic" if a == "--deterministic" else a for a in arguments]
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

    options = parse(Options, "pretrain", arguments)
    config = Config(options.model, options.train, " ".join(options.protocol))
    stores = [Store(path) for path in options.data]
    if options.dry_run:
        planned = plan(config, stores)
        finish("pretrain", planned, options.json, _describe_plan(planned))
        return
    try:
        records = pretrain(config, stores, options.out, start=options.start)
    except KeyboardInterrupt:
        if is_first():
            raise
        raise SystemExit(130) from None  # the first process says it for all
    last = records[-1] if records else {"epoch": 0}
    if not is_first():
        return
    finish(
        "pretrain",
        last,
        options.json,
        f"{options.out}: {last['epoch']} of {options.train.epochs} epochs trained",
        run=str(options.out),
    )


def _describe_plan(planned: dict[str, float]) -> str:
    total = planned["step"] * planned["batch"] * planned["steps"]
    return (
        f"{planned['sequences']:,} training sequences, {planned['epochs']:,} epochs, "
        f"{planned['steps']:,} steps of {planned['batch']:,}\n"
        f"{planned['parameters'] / 1e6:.2f} M parameters\n"
        f"{planned['forward'] / 1e9:.3g} G multiply-accumulates a sequence forward, "
        f"{planned['step'] / 1e9:.3g} G with the backward pass, {total / 1e15:.3g} P in all"
    )
