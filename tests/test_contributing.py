"""What CONTRIBUTING.md says of a new method, encoder, reader and task is enough, to the letter.

A copy of the package gets a small one of each: the file, and the one line that names it.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from pcm3.data import Store

ROOT = Path(__file__).parents[1]

READER = '''
"""Toy: a folder of text files, a frame of fifteen joints on each line."""

from functools import partial
from pathlib import Path

import numpy as np

from pcm3.data.protocols import Protocol
from pcm3.data.readers.base import Recording, Source
from pcm3.io.reading import fail, files_below, parsing
from pcm3.skeleton import SBU15


def detect(path):
    """Whether a folder has files that end in .toy."""
    return any(file.suffix == ".toy" for file in files_below(path))


def read_toy(path, *, factor: float = 1.0):
    """Read toy files.

    Args:
        path: The folder.
        factor: Metres in a unit of the files.
    """

    units = sorted(file for file in files_below(Path(path)) if file.suffix == ".toy")
    xsub = {"xsub": Protocol("subjects", (1, 3))}
    read = partial(_read_unit, factor=factor)
    return Source("toy", SBU15, ("still", "moving"), units, read, protocols=xsub)


def _read_unit(file, factor):
    label, subject = map(int, file.stem.split("-"))
    with parsing(file):
        frames = np.loadtxt(file, dtype=np.float32).reshape(-1, 1, 15, 3)
    if len(frames) < 2:
        fail(file, f"expected two frames or more, got {len(frames)}")
    yield Recording(frames * np.float32(factor), label, {"subjects": subject}, name=file.stem)
'''

ENCODER = '''
"""A mean of coordinates."""

from torch import nn

from pcm3.encoders.base import Encoder


class ToyEncoder(Encoder):
    """A linear map of each frame."""

    def __init__(self, skeleton, in_channels=3, persons=1, hidden=8):
        super().__init__(len(skeleton), in_channels, persons, "mean")
        self.out_features = hidden
        self.linear = nn.Linear(in_channels * len(skeleton) * persons, hidden)

    def forward(self, clips, prompt=None):
        """Encode clips ``(N, C, T, V, M)``."""
        return self.linear(clips.permute(0, 2, 1, 3, 4).flatten(2))
'''

METHOD = '''
"""Toy: features that move slowly."""

from dataclasses import dataclass

from pcm3.methods.base import Method, Output, Preset
from pcm3.methods.recordings import LAPTOP
from pcm3.methods.settings import EncoderSettings, TrainSettings
from pcm3.skeleton import to_stream


@dataclass(frozen=True)
class SlowSettings(EncoderSettings):
    """What Slow trains."""

    weight: float = 1.0
    """Weight of the loss."""


class Slow(Method):
    """Neighbouring frames have like features."""

    Settings = SlowSettings
    name = "slow"

    def __init__(self, encoder, skeleton, settings=None, **changes):
        super().__init__(encoder, skeleton, settings, changes)

    def make_views(self, clips, lengths=None, generator=None):
        """The clips themselves."""
        return to_stream(clips, self.skeleton, self.stream)

    def loss(self, views):
        """How far features move."""
        moved = self.encoder(views).diff(dim=1).square().mean()
        return Output(self.settings.weight * moved, {"moved": moved.detach()})


Slow.presets = {
    "small-slow": Preset(
        SlowSettings(encoder="toy", hidden=6, weight=0.5),
        TrainSettings(epochs=2, batch_size=2, lr=0.01),
        "xsub", LAPTOP, "Slow", parameters=0.001, forward=0.001,
    )
}
'''

TASK = '''
"""Toy: how long recordings are."""

from dataclasses import dataclass

from pcm3.evaluation.tasks.base import Task


@dataclass(frozen=True)
class LengthSettings:
    """What counts as long."""

    least: int = 5
    """Frames of a long recording."""


def evaluate_length(pretrained, training, test, settings):
    """Share of the test sequences that are long."""
    return {"long": float((test.lengths >= settings.least).mean()), "details": {}}


TASK = Task(
    about="Share of long recordings.",
    settings=LengthSettings,
    evaluate=evaluate_length,
    headline=("long",),
    legend={"long": "share of the test sequences that are long"},
)
'''

# file to the line that changes, and how
LINES = {
    "data/readers/__init__.py": (r"Format = Literal\[\n    ", 'Format = Literal[\n    "toy", '),
    "encoders/__init__.py": (
        r"ENCODERS: dict\[str, type\[Encoder\]\] = \{\n",
        "from pcm3.encoders.toy import ToyEncoder\n\nENCODERS: dict[str, type[Encoder]] = {\n"
        '    "toy": ToyEncoder,\n',
    ),
    "methods/catalog.py": (
        r"(METHODS: dict[^(]*\()",
        r"from pcm3.methods.slow import Slow\n\1Slow, ",
    ),
    "evaluation/tasks/registry.py": (
        r"TASKS: dict\[str, Task\] = \{\n",
        "from pcm3.evaluation.tasks import length\n\nTASKS: dict[str, Task] = {\n"
        '    "length": length.TASK,\n',
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    package = folder / "pcm3"
    shutil.copytree(ROOT / "pcm3", package, ignore=shutil.ignore_patterns("__pycache__"))
    (package / "data/readers/toy.py").write_text(READER)
    (package / "encoders/toy.py").write_text(ENCODER)
    (package / "methods/slow.py").write_text(METHOD)
    (package / "evaluation/tasks/length.py").write_text(TASK)
    for name, (pattern, replacement) in LINES.items():
        text, count = re.subn(pattern, replacement, (package / name).read_text(), count=1)
        assert count == 1, name
        (package / name).write_text(text)
    random = np.random.default_rng(0)
    (folder / "toys").mkdir()
    for subject in (1, 2, 3, 4):
        for label in (0, 1):
            frames = random.normal(size=(4 + subject, 45)) * (label + 1)
            np.savetxt(folder / "toys" / f"{label}-{subject}.toy", frames)
    return folder


SCRIPT = """
import io, json, sys
from contextlib import redirect_stdout
from pcm3.cli import main

said = []
for command in json.loads(sys.argv[1]):
    with redirect_stdout(io.StringIO()) as out:
        try:
            code = main(command)
        except SystemExit as end:
            code = end.code or 0
    if code != 0:
        sys.exit(f"{command}: {code}")
    said.append(out.getvalue())
print(json.dumps(said))
"""
RUN = ("--run", "run", "--data", "store")
COMMANDS = {
    "help of prepare": ("prepare", "--help-all"),
    "prepare": ("prepare", "toys", "store", "--factor", "0.5", "--normalization", "none"),
    "presets": ("presets",),
    "help of pretrain": ("pretrain", "--preset", "small-slow", "--help-all"),
    "pretrain": (
        *("pretrain", "--preset", "small-slow", "--model.weight", "2"),
        *("--data", "store", "--out", "run"),
    ),
    "knn": ("evaluate", "knn", "--k", "2", *RUN, "--json"),
    "help of evaluate": ("evaluate", "--help"),
    "length": ("evaluate", "length", "--least", "7", *RUN),
    "report": ("report", "run"),
}


def call_all(folder: Path) -> dict[str, str]:
    """What the commands print, of the package in a folder; one process imports it for all."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps([*COMMANDS.values()])],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(COMMANDS, json.loads(done.stdout.splitlines()[-1]), strict=True))


def test_from_raw_files_to_a_report(folder: Path) -> None:
    said = call_all(folder)
    assert "--factor" in said["help of prepare"]
    help_text = " ".join(said["help of prepare"].replace("│", "").split())
    assert "Metres in a unit of the files" in help_text
    store = Store(folder / "store")
    first = np.loadtxt(folder / "toys" / "0-1.toy").reshape(-1, 1, 15, 3)
    assert store.names[0] == "0-1"
    np.testing.assert_allclose(store.sequence(0), first / 2, rtol=1e-6)

    assert "small-slow" in said["presets"]
    assert "--model.weight" in said["help of pretrain"]
    config = json.loads((folder / "run" / "config.json").read_text())
    assert (config["method"], config["model"]["encoder"]) == ("slow", "toy")
    assert (config["model"]["weight"], config["model"]["hidden"]) == (2.0, 6)

    knn = json.loads(said["knn"].splitlines()[-1])
    assert 0 <= knn["metrics"]["top1"] <= 1
    assert "Share of long recordings" in said["help of evaluate"]
    assert "long 50.0%" in said["length"]  # of the subjects 2 and 4, with 6 and 8 frames
    text = (folder / "report" / "report.md").read_text()
    assert "| store | xsub | length (least 7) | long | 50.0% |" in text
    assert "share of the test sequences that are long" in text


def test_the_page_names_these_lines() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| an? (\w+) \| (.*) \|$", page, re.MULTILINE))
    assert rows.keys() >= {"method", "encoder", "reader", "task"}
    for kind, (file, home) in {
        "method": ("methods/catalog.py", "methods/NAME.py"),
        "encoder": ("encoders/__init__.py", "encoders/NAME.py"),
        "reader": ("readers/__init__.py", "data/readers/NAME.py"),
        "task": ("tasks/registry.py", "evaluation/tasks/NAME.py"),
    }.items():
        assert file in rows[kind]
        assert f"`pcm3/{home}`" in rows[kind]
        assert any(name.endswith(file) for name in LINES)
