"""Detection on recordings whose actions are plain to see, and on real ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from old_stores import edit_meta
from torch import Tensor

from pcm3.data.dataset import Batch, SkeletonDataset
from pcm3.data.prepare import prepare
from pcm3.data.splits import split
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic import generate
from pcm3.encoders import GRUEncoder, TransformerEncoder
from pcm3.evaluation.features import dataset_for
from pcm3.evaluation.tasks.detection import classifier, detection
from pcm3.evaluation.tasks.detection.annotation import true_intervals
from pcm3.evaluation.tasks.detection.average_precision import (
    ap_2d,
    f1_score,
    map_by_action,
    map_by_video,
    pku_ap,
    summarize_detection,
)
from pcm3.evaluation.tasks.detection.detection import (
    DetectionSettings,
    evaluate_detection,
    find_proposals,
    frame_probabilities,
)
from pcm3.evaluation.tasks.detection.recipes import Borders, Windows
from pcm3.hub import Pretrained
from pcm3.skeleton import NTU25

CLASSES = ("raise", "bend", "kick")
SHORT = DetectionSettings(epochs=14, drops=(10,))


def write(out: Path, lengths: Sequence[int], classes: Sequence[str] = CLASSES) -> Store:
    """Recordings of a noisy body that takes one of three poses for 30 to 50 frames at a time."""
    rng = np.random.default_rng(0)
    poses = np.random.default_rng(1).normal(0, 0.5, (4, 25, 3))
    with StoreWriter(out, NTU25, class_names=classes) as writer:
        for number, length in enumerate(lengths):
            labels = np.full(length, -1)
            segments = []
            at = int(rng.integers(5, 20))
            while (end := at + int(rng.integers(30, 50))) < length - 5:
                label = len(segments) % 3
                labels[at:end] = label
                segments.append((at, end, label))
                at = end + int(rng.integers(5, 20))
            frames = poses[labels] + rng.normal(0, 0.05, (length, 25, 3))
            writer.add(
                frames[:, None],
                name=f"video {number}",
                frame_labels=labels,
                segments=np.array(segments).reshape(-1, 3),
                subjects=number % 2,
            )
    return Store(out)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    lengths = [150, 180, 210, 330, 170, 190, 160, 340]
    return write(tmp_path_factory.mktemp("data") / "store", lengths)


@pytest.fixture(scope="module")
def parts(store: Store, pretrained: Pretrained) -> tuple[SkeletonDataset, SkeletonDataset]:
    return dataset_for(pretrained, store, range(4)), dataset_for(pretrained, store, range(4, 8))


Parts = tuple[SkeletonDataset, SkeletonDataset]


@pytest.mark.parametrize("finetune", [False, True])
@pytest.mark.parametrize("normalize", [False, True])
def test_plain_actions_are_found(
    pretrained: Pretrained, parts: Parts, finetune: bool, normalize: bool
) -> None:
    before = {name: each.clone() for name, each in pretrained.encoder.state_dict().items()}
    recipe = replace(SHORT, finetune=finetune, normalize=normalize)
    if not (finetune or normalize):  # small features need long steps
        recipe = replace(recipe, epochs=40, lr=2.0, drops=(30,))
    results = evaluate_detection(pretrained, *parts, recipe)
    assert results["map_action_voc_0.5"] > 0.8
    assert results["frame_accuracy"] > 0.75
    assert results["map_action_voc_0.1"] >= results["map_action_voc_0.5"]
    for name, each in pretrained.encoder.state_dict().items():
        assert torch.equal(each, before[name])
    assert not pretrained.encoder.training
    assert all(each.requires_grad for each in pretrained.encoder.parameters())


def test_results_repeat_and_follow_the_seed(pretrained: Pretrained, parts: Parts) -> None:
    first = evaluate_detection(pretrained, *parts, SHORT)
    torch.manual_seed(77)
    assert evaluate_detection(pretrained, *parts, SHORT) == first
    other = frame_probabilities(pretrained, *parts, replace(SHORT, seed=1))
    again = frame_probabilities(pretrained, *parts, SHORT)
    assert not np.allclose(other[0], again[0], atol=1e-4)


def test_details_hold_what_the_metrics_are_made_of(pretrained: Pretrained, parts: Parts) -> None:
    results = evaluate_detection(pretrained, *parts, SHORT)
    assert json.loads(json.dumps(results)) == results
    details = results.pop("details")
    assert all(isinstance(each, float) and 0 <= each <= 1 for each in results.values())
    assert details["class_names"] == list(CLASSES)
    test = parts[1]
    probabilities = frame_probabilities(pretrained, *parts, SHORT)
    proposals = find_proposals(probabilities, SHORT)
    right = 0
    for number, video in enumerate(details["videos"]):
        index = 4 + number
        assert video["name"] == f"video {index}"
        assert video["frames"] == test.store.lengths[index]
        rows = test.store.segments
        assert rows is not None
        mine = rows[rows[:, 0] == index]
        assert video["truth"] == [[label, a, b] for _, a, b, label in mine.tolist()]
        assert video["proposals"] == [list(p[1:]) for p in proposals if p.video == number]
        unrolled: list[int] = []
        for label, start, end in video["predicted"]:
            assert start == len(unrolled) < end
            unrolled += [label] * (end - start)
        columns = probabilities[number].argmax(axis=1)
        assert unrolled == [-1 if column == 3 else column for column in columns.tolist()]
        start = int(test.store.starts[index])
        labels = test.store.frame_labels
        assert labels is not None
        right += int((labels[start : start + len(unrolled)] == unrolled).sum())
    assert results["frame_accuracy"] == pytest.approx(right / sum(map(len, probabilities)))


def test_the_truth_itself_is_perfect(parts: Parts) -> None:
    test = parts[1]
    truth = true_intervals(test)
    assert len(truth) > 8
    rows = []
    for video, length in enumerate(test.store.lengths[4:8]):
        columns = np.full(length, 3)
        for each in truth:
            if each.video == video:
                columns[each.start : each.end] = each.label
        rows.append(np.eye(4)[columns])
    results = summarize_detection(rows, truth, test)
    del results["details"]
    assert results == dict.fromkeys(results, 1)
    assert len(results) == 10
    # the activity rule finds them too, for there is background in between
    found = find_proposals(rows, DetectionSettings(rule="activity"))
    assert found == truth
    nothing = summarize_detection(rows, [], test)
    assert nothing["map_action_voc_0.1"] == nothing["ap_2d"] == nothing["f1_0.5"] == 0
    assert nothing["frame_accuracy"] == 1


def test_the_summary_is_of_the_metrics_by_name(parts: Parts) -> None:
    test = parts[1]
    proposals = [  # later by a sixth each, two in the first recording doubled, the last lost
        each._replace(start=each.start + 2 * at, end=each.end + 2 * at, confidence=1 - at / 50)
        for at, each in enumerate(true_intervals(test)[:-3])
    ]
    proposals += [each._replace(confidence=0.3) for each in proposals[:2]]
    truth = true_intervals(test)
    rows = [np.eye(4)[np.arange(length) % 4] for length in test.store.lengths[test.indices]]
    results = summarize_detection(rows, proposals, test)
    for threshold in (0.1, 0.3, 0.5):
        assert results[f"map_action_voc_{threshold}"] == map_by_action(proposals, truth, threshold)
        assert results[f"map_action_pku_{threshold}"] == map_by_action(
            proposals, truth, threshold, pku_ap
        )
    assert results["map_video_pku_0.5"] == map_by_video(proposals, truth)
    assert results["f1_0.5"] == f1_score(proposals, truth)
    assert results["ap_2d"] == ap_2d(proposals, truth)
    del results["details"]
    assert len(set(results.values())) > 6  # so that none passes for another
    assert len(results) == 10


def test_the_summary_counts_classes_and_recordings_without_intervals(tmp_path: Path) -> None:
    """As PKU-MMD's evaluator does, which takes all classes and all files."""
    with StoreWriter(tmp_path / "store", NTU25, class_names=CLASSES) as writer:
        for number in range(2):
            labels = np.full(40, -1)
            labels[10:20] = 0 if number == 0 else -1
            segments = [(10, 20, 0)] if number == 0 else []
            writer.add(
                np.random.default_rng(number).normal(size=(40, 1, 25, 3)),
                frame_labels=labels,
                segments=np.array(segments).reshape(-1, 3),
            )
    test = SkeletonDataset(Store(tmp_path / "store"))
    truth = true_intervals(test)
    results = summarize_detection([np.ones((40, 4))] * 2, truth, test)
    assert results["map_action_voc_0.5"] == 1
    assert results["map_action_pku_0.5"] == pytest.approx(1 / 3)
    assert results["map_video_pku_0.5"] == pytest.approx(1 / 2)
    assert results["frame_accuracy"] == pytest.approx(10 / 80)  # the first of equal classes


def test_rule_and_smoothing_are_the_settings() -> None:
    """Of recordings that 9000 frames of background follow; what reaches into them is cut."""
    rng = np.random.default_rng(0)
    rows = [rng.dirichlet(np.ones(4), 200) for _ in range(3)]
    for each in rows:
        each[-30:] = (0.85, 0.05, 0.05, 0.05)
    behind = np.tile(np.eye(4)[3], (9000, 1))
    cut = 0
    for settings in (
        DetectionSettings(),
        DetectionSettings(smoothing=20),
        DetectionSettings("survey"),
    ):
        rule = {
            "sliding_window": detection.sliding_window_proposals,
            "activity": detection.activity_proposals,
        }[settings.resolve().rule]
        expected = []
        for video in range(3):
            padded = detection.smooth(
                np.concatenate([rows[video], behind]), settings.resolve().smoothing
            )
            found = rule(padded, 3, video=video)
            cut += sum(each.end > 200 for each in found)
            expected += [each._replace(end=min(each.end, 200)) for each in found]
        assert find_proposals(rows, settings) == expected
    assert cut > 3


# --- windows --------------------------------------------------------------------------------------


def ramp(read: Callable[..., Batch]) -> Callable[..., Batch]:
    """Every coordinate is its frame's number, plus a thousand for every recording before."""

    def batch(dataset: SkeletonDataset, indices: Sequence[int]) -> Batch:
        batch = read(dataset, indices)
        frames = torch.arange(batch.clips.shape[2]) + 1000.0 * torch.tensor(indices)[:, None]
        numbers = frames[:, None, :, None, None].expand_as(batch.clips)
        return batch._replace(clips=numbers.contiguous())

    return batch


@pytest.fixture
def seen(pretrained: Pretrained, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """The windows (W, L) that the encoder gets, batch by batch, as numbers of frames."""
    batches: list[Tensor] = []
    monkeypatch.setattr(SkeletonDataset, "batch", ramp(SkeletonDataset.batch))
    forward = GRUEncoder.forward

    def spy(self: GRUEncoder, clips: Tensor, prompt: Tensor | None = None) -> Tensor:
        assert (clips == clips[:, :1, :, :1, :1]).all()
        batches.append(clips[:, 0, :, 0, 0].detach())
        return forward(self, clips, prompt)

    monkeypatch.setattr(GRUEncoder, "forward", spy)
    return batches


@pytest.mark.parametrize("finetune", [False, True])
@pytest.mark.parametrize("borders", ["repeat", "inside"])
@pytest.mark.parametrize(("windows", "half"), [("consecutive", 16), ("strided", 8)])
def test_windows(
    pretrained: Pretrained,
    parts: Parts,
    seen: list[Tensor],
    windows: Windows,
    half: int,
    borders: Borders,
    finetune: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(classifier, "cache_pays", lambda *_: False)
    recipe = DetectionSettings(windows=windows, borders=borders, epochs=3, finetune=finetune)
    frame_probabilities(pretrained, *parts, recipe)
    lengths = parts[0].store.lengths
    drawn, tested = torch.cat(seen)[: 3 * 16 * 4], torch.cat(seen)[3 * 16 * 4 :]
    # training: 16 windows of each recording in every epoch
    video = (drawn[:, half] // 1000).long()
    assert video.reshape(3, -1).sort(dim=1).values.tolist() == [sorted([0, 1, 2, 3] * 16)] * 3
    inner = drawn % 1000
    last = torch.from_numpy(lengths)[video] - 1
    strides = (inner[:, half] - inner[:, half - 1]).maximum(inner[:, half + 1] - inner[:, half])
    offsets = torch.arange(-half, half)
    unlimited = inner[:, half, None] + strides[:, None] * offsets
    expected = unlimited.clamp(min=0).minimum(last[:, None])
    assert torch.equal(inner, expected)
    assert torch.equal(expected, unlimited) == (borders == "inside")
    assert set(strides.tolist()) == ({1} if windows == "consecutive" else {3, 4, 5})
    assert inner[:, half].unique().numel() > 60
    if borders == "inside":  # all near the beginning see the first window
        assert (inner[:, 0] == 0).sum() > 3 * 64 * half / 300
    assert not torch.equal(inner[:64], inner[64:128])
    # test: one window around every frame, none of them cut off
    stride = 1 if windows == "consecutive" else 4
    at = 0
    for item, length in enumerate(lengths[4:8].tolist()):
        middles = torch.arange(length)
        if borders == "inside":
            middles = middles.clamp(half * stride, length - half * stride)
        expected = middles[:, None] + stride * offsets
        expected = expected.clamp(0, length - 1) + 1000 * item
        assert torch.equal(tested[at : at + length], expected.float())
        at += length
    assert at == len(tested)


def test_a_window_has_the_class_of_its_middle(
    pretrained: Pretrained, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss sees the label of frame 16 of the window, background as the last column."""
    monkeypatch.setattr(SkeletonDataset, "batch", ramp(SkeletonDataset.batch))
    training = parts[0].uncut()
    recipe = DetectionSettings(finetune=True, epochs=2, borders="inside").resolve()
    model = classifier.WindowClassifier(pretrained, 3, True)
    store = parts[0].store
    assert store.frame_labels is not None
    epochs = classifier.draw_epochs(model, training, recipe, torch.Generator())
    for windows, columns in epochs:
        for window, column in zip(windows, columns.tolist(), strict=True):
            item, frame = divmod(int(window[0, 16, 0, 0]), 1000)
            assert column == int(store.frame_labels[store.starts[item] + frame]) % 4


@pytest.mark.parametrize("windows", ["consecutive", "strided"])
def test_cached_features_change_nothing(
    pretrained: Pretrained,
    parts: Parts,
    windows: Windows,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = []
    for pays in (False, True):
        monkeypatch.setattr(classifier, "cache_pays", lambda *_, pays=pays: pays)
        found.append(frame_probabilities(pretrained, *parts, replace(SHORT, windows=windows)))
    for with_cache, without in zip(*found, strict=True):
        np.testing.assert_allclose(with_cache, without, atol=1e-4)


def test_the_cache_is_for_few_frames(parts: Parts) -> None:
    training = parts[0].uncut()  # 870 frames, 64 windows an epoch
    for windows, epochs in (("consecutive", 14), ("strided", 41)):
        for fewer in (0, 1):
            recipe = DetectionSettings(windows=windows, epochs=epochs - fewer).resolve()
            assert classifier.cache_pays(training, recipe) == (not fewer)


@pytest.mark.parametrize("every", [2, 5, 400])
def test_frames_between_take_the_nearest_classified_one(
    pretrained: Pretrained, parts: Parts, every: int
) -> None:
    dense = frame_probabilities(pretrained, *parts, SHORT)
    sparse = frame_probabilities(pretrained, *parts, replace(SHORT, every=every))
    for rows, filled in zip(dense, sparse, strict=True):
        assert len(rows) == len(filled)
        classified = range(0, len(rows), every)
        nearest = [min(classified, key=lambda c: (abs(c - t), -c)) for t in range(len(rows))]
        np.testing.assert_allclose(filled, rows[nearest], atol=1e-5)


def test_windows_have_the_transformers_number_of_frames(parts: Parts) -> None:
    torch.manual_seed(0)
    encoder = TransformerEncoder(25, persons=1, frames=8, width=16, depth=1, heads=2).eval()
    transformer = Pretrained(encoder, NTU25, "joint", 8)
    shapes = set()
    forward = TransformerEncoder.forward

    def spy(self: TransformerEncoder, clips: Tensor, prompt: Tensor | None = None) -> Tensor:
        shapes.add(tuple(clips.shape[1:]))
        return forward(self, clips, prompt)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransformerEncoder, "forward", spy)
        results = evaluate_detection(transformer, *parts, SHORT)
    assert shapes == {(3, 8, 25, 1)}
    assert results["frame_accuracy"] > 0.5  # most frequent class: 0.27


def test_streams_are_made_of_windows(
    pretrained: Pretrained, parts: Parts, seen: list[Tensor]
) -> None:
    motion = pretrained._replace(stream="motion")
    frame_probabilities(motion, *parts, replace(SHORT, epochs=1, drops=()))
    windows = torch.cat(seen)
    assert set(windows.flatten().tolist()) == {0, 1}  # 0 where a frame is repeated
    assert (windows[:, -1] == 0).all()


# --- bad input ------------------------------------------------------------------------------------


def test_trimmed_or_other_data(tmp_path: Path, pretrained: Pretrained, parts: Parts) -> None:
    trimmed = SkeletonDataset(generate(tmp_path / "trimmed", sequences=4, classes=2, subjects=2))
    for pair in ((trimmed, parts[1]), (parts[0], trimmed)):
        with pytest.raises(ValueError, match=r"expected untrimmed recordings .* are trimmed"):
            evaluate_detection(pretrained, *pair)
    other = SkeletonDataset(write(tmp_path / "other", [100], ("a", "b", "c")))
    with pytest.raises(ValueError, match="the same classes in the training and the test part"):
        evaluate_detection(pretrained, parts[0], other)
    wide = Pretrained(GRUEncoder(25, hidden=4).eval(), NTU25, "joint", 16)
    with pytest.raises(ValueError, match=r"2 persons.*, got 1; .*persons=2"):
        evaluate_detection(wide, *parts)
    for frames, recordings in ((3, 4), (9999, 4), (3, 3)):
        with pytest.raises(ValueError, match="every frame of the 4 recordings"):
            summarize_detection([np.ones((frames, 4))] * recordings, [], parts[1])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "epochs > 0, got 0"),
        ({"lr": 0.0}, r"lr > 0, got 0\.0"),
        ({"batch_size": 0}, "batch_size > 0"),
        ({"batch_size": 1}, "batch_size >= 2 to normalize"),
        ({"every": 0}, "every > 0"),
        ({"smoothing": -1}, "smoothing >= 0, got -1"),
        ({"recipe": "best"}, "recipe among .*, got 'best'"),
        ({"windows": "long"}, "windows among .*, got 'long'"),
        ({"borders": "wrap"}, "borders among .*, got 'wrap'"),
        ({"rule": "best"}, "rule among .*, got 'best'"),
    ],
)
def test_bad_settings(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DetectionSettings(**options)  # type: ignore[arg-type]


def test_a_loss_that_is_not_finite(pretrained: Pretrained, parts: Parts) -> None:
    with pytest.raises(ValueError, match=r"loss became \w+ in epoch .*lr \(now 1e\+38"):
        frame_probabilities(pretrained, *parts, DetectionSettings(epochs=4, lr=1e38))


def test_a_last_batch_of_one_window(pretrained: Pretrained, parts: Parts) -> None:
    frame_probabilities(
        pretrained, *parts, DetectionSettings(epochs=2, batch_size=9)
    )  # 64 = 7 * 9 + 1


def test_the_optimiser_follows_its_schedule(pretrained: Pretrained, parts: Parts) -> None:
    """Nesterov momentum, drops and shuffled batches, written down."""
    recipe = DetectionSettings(
        normalize=False, epochs=4, lr=0.5, drops=(1, 3), batch_size=24
    ).resolve()
    training = parts[0].uncut()
    torch.manual_seed(4)
    model = classifier.WindowClassifier(pretrained, 3, False)
    weights = [model.head.weight.detach().clone(), model.head.bias.detach().clone()]
    speed = [torch.zeros_like(each) for each in weights]
    generator = torch.Generator().manual_seed(4)
    epochs = classifier.draw_epochs(model, training, recipe, generator)
    rates = (0.5, 0.05, 0.05, 0.005)
    for rate, (features, columns) in zip(rates, epochs, strict=True):
        order = torch.randperm(len(features), generator=generator)
        for at in range(0, 64, 24):
            rows = order[at : at + 24]
            leaves = [each.requires_grad_() for each in weights]
            scores = features[rows] @ leaves[0].T + leaves[1]
            loss = torch.nn.functional.cross_entropy(scores, columns[rows])
            gradients = torch.autograd.grad(loss, leaves)
            speed = [0.9 * v + g for v, g in zip(speed, gradients, strict=True)]
            weights = [
                (w - rate * (g + 0.9 * v)).detach()
                for w, g, v in zip(weights, gradients, speed, strict=True)
            ]
    trained = classifier.train_window_classifier(pretrained, training, recipe, 4)
    torch.testing.assert_close(trained.head.weight.detach(), weights[0], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(trained.head.bias.detach(), weights[1], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("finetune", [False, True])
def test_what_is_trained(pretrained: Pretrained, parts: Parts, finetune: bool) -> None:
    """Everything in fine-tuning; else nothing of the encoder, its statistics included."""
    recipe = replace(SHORT, finetune=finetune).resolve()
    training = parts[0].uncut()
    model = classifier.train_window_classifier(pretrained, training, recipe, 0)
    assert not any(module.training for module in model.modules())
    trained = model.encoder.state_dict()
    for name, before in pretrained.encoder.state_dict().items():
        assert torch.equal(before, trained[name]) != finetune, name


# --- real recordings ------------------------------------------------------------------------------


def test_martial_arts(shared: Path, tmp_path: Path) -> None:
    prepare(shared / "data" / "precog2016.npz", tmp_path / "store")
    store = Store(tmp_path / "store")
    torch.manual_seed(0)
    encoder = GRUEncoder(store.skeleton, persons=1, hidden=16, layers=1, pool="mean").eval()
    pretrained = Pretrained(encoder, store.skeleton, "joint", 32)
    training, test = (dataset_for(pretrained, store, part) for part in split(store, "xsub"))
    recipe = DetectionSettings(epochs=20, drops=(15,), every=4)
    results = evaluate_detection(pretrained, training, test, recipe)
    assert len(true_intervals(training)) + len(true_intervals(test)) == 353
    assert results["map_action_voc_0.1"] > 0.3
    assert results["frame_accuracy"] > 0.4


def test_proposals_as_files_of_the_data_set(
    tmp_path: Path, store: Store, pretrained: Pretrained
) -> None:
    training, test = (SkeletonDataset(store, part) for part in split(store, "xsub"))
    settings = replace(SHORT, epochs=2, drops=(), every=8, pku_files=tmp_path / "pku")
    result = evaluate_detection(pretrained, training, test, settings)
    videos = result["details"]["videos"]
    for video in videos:
        lines = (tmp_path / "pku" / f"{video['name']}.txt").read_text().splitlines()
        written = [[float(value) for value in line.split(",")] for line in lines]
        assert written == [[label + 1, *rest] for label, *rest in video["proposals"]]
    assert result == evaluate_detection(
        pretrained, training, test, replace(settings, pku_files=None)
    )


@pytest.mark.parametrize(
    ("names", "files"),
    [
        (["sequence 4", "0002-L", "a b"], ["0002-L", "a b", "sequence-4"]),
        (["", "", ""], ["sequence-0", "sequence-1", "sequence-2"]),
        (None, ["sequence-0", "sequence-1", "sequence-2"]),  # stores were once written without
    ],
)
def test_names_of_these_files(
    tmp_path: Path, pretrained: Pretrained, names: list[str] | None, files: list[str]
) -> None:
    store = write(tmp_path / "store", [80, 80, 80])
    file = tmp_path / "store" / "names.npy"
    file.unlink() if names is None else np.save(file, np.array(names))
    edit_meta(store.path)
    data = SkeletonDataset(Store(store.path))
    settings = replace(SHORT, epochs=1, drops=(), every=8, pku_files=tmp_path / "pku")
    evaluate_detection(pretrained, data, data, settings)
    assert sorted(each.stem for each in (tmp_path / "pku").iterdir()) == files
