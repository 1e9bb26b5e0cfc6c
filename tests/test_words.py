"""Subjects with names, from files through training to results."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_cli import Capture, one_error, packed, pretrain, run_json

from pcm3.cli import main
from pcm3.data import Store

NAMES = ("anna", "ben", "Cleo D.", "it's me")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of four subjects, and a run on two of them."""
    folder = tmp_path_factory.mktemp("words")
    plain = np.load(packed(folder / "plain.npz"))
    subjects = np.array(NAMES)[plain["subjects"] - 1]
    np.savez(folder / "words.npz", **{**plain, "subjects": subjects})
    assert main(["prepare", f"{folder}/words.npz", f"{folder}/store"]) == 0
    run = pretrain(folder / "store", folder / "run", "--train.epochs", "1")
    assert main([*run, "--protocol", "subjects:anna,Cleo D."]) == 0
    return folder


def test_protocols_by_names(folder: Path, capsys: Capture) -> None:
    settings = json.loads((folder / "run" / "config.json").read_text())
    assert settings["seen"][0]["protocol"] == "subjects:anna,Cleo D."
    capsys.readouterr()
    knn = ["evaluate", "knn", "--run", f"{folder}/run", "--data", f"{folder}/store", "--k", "1"]
    result = run_json(capsys, knn)
    assert result["protocol"] == "subjects:anna,Cleo D."
    result = run_json(capsys, [*knn, "--protocol", "subjects:it's me"])
    assert result["protocol"] == "subjects:it's me"
    line = one_error(capsys, [*knn, "--protocol", "subjects:bén"])
    assert line.endswith("among Cleo D., anna, ben, it's me, got 'bén'; did you mean ben?")


def test_the_run_goes_on_under_its_protocol(folder: Path, capsys: Capture) -> None:
    arguments = pretrain(folder / "store", folder / "run", "--train.epochs", "1")
    assert main([*arguments, "--protocol", "subjects:anna,Cleo D."]) == 0
    assert "1 epoch trained, 1 of them" in capsys.readouterr().out


def test_whom_xsub_trains_on_is_said_and_kept(folder: Path, capsys: Capture) -> None:
    said = "the subjects are words; by alphabetical order anna, it's me train and"
    run = folder / "xsub"
    assert main(pretrain(folder / "store", run, "--train.epochs", "1")) == 0
    assert f"note: {folder}/store: xsub: {said} Cleo D., ben test" in capsys.readouterr().err
    assert main(["evaluate", "knn", "--run", str(run), "--data", f"{folder}/store"]) == 0
    assert f"note: xsub: {said}" in capsys.readouterr().err
    (file,) = (run / "results").iterdir()
    (note,) = json.loads(file.read_text())["notes"]
    assert said in note


def test_a_protocol_for_each_of_two_stores(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    assert main(["prepare", f"{folder}/plain.npz", f"{tmp_path}/plain"]) == 0
    arguments = pretrain(folder / "store", tmp_path / "run", "--train.epochs", "1")
    at = arguments.index(f"{folder}/store")
    arguments.insert(at + 1, f"{tmp_path}/plain")
    assert main([*arguments, "--protocol", "subjects:it's me", "subjects:1,2"]) == 0
    settings = json.loads((tmp_path / "run" / "config.json").read_text())
    protocols = ["subjects:it's me", "subjects:1,2"]
    assert [each["protocol"] for each in settings["seen"]] == protocols
    capsys.readouterr()
    line = one_error(capsys, [*arguments, "--protocol", "xsub", "subjects:1", "all"])
    assert "expected one protocol, or one for each of 2 stores" in line


def test_features_carry_the_words(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "features.npz"
    arguments = ["features", "--run", f"{folder}/run", "--data", f"{folder}/store"]
    assert main([*arguments, "--out", str(out)]) == 0
    store = Store(folder / "store")
    with np.load(out) as found:
        assert found["subjects"].tolist() == store.values("subjects").tolist()
        assert set(found["subjects"]) == set(NAMES)
        assert found["views"].tolist() == store.columns["views"].tolist()
    capsys.readouterr()
    summary = run_json(capsys, ["show", f"{folder}/store", "--index", "0"])["metrics"]
    assert summary["columns"]["subjects"] in NAMES


def test_a_run_of_before_on_a_store_that_is_prepared_anew(folder: Path, capsys: Capture) -> None:
    """It was trained by a code that the store no longer has: what it saw is not known."""
    config = folder / "run" / "config.json"
    text = config.read_text()
    config.write_text(text.replace("subjects:anna,Cleo D.", "subjects:1"))
    record = (folder / "run" / "seen.npz").rename(folder / "seen.npz")
    knn = ["evaluate", "knn", "--run", f"{folder}/run", "--data", f"{folder}/store", "--k", "1"]
    try:
        capsys.readouterr()
        assert "expected subjects among Cleo D., anna, ben, it's me" in one_error(capsys, knn)
        assert main([*knn, "--protocol", "subjects:ben"]) == 0
        assert "note: whether pretraining has seen" in capsys.readouterr().err
        result = json.loads(
            (folder / "run" / "results" / "knn_k-1_store_subjects_ben.json").read_text()
        )
        assert result["runs"][0]["test_sequences_seen"] is None
    finally:
        config.write_text(text)
        record.rename(folder / "run" / "seen.npz")
