"""Every JSON file that the library writes, damaged, through every command that reads it.

A command goes on without the file or ends with one line that names it, and never with a traceback.
"""

from __future__ import annotations

import io
import json
import random
import shutil
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from mutators import edit_value, mutate_json

from pcm3.cli import main
from pcm3.data.prepare import prepare
from pcm3.data.store import Store
from pcm3.data.synthetic import synthetic_sequences
from pcm3.evaluation import evaluate, kept
from pcm3.evaluation.tasks.detection.detection import DetectionSettings
from pcm3.evaluation.tasks.fewshot import FewShotSettings
from pcm3.evaluation.tasks.finetune import FinetuneSettings
from pcm3.evaluation.tasks.prediction.prediction import PredictionSettings
from pcm3.evaluation.tasks.registry import TASKS, check_result
from pcm3.evaluation.tasks.robustness import RobustnessSettings
from pcm3.evaluation.tasks.semi import SemiSettings
from pcm3.runs.results import read_result, write_result
from pcm3.skeleton import SBU15

QUICK, SLOW = 2, 150  # damages of each file

READERS = {
    "meta.json": ["show", "features", "evaluate all", "pretrain"],
    "report.json": ["show"],
    "config.json": ["report", "evaluate all", "pretrain", "pretrain from"],
    "metrics.jsonl": ["pretrain"],
    **{task: ["report", "evaluate all"] for task in TASKS},
}
"""A file, results by their task, to the commands that read it."""

SETTINGS: dict[str, Callable[[], Any]] = {
    "finetune": partial(FinetuneSettings, epochs=1),
    "semi": partial(SemiSettings, fractions=(0.25, 0.5), draws=2, epochs=1),
    "robustness": partial(RobustnessSettings, ratios=(0.5,), noise=(0.1,), strides=(2,)),
    "detection": partial(DetectionSettings, epochs=1),
    "fewshot": partial(FewShotSettings, ways=2, shots=(1, 2), queries=2, episodes=3),
    "prediction": partial(PredictionSettings, observed=6, predicted=3, horizons=(2,), epochs=1),
}
PRETRAIN = [
    *("--model.hidden", "4", "--model.layers", "1", "--model.frames", "8"),
    *("--model.queue-size", "16", "--model.decoder-hidden", "4", "--model.embedding", "4"),
    *("--train.batch-size", "4", "--train.knn-every", "0", "--train.accelerator", "cpu"),
    *("--train.epochs", "2"),
]


class Corpus(NamedTuple):
    """Stores and a run with results of all tasks.

    Attributes:
        folder: Where they are.
        files: The JSON files by what they are called in ``READERS``.
        whole: What is in each as it was written.
    """

    folder: Path
    files: dict[str, Path]
    whole: dict[Path, bytes]

    def check(self, name: str, command: str, number: int) -> None:
        """Damage a file, and see that a command says so, or goes on."""
        file = self.files[name]
        damaged = damage(self.whole[file], random.Random(f"{name} {number}"))
        file.write_bytes(damaged)
        try:
            code, said = self.call(command, name)
        finally:
            for each, data in self.whole.items():
                each.write_bytes(data)
        what = f"{command}, {name} {number}: {damaged[:300]!r}\n{said[-1000:]}"
        if command == "report" or (command == "evaluate all" and name in TASKS):
            assert code == 0, what
        elif code:
            # settings that are whole but others are told as if they had been meant
            others = ("holds a run with other settings", "unknown protocol")
            named = file.name in said or any(other in said for other in others)
            assert code == 2, what
            assert named, what
            assert said.count("pcm3: error: ") == 1, what

    def call(self, command: str, name: str) -> tuple[int, str]:
        """The exit code, and what was said on standard error; mistakes of ours are raised."""
        run, store = self.folder / "run", self.folder / "store"
        if name in TASKS and TASKS[name].needs == "frame labels":
            store = self.folder / "untrimmed"
        arguments = {
            "report": ["report", *self.reported(name), "--out", f"{self.folder}/report"],
            "evaluate all": ["evaluate", "all", "--run", run, "--data", store],
            "show": ["show", store],
            "features": ["features", "--run", run, "--data", store, "--out", f"{run}.npz"],
            "pretrain": ["pretrain", "--data", store, "--out", run, *PRETRAIN],
            "pretrain from": [
                *("pretrain", "--from", run, "--data", store, "--out", self.folder / "new"),
                *("--train.epochs", "1", "--dry-run"),
            ],
        }[command]
        out, said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8"), io.StringIO()
        with redirect_stdout(out), redirect_stderr(said):
            code = main([*map(str, arguments)])
            out.flush()
        return code, said.getvalue()

    def reported(self, name: str) -> list[Path]:
        """A run with one file of results, the damaged one, and another run."""
        one, other = self.folder / "one", self.folder / "other"
        shutil.rmtree(one, ignore_errors=True)
        (one / "results").mkdir(parents=True)
        shutil.copy(self.files["config.json"], one)
        result = self.files[name if name in TASKS else "fewshot"]
        shutil.copy(result, one / "results")
        return [one, other]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corpus]:
    folder = tmp_path_factory.mktemp("corpus")
    tasks = {
        name: replace(task, settings=SETTINGS.get(name, task.settings))
        for name, task in TASKS.items()
    }
    with pytest.MonkeyPatch.context() as patch:
        for module in (evaluate, kept):
            patch.setattr(module, "TASKS", tasks)
        files = write_corpus(folder)
        whole = {file: file.read_bytes() for file in files.values()}
        results = {task: read_result(files[task], check_result) for task in TASKS}
        # what is evaluated anew is what it was, without the time that it takes
        patch.setattr(evaluate, "evaluate_runs", lambda task, *_, **__: results[task])
        yield Corpus(folder, files, whole)


def write_corpus(folder: Path) -> dict[str, Path]:
    for name in ("store", "untrimmed"):
        np.savez(folder / "data.npz", **arrays(untrimmed=name == "untrimmed"))
        prepare(folder / "data.npz", folder / name, workers=1)
    run, store = folder / "run", folder / "store"
    assert main(["pretrain", "--data", str(store), "--out", str(run), *PRETRAIN]) == 0
    files = {name: run / name for name in ("config.json", "metrics.jsonl")}
    files |= {name: store / name for name in ("meta.json", "report.json")}
    for name, task in TASKS.items():
        data = Store(folder / "untrimmed" if task.needs == "frame labels" else store)
        settings = SETTINGS.get(name, task.settings)()
        found = evaluate.evaluate_runs(name, [run], data, "xsub", settings)
        written = kept.result_file(found, [run])
        assert written is not None
        write_result(written, found)
        files[name] = written
    (folder / "other" / "results").mkdir(parents=True)
    shutil.copy(files["fewshot"], folder / "other" / "results")
    return files


def arrays(untrimmed: bool) -> dict[str, Any]:
    rows = list(
        synthetic_sequences(
            sequences=24, classes=3, subjects=4, skeleton=SBU15, frames=(12, 20), missing=0
        )
    )
    lengths = np.array([len(row.frames) for row in rows])
    labels = np.array([row.label for row in rows])
    found: dict[str, Any] = {
        "joints": np.concatenate([row.frames for row in rows]),
        "lengths": lengths,
        "class_names": np.array(["wave", "bow", "kick"]),
        "joint_names": np.array(SBU15.joints),
        "parents": np.array(SBU15.parents),
        "subjects": np.array([row.columns["subjects"] for row in rows]),
    }
    if not untrimmed:
        return found | {"labels": labels}
    segments = np.stack([np.arange(24), np.zeros(24, int), lengths, labels], axis=1)
    return found | {"frame_labels": labels.repeat(lengths), "segments": segments}


def damage(data: bytes, rng: random.Random) -> bytes:
    """Bytes that are not what was written, most of them JSON."""
    kind = rng.randrange(10)
    at = rng.randrange(len(data))
    if kind == 0:
        return data[:at] + rng.choice((b"\xff", b"\xed\xa0\x80", b"\x00")) + data[at:]
    if kind == 1:
        return data[:at]
    if kind == 2:  # any value, nested deep
        deep = rng.choice((60, 900, 100_000))
        first, middle, rest = rng.choice((bytes.partition, bytes.rpartition))(data, b": ")
        return first + middle + b"[" * deep + b"]" * deep + b', "other": ' + rest
    lines = data.splitlines()
    if not lines[0].endswith(b"}"):
        return mutate_json(data, rng) if kind == 3 else dump(edit_value(json.loads(data), rng))
    row = rng.randrange(len(lines))  # JSON on each line
    if kind < 5:
        del lines[row]
    else:
        lines[row] = dump(edit_value(json.loads(lines[row]), rng))
    return b"\n".join([*lines, b""])


def dump(value: Any) -> bytes:
    try:
        return json.dumps(value).encode()
    except ValueError:  # an integer of too many digits
        return b'{"other": ' + b"9" * 5000 + b"}"


PAIRS = [(name, command) for name, commands in READERS.items() for command in commands]


@pytest.mark.parametrize(("name", "command"), PAIRS)
def test_some_damaged_files(corpus: Corpus, name: str, command: str) -> None:
    for number in range(QUICK):
        corpus.check(name, command, number)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "command"), PAIRS)
def test_many_damaged_files(corpus: Corpus, name: str, command: str) -> None:
    for number in range(QUICK, SLOW):
        corpus.check(name, command, number)


def test_commands_read_them(corpus: Corpus) -> None:
    """Each command fails, or says that a result is damaged, where a file is no text."""
    for name, command in PAIRS:
        corpus.files[name].write_bytes(b"\xff\n")
        code, said = corpus.call(command, name)
        corpus.files[name].write_bytes(corpus.whole[corpus.files[name]])
        assert corpus.files[name].name in said, (name, command, said)
        goes_on = command == "report" or (command == "evaluate all" and name in TASKS)
        assert code == (0 if goes_on else 2), (name, command)
