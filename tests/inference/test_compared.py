"""What users of ``novelty`` compare and are told: units, references from files, joints, windows."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import pcm3.viz
from pcm3.cli import main
from pcm3.data import prepare
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic import synthetic_sequences
from pcm3.hub import Pretrained, save_encoder
from pcm3.inference.classifier import Classifier
from pcm3.inference.intake import Intake
from pcm3.inference.predictions import predict
from pcm3.inference.recordings import open_recordings
from pcm3.skeleton import NTU25, SBU15, Skeleton

Said = dict[str, Any]
SOURCE = list(
    synthetic_sequences(sequences=20, classes=2, subjects=4, frames=(30, 40), noise=0, missing=0)
)


def write_csv(file: Path, frames: Any, skeleton: Skeleton = NTU25) -> Path:
    """One person as a file of joints with names."""
    file.parent.mkdir(exist_ok=True, parents=True)
    with file.open("w", newline="") as stream:
        head = [f"{joint}_{axis}" for joint in skeleton.joints for axis in "xyz"]
        csv.writer(stream).writerows([head, *frames[:, 0].reshape(len(frames), -1).tolist()])
    return file


def write_store(path: Path, unit: str, scale: float = 1.0, **options: Any) -> Store:
    with StoreWriter(
        path, NTU25, class_names=("sit", "wave"), fps=30, unit=unit, normalization="center"
    ) as writer:
        for number, recording in enumerate(SOURCE):
            frames = recording.frames[:, :1] - recording.frames[:, :1, [NTU25.center]]
            subject = int(recording.columns["subjects"])
            writer.add(
                scale * frames,
                recording.label,
                name=f"number {number}",
                subjects=subject,
                how="good" if subject < 3 else "",
                **options,
            )
    return Store(path)


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    def call(*arguments: object) -> Said:
        assert main(["novelty", *map(str, arguments), "--json"]) == 0
        *lines, last = capsys.readouterr().out.splitlines()
        said: Said = json.loads(last)
        return {"lines": lines, **said}

    return call


# --- units ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", ["mm", "millimetres"])
def test_judged_recordings_get_the_unit_of_the_references(
    tmp_path: Path, call: Callable[..., Said], unit: str
) -> None:
    write_store(tmp_path / "m", "metres")
    write_store(tmp_path / "mm", unit, 1000)
    new = write_csv(tmp_path / "new.csv", SOURCE[7].frames[:, :1] * [1, 1.1, 0.9])
    rows = {}
    for name in ("m", "mm"):
        said = call("--data", tmp_path / name, "--reference", "how:good", new)
        (rows[name],) = said["recordings"]
    assert (rows["m"]["unit"], rows["mm"]["unit"]) == ("metres", "millimetres")
    assert rows["mm"]["score"] == pytest.approx(rows["m"]["score"], abs=1e-6)
    for part, value in rows["m"]["parts"].items():
        assert rows["mm"]["parts"][part] == pytest.approx(1000 * value, rel=1e-4)
    said = call("--data", tmp_path / "m", "--reference", "how:good", tmp_path / "mm")
    assert {row["unit"] for row in said["recordings"] if "unit" in row} == {"metres"}
    assert max(row["parts"]["trunk"] for row in said["recordings"] if "parts" in row) < 1
    assert said["metrics"]["judged"] == len(SOURCE)
    assert any("converted" in note for note in said["notes"])


def test_files_without_a_unit_may_have_that_of_the_references(
    tmp_path: Path, call: Callable[..., Said]
) -> None:
    write_store(tmp_path / "mm", "millimetres", 1000)
    frames = SOURCE[7].frames[:, :1] * [1, 1.1, 0.9]
    parts = []
    for name, scale in (("metres", 1), ("millimetres", 1000)):
        new = write_csv(tmp_path / f"{name}.csv", scale * frames)
        said = call("--data", tmp_path / "mm", "--reference", "how:good", new)
        parts.append(list(said["recordings"][0]["parts"].values()))
        assert any("assumed to be millimetres" in note for note in said["notes"]) == (scale > 1)
        assert any("converted" in note for note in said["notes"]) == (scale == 1)
    np.testing.assert_allclose(parts[0], parts[1], rtol=1e-4)


def test_files_with_a_wrong_unit_in_their_headings(
    tmp_path: Path, call: Callable[..., Said]
) -> None:
    """Bodies of 1,470 metres are read in the unit of the references; those of 14 cm are noted."""
    write_store(tmp_path / "mm", "millimetres", 1000)
    parts = []
    for name, heading, scale in (("right", "mm", 1000), ("wrong", "m", 1000), ("cm", "mm", 100)):
        frames = SOURCE[7].frames[:, :1] * [1, 1.1, 0.9]
        new = write_csv(tmp_path / f"{name}.csv", scale * frames)
        head, rest = new.read_text().split("\n", 1)
        named = ",".join(f"{each.strip()} ({heading})" for each in head.split(","))
        new.write_text(f"{named}\n{rest}")
        said = call("--data", tmp_path / "mm", "--reference", "how:good", new)
        parts.append(said["recordings"][0]["parts"]["trunk"])
        assert any("columns say metres" in note for note in said["notes"]) == (name == "wrong")
        assert any("bodies of cm.csv" in note for note in said["notes"]) == (name == "cm")
    assert parts[1:] == pytest.approx([parts[0], parts[0] / 10], rel=1e-4)


@pytest.mark.parametrize("unit", ["body lengths", "bananas"])
def test_lengths_that_cannot_be_compared_are_refused(
    tmp_path: Path, unit: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = write_store(tmp_path / "store", unit)
    new = write_csv(tmp_path / "new.csv", SOURCE[7].frames[:, :1])
    command = ["novelty", "--data", str(store.path), "--reference", "how:good"]
    assert main([*command, str(new)]) == 2
    said = capsys.readouterr().err
    assert f"expected recordings in {unit}" in said
    assert "metres" in said
    assert main(command) == 0  # recordings of the store have its unit, whatever it is
    assert main([*command, str(tmp_path / "store")]) == 0


def test_an_encoder_is_noted_to_get_bodies_of_another_size(
    tmp_path: Path, pretrained: Pretrained
) -> None:
    other = write_store(tmp_path / "other", "bananas")
    intake = Intake.like(write_store(tmp_path / "store", "metres"), pretrained)
    with open_recordings(other.path, intake) as recordings:
        (note,) = recordings.notes
        assert "bananas" in note
        assert "training" not in note
        assert "may be wrong" in note
    anything = pretrained._replace(normalization="body")
    with open_recordings(other.path, Intake.like(Store(tmp_path / "store"), anything)) as found:
        assert not any("bananas" in note for note in found.notes)
    save_encoder(tmp_path / "run" / "encoder.safetensors", pretrained)
    command = ["--run", tmp_path / "run", "--data", tmp_path / "store", "--reference", "how:good"]
    assert main(list(map(str, ["novelty", *command, other.path]))) == 0


def test_a_classifier_gets_the_unit_of_its_training(
    tmp_path: Path, fitted: Callable[[], Classifier]
) -> None:
    stores = [write_store(tmp_path / "m", "m"), write_store(tmp_path / "mm", "mm", 1000)]
    classifier = fitted()
    probabilities = []
    for store in stores:
        with open_recordings(store.path, classifier) as recordings:
            found = predict(classifier, recordings)
            probabilities.append([each.probability for each in found])
            assert recordings.store.names == store.names
            assert recordings.store.class_names == store.class_names
            np.testing.assert_array_equal(recordings.store.labels, store.labels)
            for column in ("subjects", "how"):
                values = recordings.store.values(column)
                np.testing.assert_array_equal(values, store.values(column))
    np.testing.assert_allclose(probabilities[0], probabilities[1], atol=1e-4)


def test_conversion_keeps_the_labels_of_frames(tmp_path: Path, pretrained: Pretrained) -> None:
    labels = np.array([-1, 0, 0, 1, 1, -1])
    frames = np.random.default_rng(0).normal(size=(6, 1, 25, 3)).astype(np.float32)
    with StoreWriter(
        tmp_path / "cm", NTU25, class_names=("a", "b"), unit="cm", normalization="center"
    ) as writer:
        for name in ("one", "two"):
            writer.add(100 * frames, name=name, frame_labels=np.roll(labels, len(name)))
            frames = frames[:, :, ::-1]
    intake = Intake.like(write_store(tmp_path / "m", "metres"), pretrained)
    with open_recordings(tmp_path / "cm", intake) as recordings:
        store, expected = recordings.store, Store(tmp_path / "cm")
        assert store.frame_labels is not None
        np.testing.assert_array_equal(store.frame_labels, expected.frame_labels)
        for index in range(2):
            values = expected.sequence(index) / 100
            np.testing.assert_allclose(store.sequence(index), values, rtol=1e-5)


# --- references -----------------------------------------------------------------------------------


def test_one_file_is_compared_with_another(tmp_path: Path, call: Callable[..., Said]) -> None:
    coach = write_csv(tmp_path / "coach.csv", SOURCE[3].frames[:, :1])
    new = write_csv(tmp_path / "new.csv", SOURCE[3].frames[:, :1] * [1, 1.1, 0.9])
    said = call("--reference", coach, new, "--out", tmp_path / "new.png")
    (row,) = said["recordings"]
    assert (row["recording"], row["reference"]) == ("new.csv", "coach.csv")
    assert row["threshold"] is None
    assert (tmp_path / "new.png").stat().st_size > 0
    both = [prepare(each, tmp_path / each.stem, workers=1) for each in (coach, new)]
    assert [report["kept"] for report in both] == [1, 1]
    stores = [Store(tmp_path / each.stem) for each in (coach, new)]
    flat = [store.sequence(0) for store in stores]
    assert row["score"] > 0
    again = call("--reference", stores[0].path, stores[1].path)["recordings"][0]
    assert again["score"] == pytest.approx(row["score"])
    assert len(flat[0]) == row["reference_end"]


def test_a_folder_is_compared_within_itself(tmp_path: Path, call: Callable[..., Said]) -> None:
    """Each recording with all others: the one that differs is the furthest."""
    rng = np.random.default_rng(0)
    base = SOURCE[3].frames[:, :1]
    for number in range(6):
        write_csv(tmp_path / "files" / f"{number}.csv", base + 0.01 * rng.normal(size=base.shape))
    write_csv(tmp_path / "files" / "odd.csv", SOURCE[5].frames[:, :1])
    found = [call("--reference", tmp_path / "files")]
    prepare(tmp_path / "files", tmp_path / "store", workers=1)
    found.append(call("--data", tmp_path / "store", "--reference", "all"))
    for said in found:
        rows = said["recordings"]
        assert said["metrics"]["references"] == len(rows) == 7
        assert max(rows, key=lambda row: row["score"])["recording"] == "odd.csv"
        assert all(row["reference_index"] != row["index"] for row in rows)
    assert found[0]["recordings"] == found[1]["recordings"]


def test_references_that_are_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = write_store(tmp_path / "store", "metres")
    for reference, words in (
        ("correct:1", ("no column 'correct'", "labels, subjects, how")),
        ("sujects:1", ("did you mean subjects",)),
        ("how", ("expected a column and its values",)),
    ):
        assert main(["novelty", "--data", str(store.path), "--reference", reference]) == 2
        said = capsys.readouterr().err
        assert all(word in said for word in words), said
    assert main(["novelty", "--reference", str(tmp_path / "nowhere"), str(store.path)]) == 2
    assert main(["novelty", "--reference", "how:good"]) == 2
    assert main(["novelty", "--data", str(store.path), "--reference", str(store.path)]) == 2
    assert "without --data" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["novelty", "--data", str(store.path)])
    assert "or all" in " ".join(capsys.readouterr().err.replace("│", " ").split())


def test_other_layouts_have_a_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = write_store(tmp_path / "store", "metres")
    frames = np.random.default_rng(0).normal(size=(9, 1, 15, 3))
    new = write_csv(tmp_path / "new.csv", frames, SBU15)
    assert main(["novelty", "--data", str(store.path), "--reference", "all", str(new)]) == 2
    said = capsys.readouterr().err
    assert "--to common15" in said
    assert "--run pretrained" in said
    assert sum(joint in said for joint in NTU25.joints) < 15


# --- classes --------------------------------------------------------------------------------------


def test_recordings_without_a_class_are_compared_with_all(
    tmp_path: Path, call: Callable[..., Said]
) -> None:
    store = write_store(tmp_path / "store", "metres")
    for number in (3, 4):
        write_csv(tmp_path / "new" / f"{number}.csv", SOURCE[number].frames[:, :1] * [1, 1.2, 1])
    common = ("--data", store.path, "--reference", "how:good", tmp_path / "new")
    said = call(*common)
    assert any("class of 2 recordings is unknown" in note for note in said["notes"])
    assert "of all classes" in said["lines"][0]
    names = [store.class_names[SOURCE[number].label] for number in (3, 4)]
    table = tmp_path / "new" / "labels.csv"
    table.write_text(f"file,label\n3.csv,{names[0]}\n4.csv,{names[1]}\n")
    said = call(*common)
    assert [row["label"] for row in said["recordings"]] == names
    assert not any("all classes" in note for note in said["notes"])
    assert "of the same class" in said["lines"][0]


def test_classes_that_no_reference_has(
    tmp_path: Path, call: Callable[..., Said], capsys: pytest.CaptureFixture[str]
) -> None:
    store = write_store(tmp_path / "store", "metres")
    for number in (3, 4):
        write_csv(tmp_path / "new" / f"{number}.csv", SOURCE[number].frames[:, :1])
    table = tmp_path / "new" / "labels.csv"
    table.write_text("file,label\n3.csv,lunge\n4.csv,lunge\n")
    common = ("--data", store.path, "--reference", "how:good", tmp_path / "new")
    assert main(["novelty", *map(str, common)]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in ("'lunge'", "sit, wave", str(store.path)))
    table.write_text("file,label\n3.csv,lunge\n4.csv,sit\n")
    said = call(*common)
    assert [row["label"] for row in said["recordings"]] == ["sit"]
    assert any("lunge" in note for note in said["notes"])


# --- what is said ---------------------------------------------------------------------------------


def test_joints_are_named_with_frame_and_time(tmp_path: Path, call: Callable[..., Said]) -> None:
    store = write_store(tmp_path / "store", "metres")
    hand = NTU25.joints.index("left_hand")
    frames = SOURCE[3].frames[:, :1].copy()
    frames[11:20, 0, hand] += [0.4, 0.4, 0]
    frames[15, 0, hand] += [0.6, 0.6, 0]
    new = write_csv(tmp_path / "new.csv", frames)
    out = tmp_path / "new.csv.csv"
    said = call("--data", store.path, "--reference", "all", new, "--out", out)
    (row,) = said["recordings"]
    assert len(row["joints"]) == 3
    first = row["joints"][0]
    assert (first["joint"], first["frame"]) == ("left_hand", 15)
    assert first["seconds"] == pytest.approx(0.5)
    assert first["difference"] == pytest.approx(np.sqrt(2), abs=0.3)
    with out.open(newline="") as stream:
        (cells,) = csv.DictReader(stream)
    assert (cells["joint"], cells["joint_frame"]) == ("left_hand", "15")
    assert float(cells["joint_difference"]) == pytest.approx(first["difference"], rel=1e-5)
    assert "left_hand" in " ".join(said["lines"])
    assert "0.50 s" in " ".join(said["lines"])


def test_lines_have_the_threshold_and_the_verdict(
    tmp_path: Path, call: Callable[..., Said]
) -> None:
    store = write_store(tmp_path / "store", "metres")
    said = call("--data", store.path, "--reference", "how:good", "--quantile", 0.5)
    for row in said["recordings"]:
        (line,) = (line for line in said["lines"] if line.startswith(f"{row['recording']}  "))
        verdict = "novel" if row["novel"] else "-"
        score, threshold = f"{row['score']:.4f}", f"{row['threshold']:.4f}"
        assert f"{score} threshold {threshold} {verdict}" in " ".join(line.split())
    assert {row["novel"] for row in said["recordings"]} == {True, False}


def test_mirrored_exercises_are_noted(tmp_path: Path, call: Callable[..., Said]) -> None:
    """The left arm is lifted where the references lift the right one."""
    rng, base = np.random.default_rng(0), np.repeat(SOURCE[3].frames[:1, :1], 30, axis=0)
    base = base - base[:, :, [NTU25.center]]
    arm = list(NTU25.parts["right_arm"])
    base[10:20, 0, arm] += [0, 0.6, 0]
    for number in range(3):
        noise = 0.005 * rng.normal(size=base.shape)
        write_csv(tmp_path / "good" / f"{number}.csv", base + noise)
    mirrored = base[:, :, list(NTU25.mirror)] * [-1, 1, 1]
    write_csv(tmp_path / "mirrored.csv", mirrored)
    write_csv(tmp_path / "same.csv", base + 0.005 * rng.normal(size=base.shape))
    for name in ("mirrored", "same"):
        said = call("--reference", tmp_path / "good", tmp_path / f"{name}.csv")
        noted = any("left and right are exchanged" in note for note in said["notes"])
        assert noted == (name == "mirrored")


# --- windows --------------------------------------------------------------------------------------


def test_the_picture_of_windows_is_that_of_the_furthest(
    tmp_path: Path, call: Callable[..., Said], monkeypatch: pytest.MonkeyPatch
) -> None:
    figures: list[Any] = []
    monkeypatch.setattr(pcm3.viz, "save", lambda figure, out: figures.append((figure, out)))
    store = write_store(tmp_path / "store", "metres")
    frames = np.concatenate([SOURCE[at].frames[:, :1] for at in (3, 4, 5)])
    new = write_csv(tmp_path / "new.csv", frames)
    common = ("--data", store.path, "--reference", "all", "--window", 16)
    said = call(*common, new, "--out", tmp_path / "new.png")
    rows = said["recordings"]
    assert len(rows) > 3
    furthest = max(rows, key=lambda row: row["score"] / row["threshold"])
    start, end = furthest["start"], furthest["end"]
    ((figure, _),) = figures
    assert f"frames {start} to {end}" in figure.get_suptitle()
    assert figure.axes[0].get_title() == f"frame {start}"
    (image,) = (axis for axis in figure.axes if axis.get_xlabel() == "frame")
    assert image.images[0].get_extent()[:2] == [start - 0.5, end - 0.5]
    assert f"frames {start} to {end}" in said["lines"][-2]
    several = ["novelty", *map(str, common), "--out", str(tmp_path / "all.png")]
    assert main(several) == 2
    assert main([*several, "--index", "3"]) == 0
