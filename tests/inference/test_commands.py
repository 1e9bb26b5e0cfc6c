"""The commands on classifiers."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import pcm3
from pcm3.cli import main
from pcm3.data import split
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.hub import Pretrained, load_encoder, save_encoder
from pcm3.inference.fit import fit_classifier
from pcm3.inference.predictions import Prediction, write_csv
from pcm3.skeleton import NTU25

Call = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory, pretrained: Pretrained) -> Path:
    file = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    save_encoder(file, pretrained)
    return file


@pytest.fixture
def classifier(tmp_path: Path, encoder: Path, store: Store, call: Call) -> Path:
    file = tmp_path / "classifier.safetensors"
    call("classifier", "--run", encoder, "--data", store.path, "--protocol", "xsub", "--out", file)
    return file


def test_a_classifier_is_kept(
    tmp_path: Path, encoder: Path, store: Store, call: Call, pretrained: Pretrained
) -> None:
    file = tmp_path / "classifier.safetensors"
    said = call(
        *("classifier", "--run", encoder, "--data", store.path, "--protocol", "subjects:1,2"),
        *("--label", "arms", "--how", "knn", "--seed", 3, "--out", file),
    )
    training, _ = split(store, "subjects:1,2")
    expected = fit_classifier(pretrained, store, training, label="arms", how="knn", seed=3)
    found = pcm3.load_classifier(file)
    assert np.array_equal(found.predict_proba(store), expected.predict_proba(store))
    metrics = said["metrics"]
    assert metrics["classes"] == ["high", "low"]
    assert metrics["recordings"] + metrics["unlabelled"] == len(training)
    assert metrics["out_of_fold"] == expected.made["out_of_fold"]
    assert metrics["by_class"] == expected.made["by_class"]
    assert (metrics["temperature"], metrics["protocol"]) == (found.temperature, "subjects:1,2")
    assert found.made["command"][:3] == ["classifier", "--run", str(encoder)]
    assert found.made["store_fingerprint"] == store.fingerprint


def test_without_a_protocol_the_test_part_of_the_run_stays_unseen(
    tmp_path: Path, store: Store, encoder: Path, call: Call
) -> None:
    run = tmp_path / "run"
    call(
        *("pretrain", "--preset", "small", "--train.epochs", 0, "--data", store.path),
        *("--protocol", "xsub", "--train.batch-size", 8, "--out", run),
    )
    out = tmp_path / "classifier.safetensors"
    said = call("classifier", "--run", run, "--data", store.path, "--out", out)
    training, _ = split(store, "xsub")
    assert said["metrics"]["protocol"] == "xsub"
    assert said["metrics"]["recordings"] == int((store.labels[training] >= 0).sum())
    said = call("classifier", "--run", encoder, "--data", store.path, "--out", out, "--overwrite")
    assert said["metrics"]["protocol"] == "all"
    assert said["metrics"]["recordings"] == int((store.labels >= 0).sum())


def test_finetuning_by_the_command(tmp_path: Path, encoder: Path, store: Store, call: Call) -> None:
    file = tmp_path / "classifier.safetensors"
    how = ("--how", "finetune", "--epochs", 1)
    call("classifier", "--run", encoder, "--data", store.path, "--out", file, *how)
    kept, before = pcm3.load_classifier(file), load_encoder(encoder).encoder.state_dict()
    after = kept.pretrained.encoder.state_dict()
    assert any(not np.array_equal(after[name], before[name]) for name in before)


def test_the_estimate_in_words(
    tmp_path: Path, encoder: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of new people if there are subjects; else a column that may be subjects is named."""

    def said(name: str, labels: list[int], **columns: list[int]) -> tuple[list[str], str]:
        path = tmp_path / name
        with StoreWriter(
            path, NTU25, class_names=["a", "b", "c"], fps=30, normalization="center"
        ) as writer:
            for index, label in enumerate(labels):
                of_it = {key: values[index] for key, values in columns.items()}
                writer.add(store.sequence(index), label, **of_it)
        out = str(tmp_path / f"{name}.safetensors")
        command = ["classifier", "--run", str(encoder), "--data", str(path), "--out", out]
        assert main([*command, "--json"]) == 0
        captured = capsys.readouterr()
        *lines, last = captured.out.splitlines()
        metrics = json.loads(last)["metrics"]
        counts, figures = metrics["by_class"], metrics["out_of_fold"]
        excess = figures["mean_probability"] - figures["accuracy"]
        assert abs(excess) > 0.001
        wrong = f"{100 * abs(excess):.1f} percentage points too {'high' if excess > 0 else 'low'}"
        assert any(wrong in line for line in lines)
        right, judged = (sum(each[key] for each in counts.values()) for key in ("right", "judged"))
        assert lines[0].startswith(f"{right} of {judged} labelled recordings")
        for line in lines:
            name, found, rest = line.partition(": ")
            if found and line.startswith("  "):
                each = counts[name.strip()]
                assert rest.startswith(f"{each['right']} of {each['judged']} right")
                assert next(iter(each["taken_for"])) in rest
        return lines, captured.err

    labels = [0, 1] * 8 + [2, 2]
    people = [number % 4 for number in range(16)] + [3, 3]
    lines, notes = said("subjects", labels, subjects=people)
    assert "new people" in lines[0]
    assert "2 of the 18" in lines[1]
    assert lines[1].endswith(": c")
    assert "subjects" not in notes
    lines, notes = said("client", labels, Client=people, quality=people)
    assert "new people" not in lines[0]
    assert "a column subjects" in lines[1]
    assert "column Client" in notes
    assert "column quality" not in notes
    lines, notes = said("some", labels, subjects=[-1, *people[1:]])
    assert "1 of 18 have none" in lines[1]


def test_predictions_as_tables(tmp_path: Path, classifier: Path, store: Store, call: Call) -> None:
    out = tmp_path / "predictions.csv"
    said = call("predict", classifier, store.path, "--out", out)
    labels = pcm3.load_classifier(classifier).predict(store)
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    documented = ["recording", "person", "start", "end", "label", "probability", "labelled"]
    assert list(rows[0]) == [*documented, "start_seconds", "end_seconds"]
    for name in ("start", "end"):  # 30 frames per second
        seconds = [float(row[f"{name}_seconds"]) for row in rows]
        assert seconds == pytest.approx([int(row[name]) / 30 for row in rows], abs=6e-4)
        told = [row[f"{name}_seconds"] for row in said["predictions"]]
        assert seconds == pytest.approx(told, abs=1e-9)
    known = (store.labels >= 0).tolist()
    assert [row["labelled"] for row in rows] == ["yes" if each else "no" for each in known]
    assert [row["labelled"] for row in said["predictions"]] == known
    assert [row["label"] for row in rows] == labels
    assert [row["recording"] for row in rows] == list(store.names)
    assert [int(row["end"]) for row in rows] == store.lengths.tolist()
    assert [row["label"] for row in said["predictions"]] == labels
    assert said["metrics"]["labels"] == {name: labels.count(name) for name in set(labels)}

    one = call("predict", classifier, store.path, "--index", "recording-7", "--top", 2)
    (row,) = one["predictions"]
    assert (row["index"], row["label"]) == (7, labels[7])
    assert len(row["ranked"]) == 2
    sure = call("predict", classifier, store.path, "--threshold", 0, "--out", tmp_path / "p.json")
    assert "unknown" not in sure["metrics"]["labels"]
    assert json.loads((tmp_path / "p.json").read_text()) == sure["predictions"]


def test_the_screen_shows_the_least_sure_labels_of_many(
    tmp_path: Path, classifier: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "predictions.csv"
    command = ["predict", str(classifier), str(store.path), "--top", "2"]
    assert main([*command, "--out", str(out)]) == 0
    _, *lines, more, _ = capsys.readouterr().out.splitlines()
    assert len(lines) == 20
    assert "76 more" in more
    with out.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["recording"] for row in rows] == list(store.names)
    rows.sort(key=lambda row: float(row["probability"]))
    for line, row in zip(lines, rows[:20], strict=True):
        assert line.split()[:3] == [row["recording"], "person", "0"]
        assert line.endswith("labelled") == (row["labelled"] == "yes")
    for index, mark in ((7, True), (12, False)):
        assert main([*command, "--index", str(index)]) == 0
        (line,) = capsys.readouterr().out.splitlines()
        assert line.startswith(f"recording-{index}.npy")
        assert line.endswith("labelled") == mark


@pytest.mark.parametrize("suffix", ["gif", "html", "png", "svg"])
def test_a_picture_of_a_recording_with_its_labels(
    tmp_path: Path, classifier: Path, store: Store, call: Call, suffix: str
) -> None:
    out = tmp_path / f"picture.{suffix}"
    said = call("predict", classifier, store.path, "--index", 2, "--windows", "--out", out)
    assert said["out"] == str(out)
    if suffix == "gif":
        with Image.open(out) as picture:
            assert picture.n_frames > 3
    assert out.stat().st_size > 1000


def test_a_still_picture_has_the_intervals_of_each_person(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure

    from pcm3.inference import pictures
    from pcm3.inference.predictions import Prediction

    given: list[Any] = []

    def draw(*values: Any) -> Figure:
        given.extend(values)
        return Figure()

    monkeypatch.setattr(pictures, "label_figure", draw)
    found = [
        Prediction(store.names[5], 5, person, start, end, label, 0.5, ())
        for person, start, end, label in ((0, 0, 3, "wave"), (0, 3, 5, "bow"), (1, 2, 9, "sit"))
    ]
    pictures.picture_predictions(store, found, tmp_path / "picture.svg")
    assert given[0] == {
        "person 0": [("wave", 0, 3, 0.5), ("bow", 3, 5, 0.5)],
        "person 1": [("sit", 2, 9, 0.5)],
    }
    assert given[1:] == [int(store.lengths[5]), 30, store.names[5]]
    assert (tmp_path / "picture.svg").is_file()


def test_a_picture_shows_the_label_of_each_frame(
    tmp_path: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pcm3.inference import pictures
    from pcm3.inference.predictions import Prediction

    def one(person: int, start: int, end: int, label: str) -> Prediction:
        return Prediction(store.names[0], 0, person, start, end, label, 0.5, ())

    given: list[Any] = []
    monkeypatch.setattr(pictures, "picture_sequence", lambda *values: given.extend(values))
    length = int(store.lengths[0])
    found = [one(0, 0, 3, "wave"), one(0, 3, 5, "bow"), one(1, 2, length, "sit")]
    pictures.picture_predictions(store, found, tmp_path / "picture.gif")
    assert given[:3] == [store, 0, tmp_path / "picture.gif"]
    assert given[3][:4] == ["0: wave 50%"] * 2 + [
        "0: wave 50%, 1: sit 50%",
        "0: bow 50%, 1: sit 50%",
    ]
    assert len(given[3]) == length
    other = [*found, one(0, 0, 3, "wave")]
    object.__setattr__(other[-1], "index", 1)
    with pytest.raises(ValueError, match="one recording"):
        pictures.picture_predictions(store, other, tmp_path / "picture.gif")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "table.txt"], ".csv"),
        (["--windows", "--whole"], "--whole"),
        (["--index", "nobody"], "nobody"),
        (["--out", "picture.gif"], "--index"),
        (["--out", "picture.png"], "--index"),
        (["--top", "0"], "top"),
        (["--source-fps", "60"], "source_fps is for files"),
    ],
)
def test_options_of_predict(
    classifier: Path,
    store: Store,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    assert main(["predict", str(classifier), str(store.path), *arguments]) == 2
    (line,) = [
        line for line in capsys.readouterr().err.splitlines() if line.startswith("pcm3: error")
    ]
    assert message in line


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "3"], "finetune"),
        (["--label", "quality2"], "quality?"),
        (["--protocol", "xview"], "views"),
    ],
)
def test_options_of_classifier(
    tmp_path: Path,
    encoder: Path,
    store: Store,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    out = str(tmp_path / "classifier.safetensors")
    command = ["classifier", "--run", str(encoder), "--data", str(store.path), "--out", out]
    command += arguments
    assert main(command) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("classifier --run {encoder} --data {store}", "classifier.safetensors"),
        ("predict {classifier} {store}", "predictions.csv"),
        ("search --run {encoder} --data {store} --query 3", "similar.csv"),
        ("novelty --data {store} --reference subjects:1", "novelty.json"),
        ("features --run {encoder} --data {store}", "features.npz"),
        ("export --run {encoder}", "encoder.pt2"),
        ("show {store}", "first.png"),
    ],
)
def test_a_file_is_not_overwritten_unasked(
    command: str,
    name: str,
    tmp_path: Path,
    encoder: Path,
    classifier: Path,
    store: Store,
    call: Call,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / name
    out.write_text("kept")
    paths = {"encoder": encoder, "classifier": classifier, "store": store.path}
    words = [*command.format(**paths).split(), "--out", str(out)]
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert out.read_text() == "kept"
    call(*words, "--overwrite")
    assert out.read_bytes() != b"kept"


def test_overwrite_needs_a_file(classifier: Path, store: Store) -> None:
    assert main(["predict", str(classifier), str(store.path), "--overwrite"]) == 2


def test_predict_says_nothing_about_labels(
    tmp_path: Path, classifier: Path, store: Store, call: Call
) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    np.save(folder / "a.npy", store.sequence(0))
    (folder / "labels.csv").write_text("file,subject\na.npy,1\n")
    said = call("predict", classifier, folder)
    assert not any("label" in note or "subject" in note for note in said["notes"])


def test_another_normalization_only_if_asked(
    tmp_path: Path, encoder: Path, store: Store, call: Call, capsys: pytest.CaptureFixture[str]
) -> None:
    with StoreWriter(tmp_path / "raw", NTU25, class_names=["a", "b"]) as writer:
        for index in range(8):
            writer.add(store.sequence(index), label=index % 2)
    out = tmp_path / "classifier.safetensors"
    command = ["classifier", "--run", encoder, "--data", tmp_path / "raw", "--out", out]
    assert main([str(word) for word in command]) == 2
    assert "normalization" in capsys.readouterr().err
    call(*command, "--allow-normalization")
    assert pcm3.load_classifier(out).pretrained.normalization == "none"


def test_seconds_need_a_frame_rate(tmp_path: Path) -> None:
    one = Prediction("a.npy", 0, 0, 0, 9, "wave", 0.5, (("wave", 0.5),))
    for fps, columns in ((None, 7), (30.0, 9)):
        write_csv(tmp_path / "found.csv", [one], fps)
        assert len((tmp_path / "found.csv").read_text().splitlines()[0].split(",")) == columns
