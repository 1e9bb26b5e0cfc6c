"""Labels of recordings, persons and intervals, and the recordings that they are read from."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcm3.data.normalize import normalize
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic import generate, synthetic_sequences
from pcm3.encoders import GRUEncoder
from pcm3.errors import SkeletonFormatError
from pcm3.evaluation.tasks.detection.proposals import sliding_window_proposals
from pcm3.hub import Pretrained
from pcm3.inference.classifier import Classifier
from pcm3.inference.fit import fit_classifier
from pcm3.inference.labels import is_labelled
from pcm3.inference.predictions import Prediction, frame_probabilities, predict, write_csv
from pcm3.inference.recordings import open_recordings
from pcm3.skeleton import KINECT20, NTU25

Fitted = Callable[..., Classifier]


@pytest.fixture(scope="module")
def raw() -> list[np.ndarray]:
    """Recordings as a camera gives them (T, V, C)."""
    source = synthetic_sequences(sequences=8, classes=4, subjects=4, frames=(10, 40), seed=5)
    return [recording.frames[:, 0] for recording in source]


@pytest.fixture
def folder(tmp_path: Path, raw: list[np.ndarray]) -> Path:
    out = tmp_path / "recordings"
    out.mkdir()
    for number, frames in enumerate(raw):
        np.save(out / f"{number}.npy", frames)
    return out


def expected_of(classifier: Classifier, raw: list[np.ndarray]) -> np.ndarray:
    """Probabilities of recordings, one by one."""
    rows = []
    for frames in raw:
        centred = normalize(frames[:, None], NTU25, "center")
        clip = torch.from_numpy(centred).permute(3, 0, 2, 1)[None]
        rows.append(classifier.predict_proba(clip)[0])
    return np.array(rows)


def test_files_are_prepared_as_the_training_data_were(
    folder: Path, raw: list[np.ndarray], fitted: Fitted
) -> None:
    classifier = fitted()
    rows = expected_of(classifier, raw)
    with open_recordings(folder, classifier) as recordings:
        found = predict(classifier, recordings, top=4, threshold=0)
    assert [each.recording for each in found] == [f"{number}.npy" for number in range(8)]
    for each, row, frames in zip(found, rows, raw, strict=True):
        assert (each.start, each.end, each.person) == (0, len(frames), 0)
        assert each.label == classifier.class_names[row.argmax()]
        assert each.probability == pytest.approx(row.max(), abs=1e-5)
        assert [name for name, _ in each.ranked] == [
            classifier.class_names[at] for at in np.argsort(-row)
        ]
        assert sum(value for _, value in each.ranked) == pytest.approx(1, abs=1e-5)


def test_recordings_of_another_frame_rate_are_resampled(
    tmp_path: Path, raw: list[np.ndarray], fitted: Fitted
) -> None:
    """Twice as many frames a second are every second frame."""
    out = tmp_path / "fast"
    out.mkdir()
    np.save(out / "fast.npy", np.repeat(raw[3], 2, axis=0))
    (out / "labels.csv").write_text("file,fps\nfast.npy,60\n")
    with open_recordings(out, fitted()) as recordings:
        (found,) = predict(fitted(), recordings)
    row = expected_of(fitted(), raw[3:4])[0]
    assert (found.end, found.label) == (len(raw[3]), fitted().name(row))
    assert found.probability == pytest.approx(row.max(), abs=1e-5)


def test_recordings_that_do_not_say_their_frame_rate(
    tmp_path: Path, raw: list[np.ndarray], fitted: Fitted, store: Store
) -> None:
    np.save(tmp_path / "fast.npy", np.repeat(raw[3], 2, axis=0))
    ends = []
    for rate in (None, 30.0, 60.0):
        with open_recordings(tmp_path, fitted(), rate) as recordings:
            (found,) = predict(fitted(), recordings)
            ends.append(found.end)
    assert ends == [2 * len(raw[3]), 2 * len(raw[3]), len(raw[3])]
    assert found.probability == pytest.approx(expected_of(fitted(), raw[3:4])[0].max(), abs=1e-5)
    (tmp_path / "labels.csv").write_text("file,fps\nfast.npy,60\n")
    for source in (tmp_path, store.path):
        with (
            pytest.raises(ValueError, match=r"source_fps is for files without a frame rate"),
            open_recordings(source, fitted(), 60),
        ):
            pass


def test_one_file_is_a_recording(folder: Path, raw: list[np.ndarray], fitted: Fitted) -> None:
    with open_recordings(folder / "3.npy", fitted()) as recordings:
        (found,) = predict(fitted(), recordings)
    assert found.recording == "3.npy"
    row = expected_of(fitted(), raw[3:4])[0]
    assert found.probability == pytest.approx(row.max(), abs=1e-5)


@pytest.mark.parametrize("known", [True, False])
def test_files_with_the_joints_of_training_have_its_layout(
    tmp_path: Path, raw: list[np.ndarray], fitted: Fitted, known: bool
) -> None:
    """Also if the files alone would give a layout with another centre, or none."""
    names = NTU25.joints if known else tuple(f"p{number}" for number in range(25))
    mine = replace(NTU25, name="mine", joints=names, center=NTU25.joints.index("neck"))
    pretrained = fitted().pretrained._replace(skeleton=mine)
    classifier = replace(fitted(), pretrained=pretrained, layout=mine)
    with (tmp_path / "a.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow([f"{name}_{axis}" for name in names for axis in "xyz"])
        writer.writerows(raw[3].reshape(len(raw[3]), -1).tolist())
    with open_recordings(tmp_path, classifier) as recordings:
        frames = recordings.store.sequence(0)
    np.testing.assert_allclose(frames, normalize(raw[3][:, None], mine, "center"), atol=1e-6)


def test_a_folder_may_say_its_layout_itself(folder: Path, fitted: Fitted) -> None:
    other = KINECT20.to_dict()
    keys = ("name", "joints", "parents")
    (folder / "skeleton.json").write_text(json.dumps({key: other[key] for key in keys}))
    with (
        pytest.raises(ValueError, match=rf"{folder}.*20 joints"),
        open_recordings(folder, fitted()) as recordings,
    ):
        predict(fitted(), recordings)


def test_the_store_of_training(store: Store, fitted: Fitted) -> None:
    classifier = fitted()
    rows = classifier.predict_proba(store)
    with open_recordings(store.path, classifier) as recordings:
        found = predict(classifier, recordings)
        some = predict(classifier, recordings, [5, 2])
    assert [each.label for each in found] == classifier.predict(store)
    assert {each.label for each in found} > {"unknown"}
    for each, row in zip(found, rows, strict=True):
        assert (each.label == "unknown") == (row.max() < classifier.threshold)
        assert each.probability == pytest.approx(row.max(), abs=1e-6)
    assert [each.recording for each in some] == ["recording-2.npy", "recording-5.npy"]
    assert some == [found[2], found[5]]


def test_each_person_of_a_recording_has_a_label(
    tmp_path: Path, raw: list[np.ndarray], fitted: Fitted
) -> None:
    """What a person does alone, wherever they stand, and whoever comes first."""
    first, second = raw[0], raw[1]
    length = min(len(first), len(second))
    moved = second + np.array([5, 0, 1], np.float32) * second.any(axis=-1, keepdims=True)
    both = np.stack([first[:length], moved[:length]], axis=1)
    out = tmp_path / "several"
    out.mkdir()
    np.save(out / "both.npy", both)
    np.save(out / "one.npy", raw[2])
    with open_recordings(out, fitted()) as recordings:
        found = predict(fitted(), recordings, top=4)
    assert [(each.recording, each.person) for each in found] == [
        ("both.npy", 0),
        ("both.npy", 1),
        ("one.npy", 0),
    ]
    rows = expected_of(fitted(), [first[:length], second[:length], raw[2]])
    for each, row in zip(found, rows, strict=True):
        ranked = dict(each.ranked)
        expected = dict(zip(fitted().class_names, row.tolist(), strict=True))
        assert ranked == pytest.approx(expected, abs=1e-4)


def test_persons_who_are_classified_together_have_one_label(tmp_path: Path) -> None:
    sizes: dict[str, Any] = {"sequences": 66, "classes": 22, "persons": 2, "frames": (10, 20)}
    store = generate(tmp_path / "store", **sizes)
    torch.manual_seed(0)
    encoder = GRUEncoder(25, persons=2, hidden=8, layers=1, pool="mean").eval()
    pretrained = Pretrained(encoder, NTU25, "joint", 16, "center")
    classifier = fit_classifier(pretrained, store)
    with open_recordings(store.path, classifier) as recordings:
        found = predict(classifier, recordings)
    assert len(found) == len(store)
    assert [each.person for each in found] == [-1 if slots > 1 else 0 for slots in store.slots]
    assert {each.person for each in found} == {-1, 0}
    assert found[0].to_json(None)["person"] == "0"


def concatenated(path: Path, store: Store, indices: list[int]) -> tuple[Store, list[int]]:
    """One recording in which several follow each other, and where each ends."""
    frames = [store.sequence(index) for index in indices]
    with StoreWriter(path, NTU25, class_names=(), fps=30, normalization="center") as writer:
        writer.add(np.concatenate(frames), name="film")
    return Store(path), np.cumsum([len(each) for each in frames]).tolist()


def test_long_recordings_have_intervals(tmp_path: Path, store: Store, fitted: Fitted) -> None:
    classifier = fitted()
    film, _ = concatenated(tmp_path / "film", store, list(range(1, 12)))
    length = int(film.lengths[0])
    assert length > 2 * classifier.longest
    with open_recordings(film.path, classifier) as recordings:
        found = predict(classifier, recordings, threshold=0.4)
        frames = frame_probabilities(classifier, recordings, 0)
        (whole,) = predict(classifier, recordings, windows=False)
    assert (whole.start, whole.end) == (0, length)
    # each frame has what the window around the nearest of some frames has
    window, sequence = classifier.window, torch.tensor(film.sequence(0))
    step = window // 8
    for frame in range(0, length, 7):
        middle = min((frame + step // 2) // step * step, (length - 1) // step * step)
        start = min(max(middle - window // 2, 0), length - window)
        clip = sequence[start : start + window].permute(3, 0, 2, 1)[None]
        np.testing.assert_allclose(frames[frame], classifier.predict_proba(clip)[0], atol=1e-5)
    rows = np.pad(frames, ((0, 0), (0, 1)))
    rows[:, -1] = np.maximum(1 - rows.sum(axis=1), 0)
    rows[frames.max(axis=1) < 0.4] = np.eye(5)[4]
    expected = sliding_window_proposals(rows, -1)
    assert len(found) == len(expected) > 2
    for each, proposal in zip(found, expected, strict=True):
        assert each.label == classifier.class_names[proposal.label]
        assert each.end == proposal.end
        assert 0 <= each.start - proposal.start <= 1
        value = frames[each.start : each.end, proposal.label].mean()
        assert each.probability == pytest.approx(value, abs=1e-5)
    assert all(a.end <= b.start for a, b in pairwise(found))


def test_a_long_recording_without_a_sure_frame_is_unknown(
    tmp_path: Path, store: Store, fitted: Fitted
) -> None:
    film, _ = concatenated(tmp_path / "film", store, list(range(1, 12)))
    with open_recordings(film.path, fitted()) as recordings:
        (found,) = predict(fitted(), recordings, threshold=1)
        assert (found.label, found.start, found.end) == ("unknown", 0, film.lengths[0])
        with pytest.raises(ValueError, match=r"background.*activity"):
            predict(fitted(), recordings, rule="activity")
        for threshold in (-0.1, 1.1, float("nan")):
            with pytest.raises(ValueError, match=r"threshold in \[0, 1\]"):
                predict(fitted(), recordings, threshold=threshold)


def test_files_that_a_table_does_not_name_are_counted(
    tmp_path: Path, raw: list[np.ndarray], fitted: Fitted
) -> None:
    for name, frames in zip(("one", "two", "three"), raw, strict=False):
        np.save(tmp_path / f"{name}.npy", frames)
    (tmp_path / "labels.csv").write_text("file,label\none.npy,wave\n")
    with open_recordings(tmp_path, fitted()) as recordings:
        assert len(predict(fitted(), recordings)) == 1
        assert any(
            note.startswith(tmp_path.name) and "2 files" in note for note in recordings.notes
        )


def test_options_of_prepare_are_not_those_of_predict(
    tmp_path: Path, raw: list[np.ndarray], fitted: Fitted
) -> None:
    np.save(tmp_path / "turned.npy", raw[0].transpose(2, 0, 1))
    with (
        pytest.raises(ValueError, match=r"--axes.*pcm3 prepare"),
        open_recordings(tmp_path, fitted()),
    ):
        pass


def test_short_recordings_have_intervals_if_asked(store: Store, fitted: Fitted) -> None:
    with open_recordings(store.path, fitted()) as recordings:
        found = predict(fitted(), recordings, [0], windows=True, threshold=0)
    assert found[0].start == 0
    assert found[-1].end <= store.lengths[0]


@pytest.fixture(scope="module")
def untrimmed(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Films of two actions with stillness between them."""
    out = tmp_path_factory.mktemp("untrimmed") / "store"
    source = list(synthetic_sequences(sequences=48, classes=2, subjects=4, frames=(30, 40)))
    with StoreWriter(
        out, NTU25, class_names=["first", "second"], fps=30, normalization="center"
    ) as writer:
        for film in range(8):
            frames, labels = [], []
            for recording in source[film * 6 : film * 6 + 6]:
                moving = normalize(recording.frames, NTU25, "center")
                still = np.repeat(moving[:1], 40, axis=0)
                frames += [still, moving]
                labels += [-1] * 40 + [recording.label] * len(moving)
            writer.add(np.concatenate(frames), name=f"film {film}", frame_labels=labels)
    return Store(out)


def test_a_classifier_of_untrimmed_recordings_finds_actions(
    untrimmed: Store, pretrained: Pretrained, tmp_path: Path
) -> None:
    classifier = fit_classifier(pretrained, untrimmed, range(6))
    assert classifier.class_names == ("first", "second", "background")
    assert classifier.background
    spans = untrimmed.segments
    assert classifier.window == np.median(spans[spans[:, 0] < 6, 2] - spans[spans[:, 0] < 6, 1])
    with StoreWriter(
        tmp_path / "new", NTU25, class_names=(), fps=30, normalization="center"
    ) as writer:
        for index in (6, 7):
            writer.add(untrimmed.sequence(index), name=f"film {index}")
        writer.add(np.repeat(untrimmed.sequence(6)[:1], 60, axis=0), name="still")
    with open_recordings(tmp_path / "new", classifier) as recordings:
        found = predict(classifier, recordings)
    *actions, still = found
    assert (still.recording, still.label, still.start, still.end) == ("still", "background", 0, 60)
    assert {each.label for each in actions} <= {"first", "second"}
    hits = 0
    for index, start, end, label in spans[spans[:, 0] >= 6].tolist():
        for each in actions:
            shared = min(end, each.end) - max(start, each.start)
            union = max(end, each.end) - min(start, each.start)
            same = each.label == untrimmed.class_names[label] and each.index == index - 6
            hits += same and shared / union > 0.5
    assert hits >= 8  # of 12
    with open_recordings(tmp_path / "new", classifier) as recordings:
        with pytest.raises(ValueError, match="untrimmed"):
            predict(classifier, recordings, windows=False)
        with pytest.raises(ValueError, match="top"):
            predict(classifier, recordings, top=0)


def test_recordings_with_a_label_are_marked(
    store: Store, untrimmed: Store, pretrained: Pretrained, training: np.ndarray, tmp_path: Path
) -> None:
    """By the column that the classifier was fitted on; untrimmed ones if a frame has a class."""
    for column, values in (("arms", store.values("arms") != ""), (None, store.labels >= 0)):
        classifier = fit_classifier(pretrained, store, training, label=column)
        with open_recordings(store.path, classifier) as recordings:
            found = predict(classifier, recordings, range(24))
        assert [each.labelled for each in found] == values[:24].tolist()
        assert {each.labelled for each in found} == {True, False}
    with StoreWriter(
        tmp_path / "films", NTU25, class_names=["first"], fps=30, normalization="center"
    ) as writer:
        for labels in ([-1] * 100, [-1] * 99 + [0]):
            writer.add(untrimmed.sequence(0)[:100], frame_labels=labels)
    assert is_labelled(Store(tmp_path / "films")).tolist() == [False, True]
    assert not is_labelled(untrimmed, "arms").any()


def test_what_untrimmed_recordings_lack(
    untrimmed: Store, pretrained: Pretrained, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=r"untrimmed.*finetune"):
        fit_classifier(pretrained, untrimmed, how="finetune")
    with StoreWriter(tmp_path / "none", NTU25, class_names=["a"], normalization="center") as writer:
        writer.add(untrimmed.sequence(0), frame_labels=[-1] * int(untrimmed.lengths[0]))
    with pytest.raises(ValueError, match=r"actions.* none"):
        fit_classifier(pretrained, Store(tmp_path / "none"))


@pytest.mark.parametrize(
    ("about", "message"),
    [
        ({"normalization": "none"}, "normalization 'center'.*'none'"),
        ({"fps": 25.0}, "30 frames per second.*25"),
        ({"skeleton": KINECT20}, "20 joints"),
    ],
    ids=["normalization", "frame rate", "skeleton"],
)
def test_another_store_is_refused(
    tmp_path: Path, fitted: Fitted, about: dict[str, Any], message: str
) -> None:
    options = {"skeleton": NTU25, "fps": 30.0, "normalization": "center"} | about
    with StoreWriter(tmp_path / "other", class_names=(), **options) as writer:
        writer.add(np.ones((5, 1, len(options["skeleton"]), 3)))
    with (
        pytest.raises(ValueError, match=message),
        open_recordings(tmp_path / "other", fitted()) as recordings,
    ):
        predict(fitted(), recordings)
    with pytest.raises(ValueError, match=message):
        fitted().predict(Store(tmp_path / "other"))


def test_2d_recordings_and_other_units(tmp_path: Path, fitted: Fitted) -> None:
    with StoreWriter(tmp_path / "flat", NTU25, class_names=(), normalization="center") as writer:
        writer.add(np.ones((5, 1, 25, 2)))
    with pytest.raises(ValueError, match="3 coordinates, got 2"):
        fitted().predict(Store(tmp_path / "flat"))
    with StoreWriter(
        tmp_path / "mm", NTU25, class_names=(), normalization="center", unit="millimetres"
    ) as writer:
        writer.add(np.ones((5, 1, 25, 3)))
    with open_recordings(tmp_path / "mm", fitted()) as recordings:
        assert any("millimetres" in note for note in recordings.notes)


def test_sources_that_hold_no_recordings(tmp_path: Path, fitted: Fitted) -> None:
    text = tmp_path / "text.txt"
    text.write_text("no recording")
    wrong = tmp_path / "wrong.npy"
    np.save(wrong, np.zeros((4, 7, 3)))
    for source in (text, wrong, tmp_path / "nowhere", tmp_path / "nothing"):
        (tmp_path / "nothing").mkdir(exist_ok=True)
        with (
            pytest.raises(SkeletonFormatError, match=str(source)),
            open_recordings(source, fitted()),
        ):
            pass


def test_the_table(tmp_path: Path) -> None:
    def one(name: str, **changes: Any) -> Prediction:
        ranked = (("wave", 0.75), ("bow", 0.25))
        made = Prediction(name, 0, 0, 0, 30, "wave", 0.75, ranked)
        return replace(made, **changes)

    rows = [one('a, "b"'), one("c", person=-1, start=30, end=45, label="unknown", labelled=True)]
    write_csv(tmp_path / "out.csv", rows)
    with (tmp_path / "out.csv").open(newline="") as stream:
        head, *found = csv.reader(stream)
    assert head[:6] == ["recording", "person", "start", "end", "label", "probability"]
    assert head[6:] == ["label_1", "probability_1", "label_2", "probability_2", "labelled"]
    ranked = ["wave", "0.750000", "bow", "0.250000"]
    assert found == [
        ['a, "b"', "0", "0", "30", "wave", "0.750000", *ranked, "no"],
        ["c", "all", "30", "45", "unknown", "0.750000", *ranked, "yes"],
    ]
    write_csv(tmp_path / "out.csv", [replace(row, ranked=row.ranked[:1]) for row in rows])
    assert (tmp_path / "out.csv").read_text().splitlines()[0] == ",".join([*head[:6], "labelled"])
    assert rows[1].to_json(30.0) | {"ranked": None} == {
        "recording": "c",
        "index": 0,
        "person": "all",
        "start": 30,
        "end": 45,
        "start_seconds": 1.0,
        "end_seconds": 1.5,
        "label": "unknown",
        "probability": 0.75,
        "ranked": None,
        "labelled": True,
    }
