"""Encoders and methods of one's own, from the command line and back from their runs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import forks
import pytest
from forks import Ended

from pcm3.cli import main
from pcm3.data.synthetic import generate
from pcm3.encoders.files import load_encoder
from pcm3.errors import SkeletonFormatError

ROOT = Path(__file__).parents[1]

ENCODER = '''
import torch
from torch import nn
from pcm3.encoders import Encoder

print("the code of toys.nets runs")

class Mean(Encoder):
    """The mean of a linear map of the coordinates of each frame."""

    def __init__(self, skeleton, in_channels=3, persons=2, hidden=8, scale=1.0):
        super().__init__(len(skeleton), in_channels, persons, "mean")
        self.out_features = hidden
        self.scale = scale
        self.linear = nn.Linear(in_channels * len(skeleton) * persons, hidden)

    def forward(self, clips, prompt=None):
        clips = clips if prompt is None else clips + prompt[:, None]
        return self.scale * self.linear(clips.permute(0, 2, 1, 3, 4).flatten(2))


class Swapped(Mean):
    """Takes its arguments in another order."""

    def __init__(self, skeleton, persons=1, in_channels=3):
        super().__init__(skeleton, in_channels, persons)
'''

METHOD = '''
from dataclasses import dataclass

from pcm3.methods import Method, Output
from pcm3.methods.settings import EncoderSettings
from pcm3.skeleton import to_stream

@dataclass(frozen=True)
class LengthSettings(EncoderSettings):
    """What is trained."""

    length: float = 1.0
    """Length that features are to have."""

class Length(Method):
    """Features of one length, for want of something better."""

    Settings = LengthSettings

    def __init__(self, encoder, skeleton, settings=None, **changes):
        super().__init__(encoder, skeleton, settings, changes)

    def make_views(self, clips, lengths=None, generator=None):
        return to_stream(clips, self.skeleton, self.stream)

    def loss(self, views):
        features = self.encoder.pool(self.encoder(views))
        loss = (features.norm(dim=1) - self.settings.length).square().mean()
        return Output(loss, {"length": loss.detach()})
'''


BATCH = ("--train.batch-size", "4")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own")
    (folder / "toys").mkdir()
    (folder / "toys" / "__init__.py").touch()
    (folder / "toys" / "nets.py").write_text(ENCODER)
    (folder / "toys" / "methods.py").write_text(METHOD)
    generate(folder / "store", sequences=24, subjects=4, views=1, classes=2, frames=(16, 20))
    call(
        *(folder, "pretrain", "--method", "toys.methods:Length"),
        *("--model.encoder", "toys.nets:Mean", "--model.encoder-arguments", "scale=0.5"),
        *("--model.hidden", "6", "--model.length", "2", "--train.epochs", "1"),
        *(*BATCH, "--train.lr", "0.001", "--data", "store", "--out", "run"),
    )
    return folder


def call(folder: Path, *arguments: str) -> Ended:
    done = attempt(folder, *arguments)
    assert done.returncode == 0, done.stderr
    return done


def attempt(folder: Path, *arguments: str) -> Ended:
    return forks.call(forks.command, folder, *arguments)


def test_the_run_keeps_import_paths_and_arguments(folder: Path) -> None:
    config = json.loads((folder / "run" / "config.json").read_text())
    assert config["method"] == "toys.methods:Length"
    assert config["model"]["encoder"] == "toys.nets:Mean"
    assert (config["model"]["length"], config["model"]["hidden"]) == (2.0, 6)
    assert config["model"]["encoder_arguments"] == ["scale=0.5"]


@pytest.mark.parametrize(
    "command",
    [
        ("evaluate", "knn", "--run", "run", "--data", "store", "--json"),
        ("features", "--run", "run", "--data", "store", "--out", "features.npz"),
        ("export", "--run", "run", "--out", "encoder.pt2"),
    ],
)
def test_nothing_is_imported_unless_a_person_names_it(
    folder: Path, command: tuple[str, ...]
) -> None:
    refused = attempt(folder, *command)
    assert refused.returncode == 2
    assert "toys.nets" in refused.stderr
    assert "--allow-import" in refused.stderr
    assert "code of toys.nets runs" not in refused.stdout
    assert not (folder / command[-1]).exists()
    allowed = call(folder, *command, "--allow-import", "toys.nets")
    assert "code of toys.nets runs" in allowed.stdout


def test_the_working_folder_is_searched_only_for_a_module_that_was_named(folder: Path) -> None:
    (folder / "rerun.py").write_text('print("the code of a stranger runs")\n')
    script = "import sys; from pcm3.cli import main; main(sys.argv[1:]); print(sys.path[-1])"
    for options, searched in (([], False), (["--allow-import", "toys.nets"], True)):
        done = subprocess.run(
            [sys.executable, "-c", script, "show", "store", *options],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            check=True,
        )
        assert (done.stdout.splitlines()[-1] == str(folder)) == searched
        assert "stranger" not in done.stdout


def test_report_and_continuation(folder: Path) -> None:
    call(
        *(folder, "evaluate", "linear", "--run", "run", "--data", "store"),
        *("--allow-import", "toys.nets"),
    )
    report: dict[str, Any] = json.loads(
        call(folder, "report", "run", "--json").stdout.splitlines()[-1]
    )
    assert report["metrics"]
    longer = (
        *("pretrain", "--from", "run", "--data", "store", "--out", "longer"),
        *("--train.epochs", "1", *BATCH),
    )
    refused = attempt(folder, *longer)
    assert refused.returncode == 2
    assert "toys.methods" in refused.stderr
    call(folder, *longer, "--allow-import", "toys.methods", "--allow-import", "toys.nets")


SWEEP = """
seeds = [0]

[common]
data = "store"
train = {epochs = 0, batch_size = 4}
model = {hidden = 4, layers = 1}

[[variations]]
name = "plain"
preset = "small-simclr"

[[variations]]
name = "own"
method = "toys.methods:Length"

[[variations]]
name = "net"
model.encoder = "toys.nets:Mean"

[[evaluations]]
task = "knn"
"""


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_every_process_of_a_sweep_may_import_what_the_file_names(folder: Path, jobs: str) -> None:
    (folder / "own.toml").write_text(SWEEP)
    out = f"sweep-{jobs}"
    allowed = ("--allow-import", "toys.methods", "--allow-import", "toys.nets")
    call(folder, "sweep", "own.toml", "--out", out, "--jobs", jobs, *allowed)
    for name in ("plain", "own", "net"):
        assert [*(folder / out / f"{name}-seed0" / "results").glob("knn*")], name


def test_in_python_the_class_has_to_be_imported_first(folder: Path) -> None:
    with pytest.raises(SkeletonFormatError, match=r"toys\.nets:Mean"):
        load_encoder(folder / "run")
    script = (
        "import sys; sys.path.insert(0, '.'); import toys.nets; from pcm3.hub import load_encoder; "
        "encoder = load_encoder('run').encoder; print(type(encoder).__name__, encoder.scale)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "Mean 0.5"


@pytest.mark.parametrize(
    ("changes", "fact"),
    [
        (("--model.encoder", "toys.nets:Nothing"), "toys.nets:Nothing"),
        (("--model.encoder", "toys.nets:torch"), "toys.nets:torch"),
        (("--model.encoder", "nowhere.nets:Mean"), "nowhere"),
        (("--model.encoder", "toys.nets:Mean", "--model.encoder-arguments", "sale=2"), "sale"),
        (("--model.encoder", "toys.nets:Mean", "--model.encoder-arguments", "scale"), "scale"),
        (("--method", "toys.methods:Nothing"), "toys.methods:Nothing"),
        (("--method", "nothing"), "pcm3, mamp, simclr"),
        (("--model.encoder", "toys.nets:Swapped"), "3 channels and 1 persons"),
    ],
)
def test_what_is_refused(
    folder: Path,
    changes: tuple[str, ...],
    fact: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    path, modules = list(sys.path), set(sys.modules)
    command = ["pretrain", *changes, *BATCH, "--data", "store", "--out", "refused"]
    try:
        with pytest.raises(SystemExit, match="2"):
            sys.exit(main(command))  # some options end the command as they are read
    finally:  # as if nobody had imported them
        sys.path[:] = path
        for name in set(sys.modules) - modules:
            if name.startswith("toys"):
                del sys.modules[name]
    assert fact in capsys.readouterr().err
    assert not (folder / "refused").exists()


OWN = ("--allow-import", "toys.methods", "--allow-import", "toys.nets")


@pytest.fixture
def copied(folder: Path, tmp_path: Path) -> Path:
    """A folder with the code and the store, whose code may be changed."""
    for name in ("toys", "store"):
        shutil.copytree(folder / name, tmp_path / name)
    return tmp_path


def change(folder: Path) -> None:
    """Change the loss."""
    file = folder / "toys" / "methods.py"
    text = file.read_text()
    file.write_text(text.replace("square().mean()", "abs().mean()"))
    assert file.read_text() != text


def test_code_that_has_changed_is_told_when_a_run_continues(copied: Path) -> None:
    run = copied / "run"
    command = ("pretrain", "--method", "toys.methods:Length", "--model.hidden", "4", *BATCH)
    command += ("--model.encoder", "toys.nets:Mean", "--train.epochs", "1")
    command += ("--data", "store", "--out", "run")

    def code() -> dict[str, list[str]]:
        kept: dict[str, list[str]] = json.loads((run / "config.json").read_text())["code"]
        return kept

    call(copied, *command)
    before = code()
    assert before.keys() == {"toys.methods", "toys.nets"}
    assert "code of" not in call(copied, *command).stderr
    change(copied)
    told = call(copied, *command).stderr
    assert "the code of toys.methods has changed" in told
    assert "finished" in told
    assert code() == before
    (run / "encoder.safetensors").unlink()  # as if it had been stopped
    told = call(copied, *command).stderr
    assert "the code of toys.methods has changed" in told
    assert "continues with the new code" in told
    after = code()
    assert after["toys.nets"] == before["toys.nets"]
    assert after["toys.methods"][:1] == before["toys.methods"] != after["toys.methods"][1:]
    assert len(after["toys.methods"]) == 2
    assert "code of" not in call(copied, *command).stderr


def test_seeds_of_changed_code_are_not_joined(copied: Path) -> None:
    head, _, own, _, tail = re.split(r"(?=\[\[)", f'baseline = "own"\n{SWEEP}')
    text = head + own + tail

    def report(seeds: str) -> dict[str, list[str]]:
        (copied / "own.toml").write_text(text.replace("[0]", seeds))
        call(copied, "sweep", "own.toml", "--out", "sweep", *OWN)
        data = json.loads((copied / "sweep" / "report" / "report.json").read_text())
        columns: dict[str, list[str]] = {}
        for each in data["results"]:
            columns.setdefault(each["column"], []).append(each["run"])
        assert {each["column"] for each in data["comparison"]} == {*columns}
        return columns

    assert report("[0, 1]")["own"] == ["own-seed0", "own-seed1"]
    change(copied)
    columns = report("[0, 1, 2]")
    (other,) = columns.keys() - {"own"}
    digest = json.loads((copied / "sweep" / "own-seed2" / "config.json").read_text())["code"]
    assert other == f"own (code of toys.methods {digest['toys.methods'][0]})"
    assert (columns["own"], columns[other]) == (["own-seed0", "own-seed1"], ["own-seed2"])
    runs = [str(copied / "sweep" / f"own-seed{seed}") for seed in range(3)]
    call(copied, "report", *runs, "--out", "report")
    table = (copied / "report" / "report.md").read_text()
    assert "(2 seeds)" in table
    assert f"code of toys.methods {digest['toys.methods'][0]}" in table
    # an older version did not keep digests
    config = Path(runs[0]) / "config.json"
    settings = json.loads(config.read_text())
    del settings["code"]
    config.write_text(json.dumps(settings))
    call(copied, "report", *runs, "--out", "report")
    table = (copied / "report" / "report.md").read_text()
    assert "seeds)" not in table
    assert "code of toys.methods unknown" in table
