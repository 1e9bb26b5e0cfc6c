"""Functions in processes of their own that start at once: forks of one that has imported pcm3."""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(
    [
        *("pcm3.evaluation.evaluate", "pcm3.training.pretrain", "pcm3.report.page"),
        *("sklearn.linear_model", "tyro"),
    ]
)


class Ended(NamedTuple):
    """What a process ended with."""

    returncode: int
    stdout: str
    stderr: str


class Started:
    """A function of a module, by its name, that runs in a process of its own.

    The process exits with the integer that the function returns, by default 0, and with 1 and a
    traceback if it raises.
    """

    def __init__(
        self, function: Callable[..., object], *arguments: Any, **environment: str
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._files = [Path(self._folder.name) / name for name in ("stdout", "stderr")]
        self._process = _CONTEXT.Process(
            target=_run,
            args=([*map(str, self._files)], os.environ | environment, function, arguments),
        )
        self._process.start()

    def end(self, seconds: float = 120) -> Ended:
        """Wait for the end; a process that does not end in time is killed."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()
        said = [file.read_text(encoding="utf-8") for file in self._files]
        self._folder.cleanup()
        return Ended(self._process.exitcode, *said)


def call(function: Callable[..., object], *arguments: Any, seconds: float = 120) -> Ended:
    """Start a function and wait for its end."""
    return Started(function, *arguments).end(seconds)


def _run(
    files: list[str],
    environment: Mapping[str, str],
    function: Callable[..., object],
    arguments: tuple[Any, ...],
) -> None:
    for number, file in enumerate(files, 1):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT), number)
    os.environ.clear()
    os.environ.update(environment)
    multiprocessing.set_start_method(None, force=True)  # the default again, for its own children
    sys.exit(function(*arguments))


def command(folder: Path, *arguments: str) -> int:
    """``pcm3`` in a folder; to be called through ``call``."""
    from pcm3.cli import main

    os.chdir(folder)
    return main(list(arguments))


def script(file: Path, *arguments: str) -> None:
    """A Python script; to be called through ``call``."""
    sys.argv[:] = [str(file), *arguments]
    sys.path.insert(0, str(file.parent))
    runpy.run_path(str(file), run_name="__main__")


def expect_errors(setup: str, lines: list[str], megabytes: int) -> None:
    """Run lines that are to raise a ``ValueError`` each, where there is hardly any memory."""
    import resource

    names: dict[str, Any] = {}
    exec(setup, names)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + megabytes * 2**20,) * 2)
    for line in lines:
        with pytest.raises(ValueError) as raised:
            exec(line, names)
        said = str(raised.value)
        assert "allocate" not in said, line
        assert "MemoryError" not in said, line
        assert len(said) < 4000, line
