"""The ``pcm3`` command."""

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence

from pcm3._version import __version__
from pcm3.commands.completion import completion_command
from pcm3.commands.data import prepare_command, show_command
from pcm3.commands.evaluation import (
    evaluate_command,
    export_command,
    features_command,
    report_command,
)
from pcm3.commands.inference import classifier_command, predict_command
from pcm3.commands.novelty import novelty_command
from pcm3.commands.options import meant
from pcm3.commands.presets import presets_command
from pcm3.commands.search import search_command
from pcm3.commands.sweep import sweep_command
from pcm3.commands.training import demo_command, pretrain_command
from pcm3.errors import how_to_install, is_out_of_memory
from pcm3.io.imports import import_named
from pcm3.terminal import tell


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    # threads of torch that wait for each other sleep, and leave the cores to other work
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # for names with letters it cannot encode
    shared = argparse.ArgumentParser("pcm3", add_help=False, allow_abbrev=False)
    shared.add_argument("--debug", action="store_true")
    shared.add_argument("--allow-import", action="append", default=[], metavar="MODULE")
    try:
        options, rest = shared.parse_known_args(arguments)
    except SystemExit:
        return 2
    try:
        import_named(options.allow_import)
        _dispatch(rest)
    except KeyboardInterrupt as stop:
        kept = arguments[:1] in (["prepare"], ["pretrain"], ["sweep"]) or arguments[:2] == [
            "evaluate",
            "all",
        ]
        goes_on = "; run the same command to continue" if kept else ""
        tell(f"pcm3: {str(stop) or 'stopped'}{goes_on}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has ended, such as head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except Exception as error:
        explained = _explain(error)
        if options.debug or explained is None:
            raise
        tell(f"pcm3: error: {explained}", file=sys.stderr)
        return 2
    return 0


def _dispatch(arguments: Sequence[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        tell(*_overview())
    elif arguments[0] == "--version":
        tell(f"pcm3 {__version__}")
    elif arguments[0] in COMMANDS:
        COMMANDS[arguments[0]](arguments[1:])
    else:
        raise ValueError(
            f"expected a command among {', '.join(COMMANDS)}, got {arguments[0]!r}"
            + meant(arguments[0], COMMANDS)
        )


def _explain(error: Exception) -> str | None:
    """The message for an error that users can cause, None for a bug."""
    if isinstance(error, ModuleNotFoundError):
        module = (error.name or "").partition(".")[0]
        if module in ("", "pcm3"):
            return None
        return f"this command needs {error.name}; {how_to_install(module)}"
    if isinstance(error, OSError) and error.strerror:
        return ": ".join(str(part) for part in (error.filename, error.strerror) if part)
    if isinstance(error, (ValueError, OSError, ImportError, MemoryError)):
        return str(error) or "out of memory"
    if is_out_of_memory(error):
        return "out of memory; a smaller batch size needs less"
    return None


def _completion_command(arguments: Sequence[str]) -> None:
    """Print a script by which a shell completes commands, tasks and options."""
    completion_command(arguments, COMMANDS)


def _overview() -> list[str]:
    lines = ["usage: pcm3 COMMAND [options]", ""]
    lines += [
        f"  {name:<12}{(command.__doc__ or '').partition(chr(10))[0]}"  # none under python -OO
        for name, command in COMMANDS.items()
    ]
    return [
        *lines,
        "",
        "pcm3 COMMAND --help shows a command's options. --debug shows where an error came from.",
        "--allow-import MODULE imports the module of an encoder or a method of your own.",
        "",
        "example:",
        "  pcm3 prepare packed recordings.npz store",
        "  pcm3 pretrain --preset small --data store --out run",
        "  pcm3 evaluate linear --run run --data store",
    ]


COMMANDS: dict[str, Callable[[Sequence[str]], None]] = {
    "demo": demo_command,
    "prepare": prepare_command,
    "show": show_command,
    "presets": presets_command,
    "pretrain": pretrain_command,
    "evaluate": evaluate_command,
    "classifier": classifier_command,
    "predict": predict_command,
    "search": search_command,
    "novelty": novelty_command,
    "features": features_command,
    "export": export_command,
    "report": report_command,
    "sweep": sweep_command,
    "completion": _completion_command,
}
