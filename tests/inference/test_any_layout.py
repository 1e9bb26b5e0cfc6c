"""One encoder for recordings of any layout: pretraining, evaluation, classifiers, search."""

from __future__ import annotations

import json
import pickle
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcm3.augment.functional import center_crop_resize
from pcm3.cli import main
from pcm3.data.body import BodyForm, body_form
from pcm3.data.normalize import normalize
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic import synthetic_sequences
from pcm3.encoders import GRUEncoder
from pcm3.evaluation.features import dataset_for, extract_features
from pcm3.evaluation.tasks.registry import TASKS
from pcm3.hub import Pretrained, load_encoder, save_encoder
from pcm3.inference.estimators import ActionClassifier, PretrainedEncoder
from pcm3.inference.files import load_classifier, save_classifier
from pcm3.inference.fit import fit_classifier
from pcm3.inference.intake import Intake
from pcm3.inference.predictions import predict
from pcm3.inference.recordings import open_recordings
from pcm3.inference.streaming import StreamingClassifier
from pcm3.skeleton import COMMON15, KINECT20, NTU25, Skeleton, joint_map

RECORDINGS = list(
    synthetic_sequences(sequences=48, classes=4, subjects=4, frames=(12, 30), missing=0.0)
)
CLASSES = ("wave", "raise both arms", "punch", "kick right")
Call = Callable[..., dict[str, Any]]


def write(path: Path, skeleton: Skeleton, change: Callable[[Any], Any] = lambda x: x) -> Store:
    """The same recordings in another layout."""
    mapping = joint_map(NTU25, skeleton)
    with StoreWriter(path, skeleton, class_names=CLASSES, fps=30, normalization="center") as writer:
        for number, recording in enumerate(RECORDINGS):
            frames = normalize(change(mapping.apply(recording.frames)), skeleton, "center")
            subject = int(recording.columns["subjects"])
            writer.add(frames, recording.label, name=f"recording-{number}", subjects=subject)
    return Store(path)


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Store]:
    folder = tmp_path_factory.mktemp("layouts")
    return {
        "ntu25": write(folder / "ntu25", NTU25),
        "kinect20": write(folder / "kinect20", KINECT20, lambda x: 1000 * x * [1, -1, -1]),
        "common15": write(folder / "common15", COMMON15),
    }


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    network = GRUEncoder(COMMON15, persons=2, hidden=8, layers=1, pool="mean").eval()
    file = tmp_path_factory.mktemp("encoder") / "encoder.safetensors"
    save_encoder(file, Pretrained(network, COMMON15, "joint", 16, "body"))
    return file


def test_a_classifier_labels_recordings_of_another_layout(
    tmp_path: Path, stores: dict[str, Store], encoder: Path
) -> None:
    """One of NTU25 in metres gives the same labels for Kinect's, upside down in millimetres."""
    classifier = fit_classifier(load_encoder(encoder), stores["ntu25"])
    assert (classifier.persons, classifier.layout) == (1, NTU25)
    save_classifier(tmp_path / "classifier.safetensors", classifier)
    kept = load_classifier(tmp_path / "classifier.safetensors")
    assert (kept.persons, kept.layout) == (1, NTU25)
    expected = kept.predict_proba(stores["common15"])
    labels = []
    for name in ("ntu25", "kinect20"):
        with open_recordings(stores[name].path, kept) as recordings:
            labels.append([row.label for row in predict(kept, recordings, threshold=0.0)])
            assert any(name in note for note in recordings.notes)
    assert labels[0] == [CLASSES[row] for row in expected.argmax(1)]
    agreement = np.mean([one == other for one, other in zip(*labels, strict=True)])
    assert agreement > 0.8  # derived joints lie elsewhere


def test_files_without_joint_names_have_the_layout_of_training(
    tmp_path: Path, stores: dict[str, Store], encoder: Path
) -> None:
    classifier = fit_classifier(load_encoder(encoder), stores["ntu25"])
    np.save(tmp_path / "new.npy", RECORDINGS[5].frames)
    with open_recordings(tmp_path / "new.npy", classifier) as recordings:
        [row] = predict(classifier, recordings, threshold=0.0)
    probabilities = classifier.predict_proba(stores["ntu25"])[5]
    assert row.probability == pytest.approx(float(probabilities.max()), abs=1e-4)


def test_every_person_counts_alone_after_training_on_one(
    tmp_path: Path, stores: dict[str, Store], encoder: Path
) -> None:
    classifier = fit_classifier(load_encoder(encoder), stores["ntu25"])
    both = np.concatenate([RECORDINGS[0].frames[:12], RECORDINGS[1].frames[:12] + 1.0], axis=1)
    np.save(tmp_path / "pair.npy", both)
    with open_recordings(tmp_path / "pair.npy", classifier) as recordings:
        rows = predict(classifier, recordings, threshold=0.0)
    assert [row.person for row in rows] == [0, 1]


def test_lists_of_arrays_of_another_layout(stores: dict[str, Store], encoder: Path) -> None:
    arrays = [recording.frames for recording in RECORDINGS]
    features = PretrainedEncoder(encoder, skeleton="ntu25").fit(arrays).transform(arrays)
    pretrained = load_encoder(encoder)
    expected = extract_features(pretrained, dataset_for(pretrained, stores["ntu25"])).values
    np.testing.assert_allclose(features, expected, atol=1e-4)
    labels = [CLASSES[recording.label] for recording in RECORDINGS]
    model = ActionClassifier(encoder, skeleton=NTU25).fit(arrays, labels)
    assert np.mean(model.predict(arrays) == labels) > 0.5


def test_an_encoder_of_one_layout_refuses_others(tmp_path: Path) -> None:
    file = tmp_path / "encoder.safetensors"
    network = GRUEncoder(COMMON15, persons=1, hidden=8, layers=1).eval()
    save_encoder(file, Pretrained(network, COMMON15, "joint", 16, "center"))
    with pytest.raises(ValueError, match="common15"):
        PretrainedEncoder(file, skeleton="ntu25").fit([]).transform([RECORDINGS[0].frames])


def test_search_finds_a_recording_in_another_layout(
    stores: dict[str, Store], encoder: Path, call: Call
) -> None:
    said = call(
        *("search", "--run", encoder, "--data", stores["ntu25"].path),
        *("--query", stores["common15"].path, "-k", 1),
    )
    assert any("ntu25" in note for note in said["notes"])
    found = [match["recording"] for match in said["matches"]]
    assert found == [f"recording-{number}" for number in range(len(RECORDINGS))]


def test_a_mapping_is_told_once(
    tmp_path: Path, stores: dict[str, Store], encoder: Path, call: Call
) -> None:
    """Also if the query and the store that is searched are mapped alike."""
    ntu, kinect = (stores[name].path for name in ("ntu25", "kinect20"))
    for query, count in ((ntu, 1), (kinect, 2), (3, 1)):
        arguments = ("search", "--run", encoder, "--data", ntu, "--query", query, "-k", 1)
        notes = [note for note in call(*arguments)["notes"] if "mapped" in note]
        assert len(notes) == count
    file = tmp_path / "classifier.safetensors"
    call("classifier", "--run", encoder, "--data", ntu, "--out", file)
    assert len([note for note in call("predict", file, ntu)["notes"] if "mapped" in note]) == 1


def test_pages_show_recordings_of_two_layouts(
    tmp_path: Path, stores: dict[str, Store], encoder: Path, call: Call
) -> None:
    flat = write_flat(tmp_path / "flat")
    for query in (stores["common15"], flat):
        page = tmp_path / f"{query.path.name}.html"
        arguments = ("search", "--run", encoder, "--data", stores["ntu25"].path)
        call(*arguments, "--query", query.path, "-k", 2, "--out", page)
        assert page.read_text().count("<img") == 20
    picture = tmp_path / "difference.png"
    arguments = ("novelty", "--run", encoder, "--data", stores["ntu25"].path)
    said = call(*arguments, "--reference", "subjects:1", flat.path, "--index", 3, "--out", picture)
    assert picture.stat().st_size > 0
    assert said["metrics"]["judged"] == 1
    assert all(value is not None for value in said["recordings"][0]["parts"].values())
    assert said["metrics"]["novel"] is None  # all references are of one subject


def write_flat(path: Path) -> Store:
    """The recordings as a camera sees them, in 2D."""
    mapping = joint_map(NTU25, COMMON15)
    with StoreWriter(path, COMMON15, class_names=CLASSES, fps=30) as writer:
        for number, recording in enumerate(RECORDINGS):
            pixels = 100 * mapping.apply(recording.frames)[..., :2] * [1, -1]
            writer.add(pixels.astype(np.float32), recording.label, name=f"flat-{number}")
    return Store(path)


def test_an_evaluation_says_what_was_mapped(
    stores: dict[str, Store], encoder: Path, call: Call
) -> None:
    arguments = ("evaluate", "knn", "--run", encoder, "--protocol", "subjects:1,2")
    said = {name: call(*arguments, "--data", store.path) for name, store in stores.items()}
    assert not any("mapped" in note for note in said["common15"]["notes"])
    for name in ("ntu25", "kinect20"):
        [note] = [note for note in said[name]["notes"] if "mapped" in note]
        assert name in note
    tops = [result["metrics"]["top1"] for result in said.values()]
    assert max(tops) - min(tops) < 0.15


_QUICK = {
    "linear": (),
    "knn": (),
    "finetune": ("--epochs", 2),
    "semi": ("--fractions", 0.5, "--draws", 2, "--frozen"),
    "occlusion": (),
    "robustness": ("--ratios", 0.4, "--noise", 0.1, "--strides", 2),
    "detection": ("--epochs", 2),
    "fewshot": ("--ways", 2, "--shots", 1, "--queries", 3, "--episodes", 5),
}


def test_every_task_is_known_here() -> None:
    assert {*_QUICK, "prediction"} == {*TASKS}  # prediction has a test of its own


@pytest.mark.parametrize("task", _QUICK)
def test_a_task_maps_joints_as_if_the_store_had_them(
    task: str, tmp_path: Path, encoder: Path, call: Call
) -> None:
    """The figures on recordings of Kinect's joints are those on the mapped recordings."""
    to_kinect, to_common = joint_map(NTU25, KINECT20), joint_map(KINECT20, COMMON15)
    metrics = []
    for name, skeleton in (("kinect", KINECT20), ("mapped", COMMON15)):
        path = tmp_path / name
        with StoreWriter(path, skeleton, class_names=CLASSES, fps=30) as writer:
            for recording in RECORDINGS:
                frames = to_kinect.apply(recording.frames)
                frames = frames if name == "kinect" else to_common.apply(frames)
                labels: dict[str, Any] = {"label": recording.label}
                if task == "detection":
                    labels = {"frame_labels": np.full(len(frames), recording.label)}
                    labels["frame_labels"][:6] = -1
                writer.add(frames, **labels, subjects=int(recording.columns["subjects"]))
        evaluation = ("evaluate", task, "--run", encoder, "--data", path, "--protocol", "xsub")
        found = call(*evaluation, *_QUICK[task])["metrics"]
        metrics.append({key: figure for key, figure in found.items() if key != "per_class"})
    assert metrics[0] == pytest.approx(metrics[1], abs=0.03, nan_ok=True)


def test_motion_is_not_predicted_in_body_lengths(
    stores: dict[str, Store], encoder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["evaluate", "prediction", "--run", encoder, "--data", stores["ntu25"].path]
    assert main([*map(str, arguments), "--protocol", "subjects:1,2"]) == 2
    assert "body lengths" in capsys.readouterr().err


def test_stores_of_several_layouts_train_together(
    tmp_path: Path, stores: dict[str, Store], call: Call
) -> None:
    run = tmp_path / "run"
    data = [stores[name].path for name in ("ntu25", "kinect20")]
    options = ("--preset", "small", "--protocol", "subjects:1,2", "--train.epochs", 1)
    small = ("--train.batch-size", 16, "--model.hidden", 8, "--model.queue-size", 32)
    call("pretrain", *options, *small, "--any-layout", "--data", *data, "--out", run)
    trained = load_encoder(run)
    assert (trained.normalization, trained.skeleton, trained.encoder.persons) == (
        *("body", COMMON15),
        2,
    )
    said = call("evaluate", "linear", "--run", run, "--data", stores["common15"].path)
    assert said["metrics"]["top1"] > 0.3
    assert (
        main(list(map(str, ["pretrain", *options, "--data", *data, "--out", tmp_path / "b"]))) == 2
    )


def test_a_live_recording_of_another_layout(
    tmp_path: Path, stores: dict[str, Store], encoder: Path
) -> None:
    """Each window is classified as a recording of its frames would be, here upside down."""
    classifier = fit_classifier(load_encoder(encoder), stores["ntu25"])
    stream = StreamingClassifier(classifier, smoothing=1, skeleton=KINECT20, up="-y")
    mapping = joint_map(NTU25, KINECT20)
    frames = 1000 * mapping.apply(RECORDINGS[5].frames) * np.float32([1, -1, -1])
    shown = [stream.push(frame) for frame in frames[:9, 0]]
    with StoreWriter(tmp_path / "nine", KINECT20, class_names=(), fps=30) as writer:
        writer.add(frames[:9], -1)
    expected = classifier.predict_proba(Store(tmp_path / "nine"))[0]
    np.testing.assert_allclose(shown[-1].probabilities, expected, atol=1e-5)
    with pytest.raises(ValueError, match="C=3"):
        stream.push(np.ones((20, 2)))


@pytest.mark.parametrize(("up", "stands"), [("y", "-y"), ("-y", "z"), ("z", "z"), ("x", "-z")])
def test_a_live_recording_that_stands_along_another_axis(
    encoder: Path, stores: dict[str, Store], up: Any, stands: Any
) -> None:
    """The frames of somebody who stands warn once; those without legs tell nothing."""
    classifier = fit_classifier(load_encoder(encoder), stores["ntu25"])
    signed = {"-y": [1, -1, -1], "z": [1, -1, 1], "-z": [1, 1, -1]}[stands]
    axes = [0, 1, 2] if stands == "-y" else [0, 2, 1]
    frames = RECORDINGS[5].frames[:12, 0][..., axes] * np.float32(signed)
    without = frames.copy()
    without[:, [*NTU25.parts["left_leg"], *NTU25.parts["right_leg"]]] = 0
    stream = StreamingClassifier(classifier, up=up)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for shown in (without, frames):
            for frame in shown:
                stream.push(frame)
            stream.reset()
    said = [str(each.message) for each in caught if each.category is UserWarning]
    assert len(said) == (up != stands)
    assert all(f"along {stands}, but up is {up!r}" in each for each in said)
    assert all(each.filename == __file__ for each in caught)


def test_live_frames_in_a_plane(encoder: Path, stores: dict[str, Store]) -> None:
    classifier = fit_classifier(load_encoder(encoder), stores["ntu25"])
    stream = StreamingClassifier(classifier, skeleton="coco17", up="-y")
    keypoints = np.random.default_rng(0).uniform(1, 500, (3, 17, 2))
    assert all(np.isfinite(stream.push(frame).probabilities).all() for frame in keypoints)
    with pytest.raises(ValueError, match=r"up.*got 'z up'"):
        StreamingClassifier(classifier, up="z up")  # type: ignore[arg-type]


def test_exported_files_say_what_clips_they_take(
    tmp_path: Path, encoder: Path, stores: dict[str, Store]
) -> None:
    """All that a program needs to make the clips; they give the probabilities of the recording."""
    classifier = fit_classifier(load_encoder(encoder), stores["ntu25"])
    save_classifier(tmp_path / "classifier.safetensors", classifier)
    for words in (["--run", str(encoder)], [str(tmp_path / "classifier.safetensors")]):
        file, said = tmp_path / "file.pt2", {"pcm3.json": ""}
        assert main(["export", *words, "--out", str(file), "--overwrite"]) == 0
        program = torch.export.load(file, extra_files=said).module()
        about = json.loads(said["pcm3.json"])
        assert tuple(json.loads(about["skeleton"])["joints"]) == COMMON15.joints
        entries = ("normalization", "unit", "up", "front", "stream", "frames")
        expected = ["body", "body lengths", "y", "-z", "joint", "16"]
        assert [about[name] for name in entries] == expected
    assert float(about["fps"]) == 30
    dataset = dataset_for(classifier.pretrained, stores["kinect20"])
    clips, lengths, _, _ = dataset.batch(range(6))
    seen = clips.abs().sum(dim=1) > 0
    above = clips[:, 1, :, COMMON15.joints.index("head"), 0] - clips[:, 1, :, 11, 0]
    assert above[seen[:, :, 2, 0]].median() > 0.9  # body lengths, along y
    (found,) = program(center_crop_resize(clips, lengths, 16))
    np.testing.assert_allclose(found, classifier.predict_proba(dataset)[:6], atol=1e-5)


def test_arrays_of_another_layout_are_refused_with_advice(
    tmp_path: Path, encoder: Path, stores: dict[str, Store], capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "classifier.safetensors"
    save_classifier(file, fit_classifier(load_encoder(encoder), stores["ntu25"]))
    (tmp_path / "arrays").mkdir()
    np.save(tmp_path / "arrays" / "0.npy", np.ones((20, 17, 2)))
    for source in (tmp_path / "arrays", tmp_path / "arrays" / "0.npy"):
        assert main(["predict", str(file), str(source)]) == 2
        error = capsys.readouterr().err
        assert "--skeleton" in error
        assert f"{tmp_path / 'arrays'} STORE" in error


# --- left-handed axes -----------------------------------------------------------------------------

MIRROR = np.float32([-1, 1, 1])
POSED = [
    recording.frames[:, :1]
    for recording in synthetic_sequences(
        sequences=24, persons=2, classes=22, frames=(12, 20), missing=0.0, seed=3
    )
]
"""Many of them reach forward, which shows where people face."""


def write_posed(path: Path, change: Any = 1, skeleton: Skeleton = NTU25, count: int = 24) -> Store:
    mapping, names = joint_map(NTU25, skeleton), ("even", "odd")
    with StoreWriter(path, skeleton, class_names=names, fps=30, normalization="center") as writer:
        for number, frames in enumerate(POSED[:count]):
            moved = mapping.apply(frames * np.float32(change))
            writer.add(normalize(moved, skeleton, "center"), number % 2)
    return Store(path)


def clip_of(dataset: Any, item: int) -> Any:
    batch = dataset.batch([item])
    return batch.clips[0, :, : int(batch.lengths[0]), :, :1].permute(1, 3, 2, 0).numpy()


def test_few_recordings_have_the_axes_of_training(tmp_path: Path, encoder: Path) -> None:
    """One recording may look as if its axes were others; many show it."""
    plain, mirrored = write_posed(tmp_path / "plain"), write_posed(tmp_path / "mirrored", MIRROR)
    intake = Intake.like(mirrored, load_encoder(encoder))
    assert intake.left_handed
    assert not Intake.like(plain, load_encoder(encoder)).left_handed
    mapping = joint_map(NTU25, COMMON15)
    cases = ((1, NTU25, True), (12, NTU25, False), (1, KINECT20, False))
    for count, skeleton, as_training in cases:
        some = write_posed(tmp_path / f"{skeleton.name}-{count}", 1, skeleton, count)
        assert not BodyForm(some, COMMON15).left_handed
        if skeleton == NTU25:
            frames = some.stored(0)
            expected = body_form(frames, mapping, COMMON15, "y", left_handed=as_training)
            np.testing.assert_allclose(clip_of(intake.clips(some), 0), expected, atol=1e-4)
        assert intake.with_axes(some).known_left_handed == (True if as_training else None)
    again = pickle.loads(pickle.dumps(intake.with_axes(Store(tmp_path / "ntu25-1"))))
    assert again.known_left_handed


def push_all(stream: StreamingClassifier, frames: np.ndarray) -> Any:
    for frame in frames[: stream.classifier.window]:
        now = stream.push(frame)
    return now


def test_somebody_who_lies_is_turned_as_those_who_stand(tmp_path: Path, encoder: Path) -> None:
    """One body along z does not make z point up, if the layout is that of training."""
    file = tmp_path / "classifier.safetensors"
    downwards = np.array((1, -1, -1))  # y points down, and the axes stay right-handed
    standing = write_posed(tmp_path / "standing", downwards)
    save_classifier(file, fit_classifier(load_encoder(encoder), standing))
    classifier = load_classifier(file)
    assert (classifier.up, classifier.channels) == ("-y", 3)

    lying = np.asarray(standing.stored(0))[..., [0, 2, 1]] * np.array((1, 1, -1))
    alone = tmp_path / "alone"
    with StoreWriter(alone, NTU25, class_names=(), normalization="center") as writer:
        writer.add(lying.astype(np.float32))
    assert Store(alone).up in ("z", "-z")
    mapping = joint_map(NTU25, COMMON15)
    expected = body_form(lying, mapping, COMMON15, "-y", left_handed=bool(classifier.left_handed))
    found = clip_of(classifier.clips(Store(alone)), 0)
    np.testing.assert_allclose(found, expected, atol=1e-4)
    given = classifier.clips(Store(alone, up="z"))
    assert np.abs(clip_of(given, 0) - expected).max() > 0.1

    stream, other = (StreamingClassifier(classifier, 1, up=up) for up in (None, "-y"))
    default = StreamingClassifier(classifier, 1, skeleton=KINECT20)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        now = push_all(stream, lying)
    with pytest.warns(UserWarning, match="extends along"):
        then = push_all(other, lying)
    np.testing.assert_allclose(now.probabilities, then.probabilities)
    as_kinect = joint_map(NTU25, KINECT20).apply(np.asarray(standing.stored(0)))
    with pytest.warns(UserWarning, match="up is 'y'"):  # another layout, so not that of training
        push_all(default, as_kinect)


def test_other_axes_than_those_of_training_are_told(tmp_path: Path, encoder: Path) -> None:
    standing = write_posed(tmp_path / "standing")
    classifier = fit_classifier(load_encoder(encoder), standing)

    def notes(store: Store) -> str:
        with open_recordings(store.path, classifier) as recordings:
            return " ".join(recordings.notes)

    few = write_posed(tmp_path / "few", count=2)
    assert "extend along" not in notes(few)
    turned = np.stack([POSED[0][..., 0], -POSED[0][..., 2], POSED[0][..., 1]], axis=-1)
    for name, frames, said in (
        ("z up", turned, "--up=z"),
        ("down", POSED[0] * [1, -1, -1], "--up=-y"),
        ("still", POSED[0][:1], "one frame"),
        ("flat", POSED[0][..., :2], "2 coordinates"),
    ):
        with StoreWriter(tmp_path / name, NTU25, class_names=(), normalization="none") as writer:
            writer.add(frames.astype(np.float32))
        assert said in notes(Store(tmp_path / name))


def test_places_that_nobody_has_do_not_count(tmp_path: Path, encoder: Path) -> None:
    pretrained = load_encoder(encoder)
    four = np.pad(POSED[0], ((0, 0), (0, 3), (0, 0), (0, 0)))
    for name, frames in (("one", POSED[0]), ("four", four), ("crowd", POSED[0].repeat(3, 1))):
        with StoreWriter(tmp_path / name, NTU25, class_names=(), normalization="none") as writer:
            writer.add(frames)
    one, four = (
        extract_features(pretrained, dataset_for(pretrained, Store(tmp_path / name))).values
        for name in ("one", "four")
    )
    torch.testing.assert_close(one, four)
    with pytest.raises(ValueError, match=r"2 persons.*, got 3; .*--persons 2"):
        dataset_for(pretrained, Store(tmp_path / "crowd"))


def test_errors_name_the_recordings_of_persons(tmp_path: Path, encoder: Path) -> None:
    """Not the temporary store of one person each."""
    classifier = fit_classifier(load_encoder(encoder), write_posed(tmp_path / "one"))
    pair = tmp_path / "pair"
    with StoreWriter(pair, NTU25, class_names=(), fps=15, normalization="none") as writer:
        writer.add(POSED[0].repeat(2, axis=1))
    with pytest.raises(ValueError, match=re.escape(f"{pair}: expected")) as error:
        open_recordings(pair, classifier).__enter__()
    assert "pcm3-" not in str(error.value)


def test_a_recording_has_the_label_that_it_has_among_others(tmp_path: Path, encoder: Path) -> None:
    file = tmp_path / "classifier.safetensors"
    mirrored = write_posed(tmp_path / "mirrored", MIRROR)
    save_classifier(file, fit_classifier(load_encoder(encoder), mirrored))
    classifier = load_classifier(file)
    assert classifier.left_handed
    alone = write_posed(tmp_path / "alone", count=1)  # looks as if it were right-handed
    mixed = [alone.stored(0), *(mirrored.stored(index) for index in range(1, 20))]
    with StoreWriter(tmp_path / "mixed", NTU25, class_names=(), normalization="center") as writer:
        for frames in mixed:
            writer.add(np.asarray(frames))
    expected = classifier.predict_proba(Store(tmp_path / "mixed"))[0]
    np.testing.assert_allclose(classifier.predict_proba(alone)[0], expected, atol=1e-5)
    with open_recordings(alone.path, classifier) as recordings:
        [row] = predict(classifier, recordings, threshold=0.0)
    assert row.probability == pytest.approx(float(expected.max()), abs=1e-5)

    stream = StreamingClassifier(classifier, smoothing=1)
    assert stream.left_handed
    assert not StreamingClassifier(classifier, left_handed=False).left_handed
    assert not StreamingClassifier(classifier, skeleton=KINECT20).left_handed
    latest = np.asarray(alone.stored(0)[: classifier.window])
    for frame in latest:
        now = stream.push(frame)
    with StoreWriter(tmp_path / "short", NTU25, class_names=(), normalization="center") as writer:
        writer.add(latest)
    expected = classifier.predict_proba(Store(tmp_path / "short"))[0]
    np.testing.assert_allclose(now.probabilities, expected, atol=1e-4)


@pytest.mark.parametrize("change", [MIRROR, np.float32([1, 1, 1])])
def test_features_do_not_depend_on_other_recordings(change: Any, encoder: Path) -> None:
    recordings = [frames[:, 0] * change for frames in POSED]
    recordings[3] = recordings[3] * [1, 1, -1]  # looks as if its axes were others
    transformer = PretrainedEncoder(encoder, skeleton=NTU25).fit(recordings)
    together = transformer.transform(recordings)
    for recording, expected in zip(recordings, together, strict=True):
        np.testing.assert_allclose(transformer.transform([recording])[0], expected, atol=1e-4)


def test_arrays_are_read_in_the_joint_order_of_training(tmp_path: Path, encoder: Path) -> None:
    """The layout of a store may have the name of a built-in one, and another order."""
    np.save(tmp_path / "new.npy", POSED[0])
    for skeleton in (NTU25, NTU25.reordered(NTU25.joints[::-1])):
        store = write_posed(tmp_path / skeleton.joints[0], 1, skeleton)
        classifier = fit_classifier(load_encoder(encoder), store)
        with open_recordings(tmp_path / "new.npy", classifier) as recordings:
            assert recordings.store.skeleton.joints == skeleton.joints
            told = [note for note in recordings.notes if ", ".join(skeleton.joints) in note]
            assert len(told) == (skeleton != NTU25)
