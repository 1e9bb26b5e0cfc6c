"""What commands print: nothing that steers the terminal, and on one that knows ASCII alone too."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pcm3.cli import main
from pcm3.data import StoreWriter
from pcm3.skeleton import SBU15
from pcm3.terminal import printable, tell

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\rgone\u202e"
ASCII = {"PYTHONIOENCODING": "ascii:strict", "LC_ALL": "C", "PYTHONUTF8": "0"}
ASCII |= {"PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store of hostile names."""
    names = [f"dance {HOSTILE}", "\u00e9t\u00e9 \u6b69\u304f"]
    with StoreWriter(tmp_path / "store", SBU15, class_names=names, source=HOSTILE) as writer:
        for label, name in enumerate(names):
            for _ in range(3):
                rng = np.random.default_rng(label)
                writer.add(rng.normal(size=(8, 2, 15, 3)), label, name=name, room=name)
    return tmp_path / "store"


def steering(text: str) -> list[str]:
    return [each for each in text if not (each.isprintable() or each in "\n\t")]


def test_what_steers_is_shown() -> None:
    assert printable(HOSTILE) == r"\x1b]0;owned\x07\x1b[2J\x9b31m\rgone\u202e"
    plain = "\u00e9\u6b69 \U0001f469\u200d\U0001f4bb, a\tb\nc"  # a joined picture stays one
    assert printable(plain) == plain
    out = io.StringIO()
    tell(HOSTILE, out)
    assert steering(out.getvalue()) == []


def test_names_in_a_store_do_not_steer(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [["show", str(store)], ["show", str(store), "--index", "0"]]
    commands += [["show", str(store), "--json"], ["show", str(store), "--index", HOSTILE]]
    commands += [["show", HOSTILE], [HOSTILE]]
    for command in commands:
        main(command)
        printed = capsys.readouterr()
        assert printed.out or printed.err
        assert steering(printed.out + printed.err) == []


def test_terminals_of_ascii(store: Path) -> None:
    for arguments in (["show"], ["show", "--json", "--index", "5"], ["show", "--index", "\u00e9"]):
        done = subprocess.run(
            [sys.executable, "-m", "pcm3.cli", arguments[0], str(store), *arguments[1:]],
            env=os.environ | ASCII,
            capture_output=True,
            check=False,
        )
        assert done.returncode in (0, 2)
        assert b"Traceback" not in done.stderr
        assert (done.stdout + done.stderr).isascii()


@pytest.mark.parametrize(
    "arguments", [["--help"], ["pretrain", "--help"], ["evaluate"], ["evaluate", "knn", "--help"]]
)
def test_help_without_docstrings(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-OO", "-m", "pcm3.cli", *arguments],
        env=os.environ | ASCII,
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "usage" in done.stdout
