"""What commands print: nothing that steers the terminal, and on one that knows ASCII alone too."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_damaged_json import PRETRAIN

from pcm3.cli import main
from pcm3.data import StoreWriter
from pcm3.data.protocols import Protocol
from pcm3.evaluation.tasks.registry import TASKS
from pcm3.skeleton import SBU15
from pcm3.terminal import printable, tell

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\rgone\u202e"
BREAKING = "wave\n  read from elsewhere: \t100 %\x85 \u2028[red]x"
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
    return [each for each in text if not (each.isprintable() or each == "\n")]


def test_what_steers_is_shown() -> None:
    assert printable(HOSTILE) == r"\x1b]0;owned\x07\x1b[2J\x9b31m\rgone\u202e"
    plain = "\u00e9\u6b69 \U0001f469\u200d\U0001f4bb"  # a joined picture stays one
    assert printable(plain) == plain
    assert printable("a\tb\nc\x85d") == r"a\tb\nc\x85d"
    out = io.StringIO()
    tell(HOSTILE, "a\nb", file=out)
    assert out.getvalue() == f"{printable(HOSTILE)}\na\\nb\n"


def test_names_in_a_store_do_not_steer(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    commands = [["show", str(store)], ["show", str(store), "--index", "0"]]
    commands += [["show", str(store), "--json"], ["show", str(store), "--index", HOSTILE]]
    commands += [["show", HOSTILE], [HOSTILE]]
    for command in commands:
        main(command)
        printed = capsys.readouterr()
        assert printed.out or printed.err
        assert steering(printed.out + printed.err) == []


def all_that_is_said(folder: Path, name: str) -> list[tuple[int, str, str]]:
    """Exit code, output and errors of all commands on a store, runs and files of this name."""
    names = [f"{name} {number}" for number in range(2)]
    rule = {f"sub {name}": Protocol("subjects", (1,))}
    store, run = folder / f"store {name}", folder / f"run {name}"
    texts = {"source": name, "licence": name, "unit": name, "protocols": rule}
    skeleton = replace(SBU15, name=name, joints=(*SBU15.joints[:-1], name))
    with StoreWriter(store, skeleton, class_names=names, **texts) as writer:
        writer.report = report(name)
        for at in range(16):
            clip = np.random.default_rng(at).normal(size=(8, 2, 15, 3))
            writer.add(clip, at % 2, name=f"{name} {at}", room=names[at % 2], subjects=at // 8)
    (folder / f"{name}.bvh").touch()
    data, out = ["--data", str(store)], ["--out", str(folder / name)]
    commands = [
        ["pretrain", *data, "--out", str(run), "--protocol", f"sub {name}", *PRETRAIN],
        ["show", str(store)],
        ["show", str(store), "--index", "1"],
        ["show", str(store), "--index", "nothing"],
        ["show", str(folder / f"none {name}")],
        ["evaluate", "knn", "--run", str(run), *data],
        ["evaluate", "knn", "--run", str(run), *data, "--protocol", name],
        ["evaluate", "linear", "--run", str(run), str(run / "encoder.safetensors"), *data],
        ["evaluate", "all", "--run", str(run), *data, "--protocol", f"sub {name}"],
        ["report", str(run), str(folder / f"none {name}"), *out],
        ["features", "--run", str(run), *data, "--out", str(folder / f"{name}.npz")],
        ["prepare", str(folder / f"{name}.bvh"), str(folder / "new")],
        ["export", "--run", str(folder / name), *out],
    ]
    said = []
    for command in commands:
        stream, errors = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
        with redirect_stdout(stream), redirect_stderr(errors):
            code = main(command)
            stream.flush()
        said.append((code, stream.buffer.getvalue().decode(), errors.getvalue()))
    return said


def report(name: str) -> dict[str, Any]:
    """What ``prepare`` leaves in a store, full of a name."""
    return {
        **{"source": name, "format": "folder", "units": 3, "frames_read": 9, "read": 2, "kept": 1},
        **{"dropped": [{"name": name, "reason": name}], "bad": [f"{name}: damaged", name]},
        **{"left_out": 1, "left_out_why": name, "bodies": {"1": 2}, "notes": {name: 2}},
        "jumps": {"steps": 1, "sequences": 1, "worst": [[name, 1]], "limit": name},
    }


def test_names_do_not_break_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    some = {key: TASKS[key] for key in ("linear", "knn", "fewshot")}
    monkeypatch.setattr("pcm3.evaluation.evaluate.TASKS", some)
    told = {}
    for kind, name in (("tame", "wave"), ("breaking", BREAKING)):
        (tmp_path / kind).mkdir()
        told[kind] = all_that_is_said(tmp_path / kind, name)
    for tame, breaking in zip(*told.values(), strict=True):
        assert breaking[0] == tame[0]
        for plain, broken in zip(tame[1:], breaking[1:], strict=True):
            assert broken.count("\n") == plain.count("\n"), broken
            assert steering(broken) == []
            assert ("wave" in plain) == (r"wave\n" in broken), broken


SCRIPT = """
import sys
from importlib.machinery import SourceFileLoader

{setup}
from pcm3.cli import main

for command in {commands!a}:
    try:
        code = main(command)
    except SystemExit as end:
        code = end.code or 0
    print(f"\\nended with {{code}}", flush=True)
"""
STRIPPED = """
get_code = SourceFileLoader.get_code

def without_docstrings(loader, name):
    if name.partition(".")[0] != "pcm3":
        return get_code(loader, name)
    file = loader.get_filename(name)
    return compile(loader.get_data(file), file, "exec", dont_inherit=True, optimize=2)

SourceFileLoader.get_code = without_docstrings
"""


def run(*options: str, commands: list[list[str]], setup: str = "") -> tuple[bytes, bytes]:
    """What commands print on a terminal of ASCII, all in one process of Python with options."""
    done = subprocess.run(
        [sys.executable, *options, "-c", SCRIPT.format(setup=setup, commands=commands)],
        env=os.environ | ASCII,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout, done.stderr


def test_terminals_of_ascii(store: Path) -> None:
    show = ["show", str(store)]
    commands = [show, [*show, "--json", "--index", "5"], [*show, "--index", "\u00e9"]]
    out, errors = run(commands=commands)
    assert re.findall(rb"ended with (\d)", out) == [b"0", b"0", b"2"]
    assert b"Traceback" not in errors
    assert (out + errors).isascii()


@pytest.mark.parametrize(
    ("options", "setup"),
    [
        ([], f"{STRIPPED}import pcm3.errors; assert pcm3.errors.__doc__ is None"),
        pytest.param(["-OO"], "", marks=pytest.mark.slow),  # torch and all others are compiled too
    ],
    ids=["of pcm3", "of all"],
)
def test_help_without_docstrings(options: list[str], setup: str) -> None:
    commands = [["--help"], ["pretrain", "--help"], ["evaluate"], ["evaluate", "knn", "--help"]]
    out, _ = run(*options, commands=commands, setup=setup)
    assert re.findall(rb"ended with (\d)", out) == [b"0"] * 4
    *helps, rest = re.split(rb"\nended with \d\n", out)
    assert rest == b""
    assert all(b"usage" in each for each in helps)
