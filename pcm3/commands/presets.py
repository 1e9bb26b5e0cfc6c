"""The command ``presets``: the settings of the papers by name, and tables of ablations."""

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pcm3.commands.options import finish, parse

if TYPE_CHECKING:
    from pcm3.methods.base import Preset


def presets_command(arguments: Sequence[str]) -> None:
    """List the presets: the settings of the papers, and what each costs."""
    from tyro.conf import Positional, arg  # noqa: PLC0415

    from pcm3.methods.base import find_preset  # noqa: PLC0415
    from pcm3.methods.catalog import PRESETS, get_preset  # noqa: PLC0415
    from pcm3.methods.pcm3.tables import TABLES, command  # noqa: PLC0415

    tables: Any = Literal[tuple(TABLES)]

    def options(
        name: Annotated[
            str | None, Positional, arg(metavar="[NAME]", help_behavior_hint="")
        ] = None,
        table: tables | None = None,
        json: bool = False,
    ) -> None:
        """List the presets, or show one with all its settings.

        With --table, print the commands that train the rows of a paper's table.

        Args:
            name: The preset to show; without it all are listed.
            table: An ablation table of PCM3 or of the survey of PCM3++.
            json: Print the list as JSON on the last line.
        """
        if name is not None and table is not None:
            raise ValueError(f"expected a preset or --table, got {name} and --table {table}")
        if table is None:
            presets = PRESETS if name is None else {name: find_preset(name)}
            shown = ("data", "text", "published", "parameters", "forward")
            metrics: dict[str, Any] = {
                name: {field: getattr(preset, field) for field in shown}
                for name, preset in presets.items()
            }
            if name is None:
                finish("presets", metrics, json, *_list_presets())
                return
            lines = get_preset(name).to_json().split("\n")
            finish("presets", metrics, json, *_describe_preset(name, presets[name]), *lines)
            return
        rows = TABLES[table].rows
        commands = {name: command(table, name) for name in rows}
        metrics = {
            name: {"published": row.published, "command": commands[name]}
            for name, row in rows.items()
        }
        finish("presets", metrics, json, *_list_rows(table, commands), table=table)

    examples = ("pcm3 presets", "pcm3 presets small", "pcm3 presets --table 8")
    parse(options, "presets", arguments, *examples)


def _describe_preset(name: str, preset: "Preset") -> list[str]:
    from pcm3.methods.recordings import DATA  # noqa: PLC0415

    lines = [
        f"{name}: {preset.text}, for {preset.data}",
        *_wrapped(DATA[preset.data]),
        f"{preset.parameters:.3g} M parameters, {preset.forward:.3g} G multiply-accumulates per "
        "sequence",
    ]
    if preset.published:
        lines.append(f"published accuracy of the linear evaluation: {preset.published}")
    if preset.normalization:
        lines.append(f"published on recordings with --normalization {preset.normalization}")
    return [*lines, "settings:"]


def _list_presets() -> list[str]:
    from pcm3.methods.catalog import PRESETS  # noqa: PLC0415
    from pcm3.methods.pcm3.tables import TABLES  # noqa: PLC0415
    from pcm3.methods.recordings import DATA  # noqa: PLC0415

    width = max(map(len, PRESETS))
    head = f"{'':<{width + 2}}{'epochs':>6}{'batch':>6}{'M':>7}{'G':>8}  {'':<27}published"
    lines: list[str] = []
    for data, note in DATA.items():
        lines += ["" if lines else head, data, *_wrapped(note)]
        for name, preset in PRESETS.items():
            if preset.data == data:
                cost = f"{preset.train.epochs:>6}{preset.train.batch_size:>6}"
                cost += f"{preset.parameters:>7.3g}{preset.forward:>8.3g}"
                lines.append(
                    f"  {name:<{width}}{cost}  {preset.text:<27}{preset.published}".rstrip()
                )
    more = (
        "M: million parameters. G: 10^9 multiply-accumulates of a sequence in the forward pass.",
        "Both are of encoder and heads, for 25 joints and two persons; pcm3 pretrain --dry-run",
        "prints those for a store.",
        "Published: pcm3 evaluate linear --solver pcm3; for MAMP, mamp, mamp-pku1 or mamp-pku2.",
        "Post-distilled: pcm3 pretrain --phase post-distill --from RUN, after PCM3 or PCM3++.",
        f"Ablations: pcm3 presets --table {', '.join(TABLES)}.",
    )
    return [*lines, "", *more]


def _wrapped(note: str) -> list[str]:
    """Wrap and indent a note."""
    return textwrap.wrap(note, 100, initial_indent="  ", subsequent_indent="  ")


def _list_rows(table: str, commands: dict[str, list[str]]) -> list[str]:
    from pcm3.methods.pcm3.tables import TABLES  # noqa: PLC0415

    title, notes, rows = TABLES[table]
    lines = [title, *(line for note in notes for line in _wrapped(note)), ""]
    for name, row in rows.items():
        figures = ", ".join(f"{task} {value}" for task, value in row.published.items())
        lines += [f"{name}: {figures}", f"  {' '.join(commands[name])}"]
    evaluate = "pcm3 evaluate linear --solver pcm3 --run RUN --data STORE"
    return [*lines, "", f"All figures are those of the paper. To evaluate a run: {evaluate}"]
