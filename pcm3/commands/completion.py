"""The command ``completion``, which prints a shell completion script."""

import io
import os
import re
from argparse import ArgumentParser
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout, suppress
from typing import Annotated, Any, Literal

from pcm3.commands.options import parse

Command = Callable[[Sequence[str]], None]

_OPTION = re.compile(
    r"^[│ ] ((?:--?[a-z][\w.-]*(?:, )?)+)(?: ([^\s│]+(?: [^\s│]+)*))?", re.MULTILINE
)
_CHOICES = re.compile(r"\{([\w.-]+(?:,[\w.-]+)*)\}")


def completion_command(arguments: Sequence[str], commands: Mapping[str, Command]) -> None:
    """Print a script that completes commands, tasks and options in a shell."""
    from tyro.conf import Positional  # noqa: PLC0415

    from pcm3.evaluation.tasks.registry import TASKS  # noqa: PLC0415

    def options(shell: Annotated[Literal["bash", "zsh", "tcsh"], Positional] = "bash") -> None:
        """Print a completion script; the example installs it for bash.

        Args:
            shell: The shell.
        """
        import shtab  # noqa: PLC0415

        root = ArgumentParser("pcm3")
        parsers = root.add_subparsers()
        with _wide_pages():
            for name, command in commands.items():
                parser = parsers.add_parser(name, help=command.__doc__ or "", add_help=False)
                if name == "evaluate":
                    tasks = parser.add_subparsers()
                    for task in (*TASKS, "all"):
                        parser = tasks.add_parser(task, help=task, add_help=False)
                        _add_options(parser, command, [task])
                else:
                    _add_options(parser, command, [])
        print(shtab.complete(root, shell))

    parse(
        options,
        "completion",
        arguments,
        "pcm3 completion > ~/.local/share/bash-completion/completions/pcm3",
    )


@contextmanager
def _wide_pages() -> Iterator[None]:
    """Format help pages in a single wide column, with one line per option."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "100"
    try:
        yield
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before


def _add_options(parser: ArgumentParser, command: Command, words: Sequence[str]) -> None:
    """Add the options in the help of a command; other words are completed as files."""
    from shtab import FILE  # noqa: PLC0415

    from pcm3.methods.catalog import PRESETS  # noqa: PLC0415

    page = io.StringIO()
    with redirect_stdout(page), suppress(SystemExit):
        command([*words, "--help-all"])
    for names, value in _OPTION.findall(page.getvalue()):
        several = "..." in value and "PATH" not in value  # further paths are completed as files
        kind = {"nargs": "*" if several else None} if value else {"action": "store_true"}
        action: Any = parser.add_argument(*names.split(", "), **kind)
        if "--preset" in names:
            action.choices = list(PRESETS)
        elif choices := _CHOICES.search(value):
            action.choices = choices[1].split(",")
        elif "PATH" in value:
            action.complete = FILE
    files: Any = parser.add_argument("files", nargs="*")
    files.complete = FILE
