"""Class names that are almost another one."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import pytest

from pcm3.data.readers import open_source
from pcm3.data.readers.shared.spelling import is_almost, note_on_names
from pcm3.data.report import describe
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import SBU15

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.mark.parametrize("word", ["phone_call", "squat", "sit down", "KNEE-LIFT"])
def test_every_mistyped_letter_is_found(word: str) -> None:
    places = [at for at, letter in enumerate(word) if letter.isalpha()]
    for at, new in product(places, LETTERS):
        others = [word[:at] + new + word[at:], word[:at] + word[at + 1 :]]
        if {new, word[at].lower()} != {"l", "r"}:
            others.append(word[:at] + new + word[at + 1 :])
        if at + 1 in places:
            others.append(word[:at] + word[at + 1] + word[at] + word[at + 2 :])
        for other in others:
            if word.casefold() != other.casefold() and sum(map(str.isalpha, other)) > 4:
                upper = other.upper() if word.isupper() else other
                assert is_almost(word, upper), (word, other)
                assert is_almost(upper, word), (other, word)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("draw_x", "draw_o"),
        ("drawX", "drawO"),
        ("kick_1", "kick_2"),
        ("kick1", "kick"),
        ("left_kick", "right_kick"),
        ("lift_l", "lift_r"),
        ("lhand_up", "rhand_up"),
        ("kneel", "kneer"),
        ("wave", "wavy"),
        ("step up", "step on"),
        ("phone_call", "phone_call"),
        ("phone_cell", "phone_cool"),
    ],
)
def test_other_classes_are_not_almost_alike(one: str, other: str) -> None:
    assert not is_almost(one, other)
    assert note_on_names("labels.csv", {one: 9, other: 1}) == []


@pytest.mark.parametrize(
    ("one", "other", "noted"),
    [
        ("push-up", "pushup", True),
        ("Push up", "push_up", True),
        ("step 1-2", "step 12", False),
        ("-", "_", False),
        ("a", "b", False),
    ],
)
def test_names_that_differ_in_separators(one: str, other: str, noted: bool) -> None:
    notes = note_on_names("labels.csv", {one: 5, other: 5})
    assert (f"labels.csv: {one!r} and {other!r} are two classes" in notes) == noted


@pytest.mark.parametrize(("rare", "noted"), [(1, True), (2, True), (3, False), (5, False)])
def test_only_rare_names_are_noted(rare: int, noted: bool) -> None:
    notes = note_on_names("labels.csv", {"phone_cal": rare, "phone_call": 5, "phone_shot": 1})
    wanted = f"labels.csv: 'phone_cal' ({rare}) is almost 'phone_call' (5): two classes"
    assert notes == [wanted] * noted


def test_marks_are_no_names() -> None:
    notes = note_on_names("labels.csv", {"?": 3, "-": 1, "7": 2, "wave": 4, "手": 1})
    assert [note.split()[1] for note in notes] == ["'?'", "'-'"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for at in range(7):
        points = np.random.default_rng(at).normal(size=(9, 15, 3)).astype(np.float32)
        np.save(tmp_path / f"{at}.npy", points)
    return tmp_path


LABELS = ["phone_call"] * 4 + ["phone_cal", "?", ""]


def test_labels_of_a_table_are_counted(folder: Path) -> None:
    rows = [f"{at}.npy,{label}" for at, label in enumerate(LABELS)]
    (folder / "labels.csv").write_text("\n".join(["file,label", *rows]))
    notes = open_source(folder, "folder", skeleton="sbu15").label_notes
    assert "labels.csv: 'phone_cal' (1) is almost 'phone_call' (4): two classes" in notes
    assert any(note.startswith("labels.csv: '?' (1)") for note in notes)
    assert len(notes) == 2


def test_labels_of_intervals_are_counted(folder: Path) -> None:
    rows = [f"{at}.npy,0,5,{label}" for at, label in enumerate(LABELS[:-1])]
    (folder / "intervals.csv").write_text("\n".join(["recording,start,end,label", *rows]))
    notes = open_source(folder, "folder", skeleton="sbu15").label_notes
    assert "intervals.csv: 'phone_cal' (1) is almost 'phone_call' (4): two classes" in notes


@pytest.mark.parametrize("name", ["labels", "Labels"])
def test_a_column_of_labels_is_called_label(folder: Path, name: str) -> None:
    (folder / "labels.csv").write_text(f"file,{name}\n0.npy,wave\n")
    if name == "Labels":
        notes = open_source(folder, "folder", skeleton="sbu15").label_notes
        assert any("call it label" in note for note in notes)
        return
    with pytest.raises(SkeletonFormatError, match=r"line 1.*label$"):
        open_source(folder, "folder", skeleton="sbu15")


def test_missing_words_are_no_values(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", SBU15, class_names=[]) as writer:
        for at, word in enumerate(["wave", "", "bow"]):
            frames = np.random.default_rng(at).normal(size=(3, 1, 15, 3))
            writer.add(frames, action=word, take=(-1, 4, -1)[at], subjects=(-1, 2, 1)[at])
    store = Store(tmp_path / "store")
    assert store.summary()["columns"] == {"action": 2, "take": 1, "subjects": 2}
    assert store.summary()["subjects"] == 2
    assert "action (2 values: bow, wave)" in describe(store)
