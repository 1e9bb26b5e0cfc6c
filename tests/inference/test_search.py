"""The most similar recordings, against a slow look-up."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from PIL import Image

from pcm3.cli import main
from pcm3.data.dataset import SkeletonDataset
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic import synthetic_sequences
from pcm3.evaluation.features import extract_features
from pcm3.hub import Pretrained, save_encoder
from pcm3.inference import pictures
from pcm3.inference import search as module
from pcm3.inference.search import make_gallery, open_queries, search, window_for
from pcm3.methods.features import sequence_features
from pcm3.skeleton import NTU25


@pytest.fixture
def run(tmp_path: Path, pretrained: Pretrained) -> Path:
    save_encoder(tmp_path / "run" / "encoder.safetensors", pretrained)
    return tmp_path / "run"


def cosines(pretrained: Pretrained, store: Store) -> np.ndarray:
    values = extract_features(pretrained, SkeletonDataset(store)).values.double().numpy()
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return values @ values.T


def test_the_nearest_come_first(run: Path, pretrained: Pretrained, store: Store) -> None:
    gallery = make_gallery(run, pretrained, store)
    expected = cosines(pretrained, store)
    np.fill_diagonal(expected, -2)
    for query in ("7", "recording-7"):
        with open_queries(query, pretrained, store) as queries:
            found = search(gallery, queries.features(), queries.names, 6, queries.own)
        assert [match.index for match in found] == np.argsort(-expected[7])[:6].tolist()
        for match in found:
            assert match.similarity == pytest.approx(expected[7, match.index], abs=1e-6)
            label = store.labels[match.index]
            assert match.label == ("" if label < 0 else store.class_names[label])
            assert (match.start, match.end) == (0, store.lengths[match.index])
            assert match.recording == store.names[match.index]
    assert [match.rank for match in found] == list(range(1, 7))


def test_a_whole_store_finds_others_only(run: Path, pretrained: Pretrained, store: Store) -> None:
    with open_queries(str(store.path), pretrained, store) as queries:
        gallery = make_gallery(run, pretrained, store)
        found = search(gallery, queries.features(), queries.names, 1, queries.own)
    expected = cosines(pretrained, store)
    np.fill_diagonal(expected, -2)
    assert [match.index for match in found] == expected.argmax(axis=1).tolist()
    assert [match.query for match in found] == list(store.names)


def test_files_are_prepared_as_the_store_was(
    tmp_path: Path, run: Path, pretrained: Pretrained, store: Store
) -> None:
    """A recording of the store, as the camera gave it, finds itself."""
    source = list(synthetic_sequences(sequences=96, classes=4, subjects=4, frames=(10, 40)))
    np.save(tmp_path / "new.npy", source[11].frames)
    with open_queries(str(tmp_path / "new.npy"), pretrained, store) as queries:
        gallery = make_gallery(run, pretrained, store)
        found = search(gallery, queries.features(), queries.names, 2, queries.own)
    assert (found[0].query, found[0].index) == ("new.npy", 11)
    assert found[0].similarity == pytest.approx(1, abs=1e-6)
    np.save(tmp_path / "new.npy", np.repeat(source[11].frames, 2, axis=0))
    with open_queries(str(tmp_path / "new.npy"), pretrained, store, 60) as queries:
        assert queries.clips.lengths.tolist() == [len(source[11].frames)]
    with (
        pytest.raises(ValueError, match="source_fps is for files"),
        open_queries("11", pretrained, store, 60),
    ):
        pass


def test_features_are_kept_and_checked(
    run: Path, pretrained: Pretrained, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = make_gallery(run, pretrained, store)
    (file,) = (run / "features").iterdir()

    def fail(*_: Any) -> None:
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(module, "extract_features", fail)
        again = make_gallery(run, pretrained, store)
        assert torch.equal(first.values, again.values)
        for content in (b"", b"damaged", file.read_bytes()[:-40]):
            whole = file.read_bytes()
            file.write_bytes(content)
            with pytest.raises(AssertionError):
                make_gallery(run, pretrained, store)
            file.write_bytes(whole)
        for values in (np.zeros((3, 8), np.float32), np.full((96, 8), np.nan, np.float32)):
            np.savez(file, features=values)
            with pytest.raises(AssertionError):
                make_gallery(run, pretrained, store)
    assert torch.equal(make_gallery(run, pretrained, store).values, first.values)
    changed = pretrained._replace(stream="motion")
    save_encoder(run / "encoder.safetensors", changed)
    assert not torch.equal(make_gallery(run, changed, store).values, first.values)
    make_gallery(run / "encoder.safetensors", changed, store)  # keeps nothing
    assert len(list((run / "features").iterdir())) == 2


def test_long_recordings_are_searched_in_windows(
    tmp_path: Path, run: Path, pretrained: Pretrained, store: Store
) -> None:
    order = np.random.default_rng(0).permutation(60)
    with StoreWriter(
        tmp_path / "films", NTU25, class_names=["act"], fps=30, normalization="center"
    ) as writer:
        for film in np.split(order, 3):
            frames = np.concatenate([store.sequence(index) for index in film])
            labels = np.repeat(film % 2 - 1, store.lengths[film])
            writer.add(frames, frame_labels=labels)
    films = Store(tmp_path / "films")
    window = window_for(films, store.lengths[[25]])
    assert window == store.lengths[25]
    with open_queries(str(store.path), pretrained, films) as queries:
        gallery = make_gallery(run, pretrained, films, window)
        found = search(gallery, queries.features()[[25]], ["25"], 5, [-1])
    firsts = gallery.values[np.flatnonzero(np.diff(gallery.indices, prepend=-1))]
    by_first = torch.nn.functional.cosine_similarity(firsts, queries.features()[[25]]).argsort()
    assert [match.index for match in found] != by_first.flip(0).tolist()
    query = extract_features(pretrained, SkeletonDataset(store, [25])).values[0].double()
    places = []
    for film in range(3):
        clip = torch.tensor(films.sequence(film))
        for middle in range(0, len(clip), window // 4):
            start = min(max(middle - window // 2, 0), len(clip) - window)
            part = clip[start : start + window].permute(3, 0, 2, 1)[None]
            one = sequence_features(pretrained.encoder, part, None, NTU25, frames=16)[0].double()
            similarity = float(torch.nn.functional.cosine_similarity(one, query, dim=0))
            places.append((-similarity, film, start))
    expected: list[tuple[float, int, int]] = []
    for place in sorted(places):
        near = (place[1] == film and abs(place[2] - at) < window / 2 for _, film, at in expected)
        if not any(near):
            expected.append(place)
    assert [(match.index, match.start) for match in found] == [at[1:] for at in expected[:5]]
    assert len({match.index for match in found}) < 5  # several places of one film
    for match, (similarity, *_) in zip(found, expected, strict=False):
        assert match.similarity == pytest.approx(-similarity, abs=1e-6)
        assert match.end - match.start == window
        labels = films.frame_labels
        middle = labels[films.starts[match.index] + (match.start + match.end) // 2]
        assert match.label == ("act" if middle == 0 else "")


def test_the_page_of_one_long_recording_shows_similarity_over_time(
    tmp_path: Path, run: Path, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StoreWriter(
        tmp_path / "film", NTU25, class_names=[], fps=30, normalization="center"
    ) as writer:
        writer.add(np.concatenate([store.sequence(index) for index in range(20)]))
    np.save(tmp_path / "new.npy", store.sequence(3))
    drawn: list[Any] = []

    def draw(*given: Any) -> Figure:
        drawn.append(given)
        return Figure()

    monkeypatch.setattr(pictures, "similarity_figure", draw)
    command = ["search", "--run", str(run), "--query", str(tmp_path / "new.npy"), "--out"]
    assert main([*command, str(tmp_path / "a.html"), "--data", str(tmp_path / "film")]) == 0
    ((middles, values, found, fps),) = drawn
    assert len(middles) == len(values) > len(found) == 5
    assert (np.diff(middles) > 0).all()
    assert np.isclose(middles, sum(found[0]) / 2).nonzero()[0].tolist() == [values.argmax()]
    assert fps == 30
    assert (tmp_path / "a.html").read_text().count("<img") == 2
    assert main([*command, str(tmp_path / "b.html"), "--data", str(store.path)]) == 0
    assert len(drawn) == 1


def test_other_subjects(run: Path, pretrained: Pretrained, store: Store, tmp_path: Path) -> None:
    subjects, expected = store.columns["subjects"], cosines(pretrained, store)
    expected[subjects[:, None] == subjects] = -2
    gallery = make_gallery(run, pretrained, store)
    with open_queries(None, pretrained, store) as queries:
        given = (queries.features(), queries.names, 3, queries.own)
        found = search(gallery, *given, other_subjects=True)
    best = np.argsort(-expected, axis=1, kind="stable")[:, :3]
    assert [match.index for match in found] == best.ravel().tolist()
    foreign = (*given[:3], [-1] * len(store))
    with pytest.raises(ValueError, match="query that is a recording"):
        search(gallery, *foreign, other_subjects=True)
    for name, column in (("without", {}), ("unknown", {"subjects": [0, -1, 1]})):
        with StoreWriter(tmp_path / name, NTU25, class_names=[], normalization="center") as writer:
            for index in range(3):
                own = {key: values[index] for key, values in column.items()}
                writer.add(store.sequence(index), **own)
        other = make_gallery(run, pretrained, Store(tmp_path / name))
        with pytest.raises(ValueError, match="subjects"):
            search(other, other.values, ["a", "b", "c"], 1, [0, 1, 2], other_subjects=True)


def test_film_strips_name_their_recordings(
    run: Path, pretrained: Pretrained, store: Store, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    titles: list[str] = []

    def draw(*given: Any, **_: Any) -> Figure:
        titles.extend(given[4])
        return Figure()

    monkeypatch.setattr(pictures, "film_strip", draw)
    gallery = make_gallery(run, pretrained, store)
    with open_queries("7", pretrained, store) as queries:
        found = search(gallery, queries.features(), queries.names, 3, queries.own)
        pictures.picture_matches(queries, store, found, tmp_path / "strips.svg")
        with pytest.raises(ValueError, match="one query"):
            pictures.picture_matches(
                dataclasses.replace(queries, names=["a", "b"]), store, found, tmp_path / "no.svg"
            )
    names = ["recording-7.npy", *(match.recording for match in found)]
    assert len(titles) == 4
    for title, name in zip(titles, names, strict=True):
        assert name in title
    for match, title in zip(found, titles[1:], strict=True):
        assert f"{match.similarity:.3f}" in title
        assert title.splitlines()[2:] == [match.label] * bool(match.label)
    assert any(match.label for match in found)
    own = store.labels[7]
    assert titles[0].splitlines()[2:] == [store.class_names[own]] * bool(own >= 0)


def test_a_query_without_a_match(
    run: Path, pretrained: Pretrained, store: Store, tmp_path: Path
) -> None:
    """All recordings but the last are of its subject; the page shows each match with its query."""
    with StoreWriter(tmp_path / "few", NTU25, class_names=[], normalization="center") as writer:
        for index, subject in enumerate((0, 0, 1)):
            writer.add(store.sequence(index), name=f"r{index}", subjects=subject)
    few = Store(tmp_path / "few")
    gallery = make_gallery(run, pretrained, few)
    with open_queries(None, pretrained, few) as queries:
        found = search(gallery, queries.features(), queries.names, 1, queries.own, True)[1:]
        page = tmp_path / "page.html"
        pictures.write_search_page(queries, queries.features(), gallery, found, page)
    rows = [part.count("<td>") // 5 for part in page.read_text().split("<h2>")[1:]]
    assert rows == [0, 1, 1]


def test_the_command(
    tmp_path: Path, run: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    def call(*arguments: object) -> dict[str, Any]:
        common = ["search", "--run", run, "--data", store.path, *arguments, "--json"]
        assert main(list(map(str, common))) == 0
        said: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
        return said

    said = call("--query", 3, "-k", 4, "--out", tmp_path / "found.csv")
    assert len(said["matches"]) == 4
    with (tmp_path / "found.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["index"]) for row in rows] == [match["index"] for match in said["matches"]]
    assert list(rows[0])[:4] == ["query", "rank", "recording", "index"]
    fps = store.meta["fps"]
    for row, match in zip(rows, said["matches"], strict=True):
        for name in ("start", "end"):
            assert float(row[f"{name}_seconds"]) == match[f"{name}_seconds"]
            assert match[f"{name}_seconds"] == pytest.approx(match[name] / fps, abs=1e-3)
    call("--query", store.path, "--k", 1, "--out", tmp_path / "found.html")
    page = (tmp_path / "found.html").read_text()
    assert len(re.findall("<h2>", page)) == len(re.findall("<img", page)) == 20
    assert "20 of 96" in page
    call("--query", 3, "-k", 2, "--out", tmp_path / "found.png")
    with Image.open(tmp_path / "found.png") as picture:
        assert picture.format == "PNG"
    assert main(["search", "--run", str(run), "--data", str(store.path), "--query", "3"]) == 0
    head, first, *_ = capsys.readouterr().out.splitlines()
    places = [head.index(word) for word in ("recording", "frames", "similarity", "label")]
    cells = [first[place:].split()[0] for place in places]
    best = said["matches"][0]
    assert cells[:3] == [best["recording"], str(best["start"]), f"{best['similarity']:.3f}"]
    assert cells[3] == best["label"].split()[0]
    said = call("--query", 3, "-k", 3, "--other-subjects")
    own = store.columns["subjects"]
    assert all(own[match["index"]] != own[3] for match in said["matches"])
    call("--query", 3, "--out", tmp_path / "found.json")
    assert len(json.loads((tmp_path / "found.json").read_text())) == 5
    for bad in (
        ["--query", "nobody"],
        ["--query", "3", "-k", "0"],
        ["--query", "3", "--out", "x"],
        ["--query", "3", "--source-fps", "60"],
        ["--query", str(store.path), "--out", str(tmp_path / "several.png")],
    ):
        assert main(["search", "--run", str(run), "--data", str(store.path), *bad]) == 2
        said = capsys.readouterr().err
        assert ("no file or folder" in said) == ("nobody" in bad)
