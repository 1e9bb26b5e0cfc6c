"""Results on file: written and read back, those of older versions, and damaged ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pcm3.errors import SkeletonFormatError
from pcm3.runs.results import (
    Result,
    RunAbout,
    changed_settings,
    plain_settings,
    read_result,
    write_result,
)

ABOUT = RunAbout(
    run="joint", encoder="a1", protocol="xsub", test_sequences_seen=0, headline={"top1": 0.5}
)
RESULT = Result(
    task="linear",
    store="data",
    store_fingerprint="b2",
    protocol="xsub",
    settings={"solver": "logistic", "probe": {"epochs": None, "drops": [1, 2]}},
    allow_normalization=True,
    max_frames=300,
    left_out={"frames": 12, "sequences": 1},
    data={"sequences": 9, "frames": 99},
    train_sequences=5,
    test_sequences=4,
    class_names=["wave", "bow"],
    seconds=1.5,
    device="cpu",
    metrics={"top1": 0.75, "per_class": [0.5, None], "mpjpe_mm_by_horizon": {"2": 10.5}},
    notes=["few"],
    weights=[0.25, 0.75],
    runs=[ABOUT, replace(ABOUT, run="bone", epoch=300)],
    details={"labels": [0, 1]},
)
OLDEST: dict[str, Any] = {
    "command": "evaluate linear",
    "store": "data",
    "protocol": "xsub",
    "settings": {},
    "test_sequences": 9,
    "class_names": [],
    "metrics": {"top1": 0.5},
    "weights": [1.0],
    "runs": [{"run": "joint"}],
    "details": {},
}
"""What results have held since the first version."""


def accept(_: Result) -> None:
    """Any task will do."""


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    write_result(tmp_path / "a.json", RESULT)
    assert read_result(tmp_path / "a.json", accept) == RESULT


def test_the_file_is_what_programs_know(tmp_path: Path) -> None:
    """Names and their order, an entry a line; an epoch only of an encoder that has one."""
    write_result(tmp_path / "a.json", RESULT)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    content = json.loads(text)
    assert content == RESULT.to_json()
    assert list(content) == [
        *("command", "store", "store_fingerprint", "protocol", "settings", "allow_normalization"),
        *("max_frames", "left_out", "data", "train_sequences", "test_sequences", "class_names"),
        *("seconds", "device", "metrics", "notes", "weights", "runs", "details"),
    ]
    assert text.count("\n") == len(content) + 2
    assert content["command"] == "evaluate linear"
    known = {"encoder": "a1", "protocol": "xsub", "test_sequences_seen": 0, "top1": 0.5}
    assert content["runs"] == [{"run": "joint"} | known, {"run": "bone", "epoch": 300} | known]


def test_results_of_older_versions(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(OLDEST | {"of a later version": 1}))
    result = read_result(tmp_path / "a.json", accept)
    assert (result.task, result.metrics, result.runs) == (
        *("linear", {"top1": 0.5}, [RunAbout(run="joint")]),
    )
    assert (result.notes, result.data, result.left_out) == ([], {}, None)


@pytest.mark.parametrize(
    ("changes", "facts"),
    [
        ({"store": 7}, ("store", "7")),
        ({"runs": []}, ("0 runs", "1")),
        ({"runs": [{"run": None}]}, ("runs[0].run", "None")),
        ({"runs": [{"epoch": 3}]}, ("runs[0].run",)),
        ({"runs": [{"run": "a", "epoch": "3"}]}, ("runs[0].epoch", "'3'")),
        ({"weights": [0.5, 0.5]}, ("1 runs", "2")),
        ({"metrics": {"top1": "high"}}, ("metrics.top1", "'high'")),
        ({"metrics": {"per_class": [0.5]}}, ("per_class", "0", "1")),
        ({"settings": {"k": [[1]]}}, ("settings.k",)),
        ({"command": None}, ("command", "None")),
    ],
)
def test_damaged_results(tmp_path: Path, changes: dict[str, Any], facts: tuple[str, ...]) -> None:
    (tmp_path / "a.json").write_text(json.dumps(OLDEST | changes))
    with pytest.raises(SkeletonFormatError) as error:
        read_result(tmp_path / "a.json", accept)
    assert all(fact in str(error.value) for fact in (str(tmp_path / "a.json"), *facts))


@pytest.mark.parametrize("name", OLDEST)
def test_what_has_always_been_there_must_be(tmp_path: Path, name: str) -> None:
    rest = {key: value for key, value in OLDEST.items() if key != name}
    (tmp_path / "a.json").write_text(json.dumps(rest))
    with pytest.raises(SkeletonFormatError, match=f"a.json.*{name}"):
        read_result(tmp_path / "a.json", accept)


def test_what_the_task_refuses_is_named_with_its_file(tmp_path: Path) -> None:
    def refuse(result: Result) -> None:
        raise ValueError(f"no {result.task} today")

    write_result(tmp_path / "a.json", RESULT)
    with pytest.raises(SkeletonFormatError, match=r"a\.json: no linear today"):
        read_result(tmp_path / "a.json", refuse)


def test_changed_settings() -> None:
    defaults = {"k": 5, "probe": {"lr": 0.1, "drops": None}, "shares": [1, 2]}
    given = {"k": 5, "probe": {"lr": 0.2, "drops": None}, "shares": [1], "new": {"on": True}}
    assert changed_settings(given, defaults) == {"probe.lr": 0.2, "shares": [1], "new.on": True}


def test_settings_of_every_task_are_plain() -> None:
    from pcm3.evaluation.tasks.registry import TASKS

    for task in TASKS.values():
        plain = plain_settings(task.settings())
        assert json.loads(json.dumps(plain)) == plain
        assert "masks" not in plain
        assert "pku_files" not in plain
