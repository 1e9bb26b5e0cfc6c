"""Damaged files of every kind: refused with an error that names them, or read as they are."""

from __future__ import annotations

import random
import zipfile
from pathlib import Path

import fuzzing
import numpy as np
import pytest
import test_packed
from fuzzing import CASES, Corpus, Figures, Wrong, fuzz
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mutators import mutator
from old_stores import edit_meta

from pcm3.data import Store
from pcm3.data.readers import open_source
from pcm3.errors import SkeletonFormatError

QUICK = 40
SLOW = 1500  # each; more than 20,000 in all

ANY = settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def assert_right(figures: Figures) -> None:
    assert not figures.wrong, "\n".join(f"{key}: {why}" for key, why in figures.wrong.items())
    assert figures.refused + figures.correct == figures.files


@pytest.mark.parametrize("name", CASES)
def test_some_damaged_files(name: str) -> None:
    figures = fuzzing.run(name, 0, QUICK)
    assert_right(figures)
    assert figures.refused


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_many_damaged_files(name: str) -> None:
    figures = fuzz(name, 0, SLOW)
    assert_right(figures)
    assert figures.files == SLOW
    assert figures.refused
    assert figures.correct


@pytest.mark.parametrize("name", ["ntu", "pku", "msr", "bvh", "folder"])
@given(at=st.integers(0, 5000), cut=st.integers(0, 40), put=st.binary(max_size=12))
@ANY
def test_any_bytes_anywhere(tmp_path: Path, name: str, at: int, cut: int, put: bytes) -> None:
    folder = tmp_path / name
    folder.mkdir(exist_ok=True)
    corpus = Corpus(name, folder)
    file = list(corpus.files)[at % len(corpus.files)]
    data = corpus.files[file]
    at %= len(data)
    corpus.read(file, data[:at] + put + data[at + cut :])


@pytest.mark.parametrize("name", CASES)
def test_the_same_number_is_the_same_damage(tmp_path: Path, name: str) -> None:
    damaged = []
    for part in ("one", "other"):
        (tmp_path / part).mkdir()
        corpus = Corpus(name, tmp_path / part)
        made = [corpus.damage(number) for number in range(9)]
        damaged.append([(file.name, data) for file, data in made])
    assert damaged[0] == damaged[1]


@pytest.mark.parametrize("suffix", [".txt", ".npy", ".npz", ".pkl", ".json"])
def test_damage_is_damage(tmp_path: Path, suffix: str) -> None:
    """Most of what the mutators make is something else than what they got."""
    name = {".txt": "msr", ".npy": "agcn", ".npz": "packed", ".pkl": "agcn", ".json": "ucla"}
    corpus = Corpus(name[suffix], tmp_path)
    data = next(data for file, data in corpus.files.items() if file.suffix == suffix)
    rng = random.Random(0)
    same = sum(mutator(suffix)(data, rng) == data for _ in range(200))
    assert same < 30


def test_what_is_wrong_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader that is a little off, one that lets errors pass, one that takes memory."""
    corpus = Corpus("msr", tmp_path)
    (file, data), *_ = corpus.files.items()
    assert not corpus.read(file, data)
    assert corpus.read(file, data[: data.rindex(b"\n", 0, -1)])
    text = data.decode().replace("1.0", "2.0", 1).encode()
    assert not corpus.read(file, text)

    from pcm3.data.readers import msr

    right = msr.one_person
    monkeypatch.setattr(msr, "one_person", lambda *given: right(*given) * np.float32(1.001))
    with pytest.raises(Wrong, match="differ"):
        corpus.read(file, data)
    monkeypatch.setattr(msr, "one_person", lambda *_: {}["missing"])
    with pytest.raises(Wrong, match="KeyError"):
        corpus.read(file, data)
    monkeypatch.setattr(
        msr, "one_person", lambda *given: (np.ones(10**8).sum() and None) or right(*given)
    )
    with pytest.raises(Wrong, match=r"took .* MB"):
        corpus.read(file, data)


def test_a_crash_or_a_hang_is_noticed(tmp_path: Path) -> None:
    """In a process of its own, and the others go on."""
    script = tmp_path / "fuzzing.py"
    text = Path(fuzzing.__file__).read_text()
    text = text.replace("HANG = 20", "HANG = 2")
    text = text.replace(
        "                counts[corpus.read(file, data)] += 1\n",
        "                import ctypes, time\n"
        "                if number == 3: ctypes.string_at(0)\n"
        "                if number == 5: time.sleep(60)\n"
        "                counts[corpus.read(file, data)] += 1\n",
    )
    folder = str(Path(fuzzing.__file__).parent)
    text = text.replace("import test_agcn\n", f"sys.path.append({folder!r})\nimport test_agcn\n")
    script.write_text(text)
    import importlib.util

    spec = importlib.util.spec_from_file_location("fuzzing_that_crashes", script)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    figures = module.fuzz("msr", 0, 8)
    assert list(figures.wrong) == ["3", "5"]
    assert "Segmentation fault" in figures.wrong["3"]
    assert "Timeout" in figures.wrong["5"]
    assert figures.files == 8


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("msr", b"1.0", b"1_0"),
        ("bvh", b"OFFSET 0.0", b"OFFSET 0_0"),
        ("bvh", b"OFFSET 0.0", b"OFFSET \xd9\xa3"),
        ("ntu", b" 519.2 ", b"  "),
        ("ntu", b" 277.4 ", b" 277.4\t0 "),
        ("ucla", b"[[[", b'[[["1", true, 2], ['),
        ("pku", b"2,1,4,2", b"2,1,\xd9\xa3,2"),
    ],
)
def test_what_is_no_number_to_people(tmp_path: Path, name: str, old: bytes, new: bytes) -> None:
    """Python or NumPy would take it for one."""
    corpus = Corpus(name, tmp_path)
    file, data = next((file, data) for file, data in corpus.files.items() if old in data)
    assert corpus.read(file, data.replace(old, new, 1))


@pytest.mark.parametrize("key", ["class_names", "joint_names", "source"])
def test_letters_that_are_none(tmp_path: Path, key: str) -> None:
    """NumPy makes strings of them, which may end the process when they are used."""
    arrays = test_packed.packed()
    text = np.atleast_1d(arrays[key]).copy()
    text.view(np.uint32)[0] = 0xF8000000
    np.savez(tmp_path / "data.npz", **arrays | {key: text})
    with pytest.raises(SkeletonFormatError, match=f"{key}: expected text"):
        open_source(tmp_path / "data.npz")


def test_an_archive_member_that_is_no_array(tmp_path: Path) -> None:
    file = tmp_path / "data.npz"
    arrays = test_packed.packed()
    del arrays["labels"]
    np.savez(file, **arrays)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("labels.npy", b"no array")
    with pytest.raises(SkeletonFormatError, match="labels"):
        open_source(file)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("labels", 2, r"labels in \[-1, 2\)"),
        ("lengths", 2**62, "expected lengths up to 9 frames"),
        ("frame_labels", -2, r"frame_labels in \[-1, 2\)"),
        ("segments", 7, "expected segments within the sequences and 2 classes"),
    ],
)
def test_values_of_a_store(tmp_path: Path, column: str, value: int, message: str) -> None:
    CASES["store"].write(tmp_path)
    folder = tmp_path / "store"
    if column in ("labels", "lengths"):
        with np.load(folder / "table.npz") as table:
            columns = dict(table)
        columns[column][1] = value
        np.savez(folder / "table.npz", **columns)
    else:
        array = np.load(folder / f"{column}.npy")
        array.flat[0] = value
        np.save(folder / f"{column}.npy", array)
        edit_meta(folder)
    with pytest.raises(SkeletonFormatError, match=message):
        Store(folder)
