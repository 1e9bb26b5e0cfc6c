"""Distances from references, against a slow loop over all recordings."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcm3.augment.functional import center_crop_resize
from pcm3.cli import main
from pcm3.data.splits import select
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic import synthetic_sequences
from pcm3.data.tally import body_length
from pcm3.hub import Pretrained, save_encoder
from pcm3.inference.differences import compare
from pcm3.inference.judgements import (
    explain,
    explain_furthest,
    furthest,
    score_judgements,
    write_judgements,
)
from pcm3.inference.novelty import Judgement, NoveltyDetector, raw_joints
from pcm3.inference.search import Gallery, encode, open_queries
from pcm3.skeleton import NTU25

MakeStore = Callable[..., Store]


@pytest.fixture
def make_store(tmp_path: Path, store: Store) -> MakeStore:
    """A store of chosen recordings of the store, with columns of one's own."""

    def make(
        indices: list[int], labels: list[int], name: str = "made", **columns: list[Any]
    ) -> Store:
        with StoreWriter(
            tmp_path / name,
            NTU25,
            class_names=store.class_names,
            fps=30,
            normalization="center",
        ) as writer:
            for row, (index, label) in enumerate(zip(indices, labels, strict=True)):
                own = {column: values[row] for column, values in columns.items()}
                writer.add(store.sequence(index), label, name=f"{name} {row}", **own)
        return Store(tmp_path / name)

    return make


def judge(
    gallery: Gallery, pretrained: Pretrained, references: Any, **options: Any
) -> list[Judgement]:
    with open_queries(None, pretrained, gallery.store) as queries:
        judged, _ = NoveltyDetector(gallery, references, **options).judge(queries, gallery)
    return judged


def slow_scores(
    gallery: Gallery, references: list[int], k: int, same_subject: bool, across: bool
) -> dict[int, tuple[float, int]]:
    """Score and nearest reference of each recording that has k references."""
    store, found = gallery.store, {}
    values = gallery.values.double().numpy()
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    for index in range(len(store)):
        distances = []
        for other in references:
            if other == index:
                continue
            subjects = store.columns["subjects"]
            if subjects[other] == subjects[index] and not same_subject:
                continue
            label = store.labels[index]
            if not across and label >= 0 and label != store.labels[other]:
                continue
            distances.append((1 - float(values[index] @ values[other]), other))
        if len(distances) >= k:
            distances.sort()
            found[index] = np.mean([each for each, _ in distances[:k]]), distances[0][1]
    return found


@pytest.mark.parametrize(("same_subject", "across"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("k", [1, 3])
def test_scores_thresholds_and_neighbours(
    store: Store, pretrained: Pretrained, k: int, same_subject: bool, across: bool
) -> None:
    gallery = encode(pretrained, store)
    references = select(store, "quality:7").tolist()
    options = {"k": k, "same_subject": same_subject, "across_classes": across}
    judged = judge(gallery, pretrained, references, quantile=0.8, **options)
    expected = slow_scores(gallery, references, k, same_subject, across)
    assert [each.index for each in judged] == list(expected)
    for each in judged:
        score, nearest = expected[each.index]
        assert each.score == pytest.approx(score, abs=1e-9)
        assert each.reference_index == nearest
        assert each.reference == store.names[nearest]
        assert (each.reference_start, each.reference_end) == (0, store.lengths[nearest])
        assert (each.start, each.end) == (0, store.lengths[each.index])
        assert (each.recording, each.person) == (store.names[each.index], 0)
        label = store.labels[each.index]
        assert each.label == ("" if label < 0 else store.class_names[label])
        everything = label < 0 or across
        alike = [at for at in references if everything or store.labels[at] == label]
        if everything:  # references are judged as recordings without a class are
            normal = slow_scores(gallery, references, k, same_subject, across=True)
        else:
            normal = expected
        scores = sorted(normal[at][0] for at in alike if at in normal)
        # the lowest that at least four fifths of the scores and a new one are not above
        enough = [at for at in range(len(scores)) if (at + 1) * 5 >= 4 * (len(scores) + 1)]
        threshold = scores[enough[0]] if enough else scores[-1]
        assert each.threshold == pytest.approx(threshold, abs=1e-9)
        assert each.novel == (each.score > each.threshold + 1e-12)
    shares = [each.novel for each in judged if each.index in references]
    assert 0 < np.mean(shares) < 0.2


@pytest.mark.parametrize(("count", "rank"), [(18, 18), (19, 19), (20, 20), (39, 38), (40, 39)])
def test_the_rank_of_the_threshold(store: Store, count: int, rank: int) -> None:
    joints = raw_joints(store)
    detector = NoveltyDetector(
        encode(joints, store), range(count), same_subject=True, across_classes=True
    )
    scores = detector.normal_scores(-1)
    assert scores.tolist() == sorted(scores.tolist())
    assert detector.thresholds([0])[0] == scores[rank - 1]
    assert (rank - 1) / (count + 1) < 0.95  # the next lower one would be too low
    assert detector.enough == 19


def test_the_largest_distance_of_few_references_is_not_novel(
    make_store: MakeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_store(list(range(5)), [0] * 5, subjects=[1, 2, 3, 4, 5])
    assert main(["novelty", "--data", str(made.path), "--reference", "all", "--json"]) == 0
    printed = capsys.readouterr()
    said = json.loads(printed.out.splitlines()[-1])
    assert said["metrics"]["novel"] == 0
    assert any("5 references" in note for note in said["notes"])
    common = ["novelty", "--data", str(made.path), "--reference", "all", "--json"]
    assert main([*common, "--quantile", "0.5"]) == 0
    said = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert 0 < said["metrics"]["novel"] <= 2
    assert not any("5 references" in note for note in said["notes"])


def test_copies_of_a_recording_are_not_compared_with_it(
    make_store: MakeStore, pretrained: Pretrained
) -> None:
    made = make_store([1, 1, 2], [0, 0, 0])
    judged = judge(encode(pretrained, made), pretrained, [0, 1, 2])
    assert [each.reference_index for each in judged] == [2, 2, 0]
    assert all(each.score > 1e-6 for each in judged)


def test_one_subject_has_no_threshold(make_store: MakeStore, pretrained: Pretrained) -> None:
    """A coach shows, others do: the coach alone does not say what is normal of others."""
    made = make_store([0, 4, 8, 1, 5], [0, 0, 0, 0, 0], subjects=[1, 1, 1, 2, 3])
    judged = judge(encode(pretrained, made), pretrained, [0, 1, 2])
    assert [each.index for each in judged] == [3, 4]
    assert all(each.threshold is None and each.novel is None for each in judged)
    judged = judge(encode(pretrained, made), pretrained, [0, 1, 2], same_subject=True)
    assert [each.index for each in judged] == [0, 1, 2, 3, 4]
    assert all(isinstance(each.novel, bool) for each in judged)


def test_unknown_subjects_among_known_ones_are_refused(
    make_store: MakeStore, pretrained: Pretrained
) -> None:
    made = make_store([0, 4, 8, 1], [0, 0, 0, 0], subjects=[1, 2, 1, -1])
    gallery = encode(pretrained, made)
    with pytest.raises(ValueError, match="made 3"):
        judge(gallery, pretrained, [0, 1])
    with pytest.raises(ValueError, match="made 3"):
        judge(gallery, pretrained, [0, 1, 3])
    assert len(judge(gallery, pretrained, [0, 1, 3], same_subject=True)) == 4
    unknown = make_store([0, 4, 8], [0, 0, 0], "unknown", subjects=[-1, -1, -1])
    assert len(judge(encode(pretrained, unknown), pretrained, [0, 1])) == 3


def test_without_references_of_the_class_nothing_is_judged(
    make_store: MakeStore, pretrained: Pretrained
) -> None:
    made = make_store([0, 4, 1, 2], [0, 0, 1, -1], subjects=[1, 2, 2, 2])
    gallery = encode(pretrained, made)
    with open_queries(None, pretrained, made) as queries:
        detector = NoveltyDetector(gallery, [0, 1])
        judged, left_out = detector.judge(queries, gallery)
        assert ([each.index for each in judged], left_out) == ([0, 1, 3], 1)
        with pytest.raises(ValueError, match="of its class"):
            detector.judge(queries, gallery, [2])
        judged, left_out = detector.judge(queries, gallery, [1])
        assert ([each.index for each in judged], left_out) == ([1], 0)
    for options in ({"k": 3}, {"k": 0}, {"quantile": 1.5}):
        with pytest.raises(ValueError, match=next(iter(options))):
            NoveltyDetector(gallery, [0, 1], **options)


def test_another_store_is_judged_by_all_references(
    make_store: MakeStore, store: Store, pretrained: Pretrained
) -> None:
    """Its subject 1 is another person; classes are the same by name."""
    made = make_store([1, 6, 9], [1, 2, -1], subjects=[1, 1, 1])
    gallery = encode(pretrained, store)
    references = select(store, "subjects:1").tolist()
    detector = NoveltyDetector(gallery, references)
    with open_queries(str(made.path), pretrained, store) as queries:
        judged, _ = detector.judge(queries, encode(pretrained, made))
    values = torch.nn.functional.normalize(gallery.values.double(), dim=1).numpy()
    for each, index in zip(judged, [1, 6, 9], strict=True):
        label = made.labels[each.index]
        alike = [at for at in references if label < 0 or store.labels[at] == label]
        distances = {at: 1 - values[index] @ values[at] for at in alike}
        assert each.score == pytest.approx(min(distances.values()), abs=1e-6)
        assert each.recording == made.names[each.index]
    with open_queries(str(store.path), pretrained, store) as queries:  # the same one, as a path
        again, _ = NoveltyDetector(gallery, [0, 1, 2, 3, 9]).judge(queries, gallery)
    assert again == judge(gallery, pretrained, [0, 1, 2, 3, 9])


def test_windows(store: Store, pretrained: Pretrained) -> None:
    gallery = encode(pretrained, store, window=12)
    references = select(store, "quality:7")
    judged = judge(gallery, pretrained, references)
    starts = {(each.index, each.start, each.end) for each in judged}
    assert len(starts) == len(judged) > 2 * len(store)
    for each in judged[::7]:
        assert each.end - each.start == min(12, store.lengths[each.index])
        assert each.reference_end - each.reference_start <= 12
        assert each.index != each.reference_index
        clip = torch.tensor(store.sequence(each.index)[each.start : each.end])
        other = store.sequence(each.reference_index)
        other = torch.tensor(other[each.reference_start : each.reference_end])
        first, second = (
            pretrained.encoder(
                center_crop_resize(frames.permute(3, 0, 2, 1)[None], None, 16, 0.95)
            ).mean(dim=1)
            for frames in (clip, other)
        )
        cosine = torch.nn.functional.cosine_similarity(first, second)
        assert each.score == pytest.approx(1 - float(cosine), abs=1e-5)


def test_joints_need_no_encoder(store: Store) -> None:
    joints = raw_joints(store)
    gallery = encode(joints, store)
    clips = [torch.tensor(store.sequence(at)).permute(3, 0, 2, 1)[None] for at in (3, 50)]
    expected = [center_crop_resize(clip, None, 64, 0.95).flatten() for clip in clips]
    torch.testing.assert_close(gallery.values[[3, 50]], torch.stack(expected))
    assert judge(gallery, joints, select(store, "quality:7"))


def made_judgement(index: int, score: float, threshold: float | None, label: str = "") -> Judgement:
    return Judgement("name", index, 0, 0, 9, label, score, threshold, "other", 0, 0, 9)


def test_areas_and_rates(make_store: MakeStore) -> None:
    rng = np.random.default_rng(0)
    labels, subjects = rng.integers(-1, 2, 60).tolist(), rng.integers(1, 4, 60).tolist()
    words = rng.choice(["good", "bad", "worse", ""], 60).tolist()
    made = make_store([1] * 60, labels, how=words, subjects=subjects)
    judged = [
        made_judgement(at, score, 0.5, "" if label < 0 else made.class_names[label])
        for at, (score, label) in enumerate(zip(rng.integers(0, 4, 60) / 4, labels, strict=True))
    ]
    found = score_judgements(judged, made, "how:good", made)

    def area(rows: list[int]) -> float | None:
        high = [judged[at].score for at in rows if words[at] in ("bad", "worse")]
        low = [judged[at].score for at in rows if words[at] == "good"]
        pairs = [(a > b) + 0.5 * (a == b) for a in high for b in low]
        return sum(pairs) / len(pairs) if pairs else None

    assert found["auc"] == pytest.approx(area(list(range(60))))
    of_class = {
        made.class_names[label]: area([at for at in range(60) if labels[at] == label])
        for label in (0, 1)
    }
    assert found["auc_of_class"] == pytest.approx(of_class)
    assert found["auc_within_classes"] == pytest.approx(np.mean(list(of_class.values())))
    pairs = sorted(set(zip(subjects, labels, strict=True)))
    within = [
        area([at for at in range(60) if (subjects[at], labels[at]) == pair]) for pair in pairs
    ]
    known = [each for each in within if each is not None]
    assert found["auc_within_subjects"] == pytest.approx(np.mean(known))
    for name, kinds in (("true_positive_rate", ("bad", "worse")), ("false_positive_rate", "good")):
        own = [
            each.score > 0.5 for each in judged if words[each.index] and words[each.index] in kinds
        ]
        assert found[name] == pytest.approx(np.mean(own))
    counts = [sum(word in kinds for word in words) for kinds in (("bad", "worse"), ("good",))]
    assert [found["others"], found["alike"]] == counts
    assert score_judgements(judged, make_store([1], [0], "bare"), "how:good", made) == {}
    numbers = make_store([1] * 60, labels, "numbers", how=[1] * 60)
    assert score_judgements(judged, numbers, "how:good", made) == {}
    unknown = [made_judgement(at, 0.5, None) for at, word in enumerate(words) if word == "good"]
    found = score_judgements(unknown, made, "how:good", made)
    assert found.pop("auc_of_class") == {}
    assert (found.pop("others"), found.pop("alike")) == (0, len(unknown))
    assert set(found.values()) == {None}
    by_label = score_judgements(judged, made, f"labels:{made.class_names[0]}", made)
    novel = [each.score for each in judged if labels[each.index] == 1]
    assert by_label["true_positive_rate"] == pytest.approx(np.mean(np.array(novel) > 0.5))


def test_rounding_errors_are_not_novel() -> None:
    assert made_judgement(0, 0.1 + 0.2, 0.3).novel is False
    assert made_judgement(0, 0.3 + 1e-9, 0.3).novel is True


def test_the_furthest_exceed_their_threshold_most() -> None:
    judged = [made_judgement(0, 0.4, 0.1), made_judgement(1, 0.9, 0.3), made_judgement(2, 0.2, 0.4)]
    assert furthest(judged) == [0, 1, 2]
    assert furthest([*judged, made_judgement(3, 0.5, None)]) == [1, 3, 0, 2]


def test_recordings_are_compared_with_their_nearest_reference(
    store: Store, pretrained: Pretrained, tmp_path: Path
) -> None:
    gallery = encode(pretrained, store)
    with open_queries(None, pretrained, store) as queries:
        detector = NoveltyDetector(gallery, select(store, "quality:7"), quantile=0.5)
        judged, _ = detector.judge(queries, gallery)
        differences, notes = explain_furthest(judged, queries, store, most=5)
        one = explain(judged[7], queries, store)
    assert notes == []
    far = furthest(judged)[:5]
    for at, (each, found) in enumerate(zip(judged, differences, strict=True)):
        assert (found is not None) == (bool(each.novel) or at in far)
    each = judged[7]
    frames, other = (store.upright(store.stored(at)) for at in (each.index, each.reference_index))
    np.testing.assert_array_equal(one.values, compare(frames, other, NTU25).values)
    write_judgements(tmp_path / "found.csv", judged, differences)
    with (tmp_path / "found.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row, each, found in zip(rows, judged, differences, strict=True):
        assert (row["recording"], row["person"]) == (each.recording, "0")
        assert float(row["score"]) == pytest.approx(each.score, abs=1e-6)
        assert row["novel"] == ("yes" if each.novel else "no")
        assert row["part"] == ("" if found is None else found.part)
        assert row["worst_start"] == ("" if found is None else str(found.worst[0]))
        if found is not None:
            place = found.joints.argmax()
            largest = np.nanmax(found.values[:, :, place])
            assert row["joint"] == NTU25.joints[place]
            assert float(row["joint_mean"]) == pytest.approx(found.joints[place], rel=1e-5)
            assert float(row["joint_difference"]) == pytest.approx(largest, rel=1e-5)


def test_what_cannot_be_compared_is_noted(
    make_store: MakeStore, store: Store, pretrained: Pretrained, tmp_path: Path
) -> None:
    with StoreWriter(
        tmp_path / "empty", NTU25, class_names=(), fps=30, normalization="center"
    ) as writer:
        empty = np.zeros((9, 1, 25, 3), np.float32)
        empty[:, :, 3] = 1  # one joint, so no bone
        writer.add(empty, name="empty")
        writer.add(store.sequence(5), name="whole")
    gallery = encode(pretrained, store)
    with open_queries(str(tmp_path / "empty"), pretrained, store) as queries:
        features = encode(pretrained, queries.clips.store)
        judged, _ = NoveltyDetector(gallery, range(96)).judge(queries, features)
        differences, notes = explain_furthest(judged, queries, store)
    assert [each is None for each in differences] == [True, False]
    assert len(notes) == 1


# --- the command ----------------------------------------------------------------------------------


@pytest.fixture
def run(tmp_path: Path, pretrained: Pretrained) -> Path:
    save_encoder(tmp_path / "run" / "encoder.safetensors", pretrained)
    return tmp_path / "run"


@pytest.fixture
def call(store: Store, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def call(*arguments: object) -> dict[str, Any]:
        common = ["novelty", "--data", store.path, *arguments, "--json"]
        assert main(list(map(str, common))) == 0
        said: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return said

    return call


def test_the_command(
    tmp_path: Path,
    run: Path,
    store: Store,
    pretrained: Pretrained,
    call: Callable[..., dict[str, Any]],
) -> None:
    common = ["--run", run, "--reference", "quality:7"]
    said = call(*common, "-k", 2, "--out", tmp_path / "found.csv")
    judged = judge(encode(pretrained, store), pretrained, select(store, "quality:7"), k=2)
    assert [row["score"] for row in said["recordings"]] == [each.score for each in judged]
    assert [row["novel"] for row in said["recordings"]] == [each.novel for each in judged]
    figures = said["metrics"]
    assert figures["auc"] == score_judgements(judged, store, "quality:7", store)["auc"]
    assert figures["references"] == len(select(store, "quality:7"))
    assert figures["judged"] + figures["left_out"] == len(store)
    assert figures["novel"] == sum(bool(each.novel) for each in judged)
    with (tmp_path / "found.csv").open(newline="") as stream:
        assert len(list(csv.DictReader(stream))) == len(judged)
    assert (run / "features").is_dir()
    said = call(*common, "--out", tmp_path / "found.json")
    assert json.loads((tmp_path / "found.json").read_text()) == said["recordings"]
    far = next(row for row in said["recordings"] if "parts" in row)
    assert set(far["parts"]) == set(NTU25.parts)
    assert 0 <= far["worst_start"] < far["worst_end"] <= far["end"]
    means = [joint["mean"] for joint in far["joints"]]
    assert means == sorted(means, reverse=True)
    assert all(joint["mean"] <= joint["difference"] for joint in far["joints"])
    call(*common, "--out", tmp_path / "found.html")
    page = (tmp_path / "found.html").read_text()
    assert len(re.findall("<h2>", page)) == len(re.findall("<img", page)) == 20
    said = call(*common, "--index", 3, "--out", tmp_path / "one.png")
    assert [row["index"] for row in said["recordings"]] == [3]
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_keeps_to_a_protocol(store: Store, call: Callable[..., dict[str, Any]]) -> None:
    said = call("--reference", "quality:7", "--protocol", "subjects:1,3")
    subjects = store.columns["subjects"]
    assert {int(subjects[row["index"]]) for row in said["recordings"]} == {2, 4}
    assert {int(subjects[row["reference_index"]]) for row in said["recordings"]} <= {1, 3}
    good = set(select(store, "quality:7")) & set(select(store, "subjects:1,3"))
    assert said["metrics"]["references"] == len(good)


def test_the_command_keeps_to_a_selection(
    store: Store, run: Path, tmp_path: Path, call: Callable[..., dict[str, Any]]
) -> None:
    one = set(np.flatnonzero(store.labels == 1).tolist())
    said = call("--reference", "quality:7", "--select", "labels:1")
    good = one & set(select(store, "quality:7").tolist())
    assert said["metrics"]["references"] == len(good)
    assert {row["index"] for row in said["recordings"]} == one
    said = call("--reference", "quality:7", "--select", "labels:1", "--protocol", "subjects:1,3")
    test = {index for index in one if store.columns["subjects"][index] in (2, 4)}
    assert {row["index"] for row in said["recordings"]} == test
    np.save(tmp_path / "new.npy", store.sequence(5)[:, :1])  # its class is unknown
    said = call("--reference", "quality:7", "--select", "labels:1", tmp_path / "new.npy")
    (row,) = said["recordings"]
    assert row["reference_index"] in good
    nobody = ["--select", "subjects:1", "--protocol", "subjects:1"]
    judge = ["novelty", "--data", str(store.path), "--reference", "quality:7"]
    assert main([*judge, *nobody]) == 2


def test_the_command_judges_classes_by_all_references(
    store: Store, call: Callable[..., dict[str, Any]]
) -> None:
    said = call("--reference", "labels:0")
    known = store.labels >= 0
    assert {row["index"] for row in said["recordings"]} >= set(np.flatnonzero(known).tolist())
    assert said["metrics"]["auc"] is not None


def test_the_command_judges_files(
    tmp_path: Path, run: Path, call: Callable[..., dict[str, Any]]
) -> None:
    """Each person of a recording as the camera gave it; a recording of the store is found."""
    source = list(synthetic_sequences(sequences=96, classes=4, subjects=4, frames=(10, 40)))
    length = min(len(source[at].frames) for at in (11, 12))
    pair = np.concatenate([source[at].frames[:length, :1] for at in (11, 12)], axis=1)
    pair[:, 1] += [3, 0, 0]
    (tmp_path / "new").mkdir()
    np.save(tmp_path / "new" / "alone.npy", source[11].frames)
    np.save(tmp_path / "new" / "pair.npy", pair)
    said = call("--run", run, "--reference", "subjects:1-4", tmp_path / "new")
    rows = said["recordings"]
    assert [(row["recording"], row["person"]) for row in rows] == [
        ("alone.npy", "0"),
        ("pair.npy", "0"),
        ("pair.npy", "1"),
    ]
    assert rows[0]["reference_index"] == 11
    assert rows[0]["score"] == pytest.approx(0, abs=1e-6)
    assert "auc" not in said["metrics"]
    said = call(
        "--run", run, "--reference", "subjects:1-4", tmp_path / "new", "--index", "alone.npy"
    )
    assert len(said["recordings"]) == 1


def test_the_command_refuses(store: Store, run: Path, tmp_path: Path) -> None:
    common = ["novelty", "--data", str(store.path), "--run", str(run)]
    for bad in (
        ["--reference", "quality:9"],
        ["--reference", "quality"],
        ["--reference", "nothing:1"],
        ["--reference", "quality:7", str(tmp_path / "nothing")],
        ["--reference", "quality:7", "--out", "x"],
        ["--reference", "quality:7", "--out", str(tmp_path / "all.png")],
        ["--reference", "quality:7", "-k", "0"],
        ["--reference", "quality:7", "--window", "0"],
        ["--reference", "subjects:2", "--protocol", "subjects:1"],
    ):
        assert main([*common, *bad]) == 2, bad
    assert not (tmp_path / "all.png").exists()


@pytest.mark.parametrize("factor", [0.1, 0.5, 1, 2, 10])
def test_bodies_of_another_size_are_noted(
    tmp_path: Path, store: Store, call: Callable[..., dict[str, Any]], factor: float
) -> None:
    (tmp_path / "new").mkdir()
    for at in (1, 2):
        np.save(tmp_path / "new" / f"{at}.npy", store.sequence(at)[:, :1] * np.float32(factor))
    said = call("--reference", "quality:7", tmp_path / "new")
    noted = [note for note in said["notes"] if "those of the references" in note]
    assert len(noted) == (factor in (0.1, 10))
    size = body_length(store.sequence(1)[:, :1].astype(np.float32)) * factor
    for note in noted:
        found = float(re.search(r"measure ([\d.]+) metres", note)[1])
        assert found == pytest.approx(size, rel=0.2)  # by some of the frames
        assert "1 of the others" in note


@pytest.mark.parametrize(("lost", "noted"), [((), False), ((3,), False), ((0, 3, 7, 8), True)])
def test_missing_joints_are_noted(
    tmp_path: Path,
    store: Store,
    call: Callable[..., dict[str, Any]],
    lost: tuple[int, ...],
    noted: bool,
) -> None:
    (tmp_path / "new").mkdir()
    for at in (1, 2):
        frames = store.sequence(at)[:, :1].copy()
        frames[:, :, list(lost)] = 0
        np.save(tmp_path / "new" / f"{at}.npy", frames)
    said = call("--reference", "quality:7", tmp_path / "new")
    found = [note for note in said["notes"] if "tracked badly" in note]
    assert len(found) == noted
    for note in found:  # the centre joint does not count
        share = 1 - np.delete(frames[:, 0], NTU25.center, axis=1).any(-1).mean()
        assert note.startswith(f"{share:.0%} of the joints of")
        assert note.endswith(" 1 more")


def test_the_only_reference_is_not_judged(
    tmp_path: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    one = tmp_path / "squat.npy"
    np.save(one, store.sequence(5)[:, :1])
    skeleton = {"joints": list(NTU25.joints), "parents": list(NTU25.parents)}
    (tmp_path / "skeleton.json").write_text(json.dumps(skeleton))
    assert main(["novelty", "--reference", str(tmp_path), str(tmp_path)]) == 2
    assert "the same recording, squat.npy" in capsys.readouterr().err


def test_what_the_screen_says_of_others_and_classes(
    make_store: MakeStore, capsys: pytest.CaptureFixture[str]
) -> None:
    made = make_store(list(range(12)), [0, 1, -1] * 4, how=["good"] * 10 + ["bad"] * 2)
    common = ["novelty", "--data", str(made.path), "--same-subject"]
    assert main([*common, "--reference", "how:good"]) == 0
    first, second, third, *_ = capsys.readouterr().out.splitlines()
    assert "of the same class where it is known, else of all" in first
    assert second.startswith("2 recordings have another value of how")
    assert "too few" in second
    assert third.startswith("AUC ")


def test_good_and_bad_squats_of_unseen_people(shared: Path, tmp_path: Path) -> None:
    with np.load(shared / "data" / "uiprmd_kinect.npz") as file:
        arrays = {name: file[name] for name in file.files}
    squats = arrays["labels"] == 0
    ends = np.cumsum(arrays["lengths"])
    keep = np.repeat(squats, arrays["lengths"])
    assert ends[-1] == len(keep)
    arrays["joints"] = arrays["joints"][keep]
    for name in ("lengths", "labels", "subjects", "correct"):
        arrays[name] = arrays[name][squats]
    wanted = ("joints", "lengths", "labels", "subjects", "correct", "class_names")
    wanted += ("joint_names", "parents", "fps", "unit")
    np.savez(tmp_path / "squats.npz", **{name: arrays[name] for name in wanted})
    store, found = tmp_path / "squats", tmp_path / "found.json"
    assert main(["prepare", "packed", str(tmp_path / "squats.npz"), str(store)]) == 0
    judge = ["novelty", "--data", str(store), "--reference", "correct:1", "--protocol", "xsub"]
    assert main([*judge, "--out", str(found)]) == 0
    rows = json.loads(found.read_text())
    correct = Store(store).columns["correct"]
    bad = [row["score"] for row in rows if correct[row["index"]] == 0]
    good = [row["score"] for row in rows if correct[row["index"]] == 1]
    assert len(bad) == len(good) == 50
    assert np.mean([a > b for a in bad for b in good]) > 0.8
