"""Numbers are numbers, and words keep their names."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from old_stores import edit_meta

from pcm3.data import Store, StoreWriter, prepare, split, validation_split
from pcm3.data.columns import code_words, find_mixture, read_value
from pcm3.data.report import describe, describe_sequence, sequence_summary
from pcm3.data.splits import join_protocols, note_on_words, part_protocols
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import SBU15


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("1", 1),
        ("1.0", 1),
        ("+1.", 1),
        (" 007 ", 7),
        ("1e3", 1000),
        ("-2", -2),
        ("-0.0", 0),
        ("9007199254740993.0", 9007199254740993),
        (str(2**63 - 1), 2**63 - 1),
        (1.0, 1),
        (np.float32(2), 2),
        (True, 1),
        (np.int8(-3), -3),
        (np.uint64(5), 5),
        ("", -1),
        ("  ", -1),
        ("anna", "anna"),
        (b"anna ", "anna"),
        ("1_11", "1_11"),
        ("\uff11", "\uff11"),  # a full-width 1
        ("\u0663", "\u0663"),  # an Arabic 3
        ("0x1F", "0x1F"),
        ("nan", "nan"),
        ("Infinity", "Infinity"),
        ("1,5", "1,5"),
        ("1e", "1e"),
        (".", "."),
    ],
)
def test_cells(cell, value):
    found = read_value(cell)
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "cell",
    [
        *("1.5", "1e-1", str(2**63), "1e400", "1e99999999999999999999", "x" * 201),
        *(1.5, np.nan, np.inf, 2.0**63, 2**63, None, [1], b"\xff"),
    ],
)
def test_cells_that_are_refused(cell):
    with pytest.raises(ValueError, match="expected "):
        read_value(cell)


@given(st.decimals(allow_nan=False, allow_infinity=False, min_value=-(2**62), max_value=2**62))
def test_any_number(number):
    text = str(number)
    if number == int(number):
        assert read_value(text) == int(Decimal(text))
    else:
        with pytest.raises(ValueError, match="expected an integer"):
            read_value(text)


VALUES = st.lists(st.one_of(st.integers(-2, 3), st.sampled_from(["a", "b", "z"])), max_size=6)


@given(VALUES)
def test_mixtures(values):
    numbers = [at for at, value in enumerate(values) if isinstance(value, int) and value != -1]
    words = [at for at, value in enumerate(values) if isinstance(value, str)]
    both = (numbers[0], words[0]) if numbers and words else None
    assert find_mixture(values) == both
    if both is None:
        codes, names = code_words(values)
        assert [names[code] if names and code >= 0 else code for code in codes] == values


@pytest.fixture
def store(tmp_path):
    """Six sequences, of four subjects that are words."""
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "store", SBU15, class_names=["wave", "bow", "7"]) as writer:
        for at, name in enumerate(["dora", "anna", "ben", "anna", "cleo", "ben"]):
            view = "" if at == 2 else ["left", "the, right"][at % 2]
            frames = rng.normal(size=(3, 1, 15, 3))
            writer.add(frames, at % 3, subjects=name, view=view, take=at, views=name[0])
    return Store(tmp_path / "store")


def test_a_store_keeps_words(store):
    assert store.words["subjects"] == ("anna", "ben", "cleo", "dora")
    assert store.columns["subjects"].tolist() == [3, 0, 1, 0, 2, 1]
    names = ["dora", "anna", "ben", "anna", "cleo", "ben"]
    assert store.values("subjects").tolist() == names
    assert store.values("view").tolist()[1:4] == ["the, right", "", "the, right"]
    assert store.values("take").tolist() == list(range(6))
    assert "take" not in store.words
    json.dumps(store.summary())
    assert store.summary()["words"]["view"] == ["left", "the, right"]


def test_show_names_words(store):
    said = describe(store)
    assert "subjects (4 values: anna, ben, cleo, dora)" in said
    assert "take (6 values)" in said
    assert sequence_summary(store, 4)["columns"]["subjects"] == "cleo"
    assert sequence_summary(store, 2)["columns"]["view"] is None
    assert "subjects ben, view -, take 2" in describe_sequence(store, 2)


@pytest.mark.parametrize(
    ("protocol", "train"),
    [
        ("subjects:anna", [1, 3]),
        ("subjects: anna ,ben", [1, 2, 3, 5]),
        ('view:"the, right"', [1, 3, 5]),
        ("take:0-2,5", [0, 1, 2, 5]),
        ("fold:cleo", [0, 1, 2, 3, 5]),
        ("labels:bow", [1, 4]),
        ("labels:wave,1", [0, 1, 3, 4]),
        ("xsub", [0, 2, 5]),
        ("xview", [1, 2, 3, 4, 5]),
    ],
)
def test_protocols_take_names(store, protocol, train, tmp_path):
    if protocol == "fold:cleo":
        with StoreWriter(tmp_path / "folds", SBU15, class_names=["a"]) as writer:
            for at in range(6):
                writer.add(np.full((2, 1, 15, 3), at + 1.0), fold=store.values("subjects")[at])
        store = Store(tmp_path / "folds")
    parts = split(store, protocol)
    assert parts[0].tolist() == train
    assert parts[1].tolist() == sorted(set(range(6)) - set(train))


def test_whom_xsub_trains_on(store):
    assert note_on_words(store, "xsub") == [
        "xsub: the subjects are words; by alphabetical order ben, dora train and anna, cleo test"
    ]
    assert "a, b, c train and d test" in note_on_words(store, "xview")[0]
    assert note_on_words(store, "subjects:anna") == []
    assert {store.values("subjects")[at] for at in split(store, "xsub")[0]} == {"ben", "dora"}
    fit, validation = validation_split(store, [0, 2, 5], "xsub")
    assert (fit.tolist(), validation.tolist()) == ([2, 5], [0])


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ("subjects:ann", r"'ann'.*anna"),
        ("subjects:0", "expected subjects among anna, ben, .* got '0'"),
        ("subjects:", "expected subjects among .* got ''"),
        ("take:anna", "expected integers or ranges after the colon, got 'anna'"),
        ("take:\uff11", "expected integers or ranges after the colon"),
        ("take:1_1", "expected integers or ranges after the colon"),
        ("take:0-999999999999999999", "take 0-999999999999999999, but 0, 1, 2"),
        ("labels:jump", "expected labels among wave, bow, 7, got 'jump'"),
        ("labels:7", "labels 7, but 0, 1, 2"),  # numbers are indices, also of a class "7"
        ('view:"left', "cannot be read, unexpected end"),
        ("view:left", None),
    ],
)
def test_names_that_are_not_there(store, protocol, message):
    if message is None:
        assert split(store, protocol)[0].tolist() == [0, 4]
        return
    with pytest.raises(ValueError, match=message):
        split(store, protocol)


def test_a_word_that_no_sequence_of_a_subject_has(store):
    with pytest.raises(ValueError, match=r"views.* 1 of 6 sequences.* views:left"):
        split(_with_columns(store, views="view"), "xview")


def _with_columns(store, **names):
    with StoreWriter(store.path.with_name("other"), SBU15, class_names=["a"]) as writer:
        for at in range(len(store)):
            columns = {new: store.values(old)[at] for new, old in names.items()}
            writer.add(store.sequence(at), **columns)
    return Store(store.path.with_name("other"))


@given(st.lists(st.text(max_size=6), min_size=1, max_size=4))
def test_protocols_with_blanks(names):
    protocols = [f"subjects:{name}" for name in names]
    assert part_protocols(join_protocols(protocols)) == protocols


def test_plain_protocols_stay_as_they_are():
    assert join_protocols(["xsub", "labels:0-19,25", "subjects:j\u00f6rg"]) == (
        "xsub labels:0-19,25 subjects:j\u00f6rg"
    )
    with pytest.raises(ValueError, match="subjects:'anna"):
        part_protocols("subjects:'anna")


def test_words_of_several_shards(tmp_path):
    """Every part of the work meets words of its own."""
    names = [f"{name}{at % 7}" for at, name in enumerate(["x", "b", "q"] * 20)]
    rows = ["file,who,n"]
    for at, name in enumerate(names):
        np.save(tmp_path / f"{at:02}.npy", np.full((2, 17, 3), at + 1.0))
        rows.append(f"{at:02}.npy,{'' if at < 8 else name},{at}.0")
    (tmp_path / "labels.csv").write_text("\n".join(rows))
    prepare(tmp_path, tmp_path / "store", skeleton="coco17", workers=1, normalization="none")
    store = Store(tmp_path / "store")
    assert store.values("who").tolist() == [""] * 8 + names[8:]
    assert store.words["who"] == tuple(sorted(set(names[8:])))
    assert store.columns["n"].tolist() == list(range(60))


@pytest.mark.parametrize(
    ("first", "then", "message"),
    [
        (3, "anna", "subjects: .* 3 and 'anna'"),
        ("anna", 3, "got 'anna' and 3"),
        ("anna", "4", "got 'anna' and 4"),
        (3, 1.5, "column subjects: expected an integer or a word, got 1.5"),
        (3, None, "column subjects: expected an integer or a word, got None"),
    ],
)
def test_the_writer_takes_no_mixture(tmp_path, first, then, message):
    def write():
        with StoreWriter(tmp_path / "s", SBU15, class_names=["a"]) as writer:
            for at, value in enumerate((-1, first, -1, then)):
                writer.add(np.full((2, 1, 15, 3), at + 1.0), subjects=value)

    with pytest.raises(ValueError, match=f"sequence 3: .*{message}"):
        write()


def test_the_writer_takes_whole_labels_and_names(tmp_path):
    for label in (0.5, "0", 1.0):
        with (
            pytest.raises(ValueError, match=r"sequence 0.*label in \[-1, 2\).*"),
            StoreWriter(tmp_path / "s", SBU15, class_names=["a", "b"]) as writer,
        ):
            writer.add(np.ones((2, 1, 15, 3)), label)
    with pytest.raises(ValueError, match="expected class names, words, got b'wave'"):
        StoreWriter(tmp_path / "s", SBU15, class_names=[b"wave"])


@pytest.mark.parametrize(
    "words",
    [
        {"subjects": ["a"]},
        {"gone": ["a"]},
        {"subjects": ["a", "a"]},
        {"subjects": [1]},
        ["a"],
        None,
    ],
)
def test_words_that_do_not_fit(store, words):
    edit_meta(store.path, words=words)
    with pytest.raises(SkeletonFormatError, match="expected "):
        Store(store.path)


def test_stores_of_before_have_no_words(store):
    edit_meta(store.path, "words")
    old = Store(store.path)
    assert old.words == {}
    assert old.values("subjects").tolist() == [3, 0, 1, 0, 2, 1]
    assert split(old, "subjects:0,3")[0].tolist() == [0, 1, 3]
    assert split(old, "xsub")[0].tolist() == split(store, "xsub")[0].tolist()
