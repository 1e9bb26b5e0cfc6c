from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pcm3.data import Store, prepare, split, validation_split
from pcm3.data.protocols import Protocol
from pcm3.data.splits import describe_training, note_on_copies, part_sizes, select

SUBJECTS = [1, 1, 2, 2, 3, 3, 4, 4]
VIEWS = [1, 2, 1, 3, 1, 2, 3, 2]
FOLDS = [1, 1, 1, 2, 2, 2, 3, 3]


@pytest.fixture
def store(make_store, make_sequences):
    columns = {"subjects": SUBJECTS, "views": VIEWS, "fold": FOLDS}
    return make_store(make_sequences(range(1, 9)), columns)


@pytest.mark.parametrize(
    ("protocol", "train"),
    [
        ("xsub", [0, 1, 4, 5]),
        ("xview", [0, 1, 2, 4, 5, 7]),
        ("fold:2", [0, 1, 2, 6, 7]),
        ("subjects:1,4", [0, 1, 6, 7]),
        ("subjects: 2", [2, 3]),
        ("views:2", [1, 5, 7]),
        ("subjects:1-2,4", [0, 1, 2, 3, 6, 7]),
        ("labels:0-1", [0, 1, 3, 4, 6, 7]),
    ],
)
def test_protocols(store, protocol, train):
    parts = split(store, protocol)
    assert parts[0].tolist() == train
    assert parts[1].tolist() == sorted(set(range(8)) - set(train))
    assert {part.dtype for part in parts} == {np.dtype(np.int64)}


@pytest.mark.parametrize(
    ("which", "chosen"),
    [
        ("fold:2", [3, 4, 5]),
        ("subjects:1,4", [0, 1, 6, 7]),
        ("views:2-3", [1, 3, 5, 6, 7]),
        ("labels:0-1", [0, 1, 3, 4, 6, 7]),
    ],
)
def test_select(store, which, chosen):
    found = select(store, which)
    assert found.tolist() == chosen
    assert found.dtype == np.int64


def test_select_words(make_store, make_sequences):
    store = make_store(make_sequences(range(1, 5)), {"how": ["good", "bad", "good", ""]})
    assert select(store, "how:good").tolist() == [0, 2]
    assert select(store, "how:bad, good").tolist() == [0, 1, 2]


@pytest.mark.parametrize("which", ["subjects", "subjects:9", "nobody:1", "xsub", "all", "labels:x"])
def test_select_says_what_is_wrong(store, which):
    with pytest.raises(ValueError, match=which):
        select(store, which)


def test_all(store):
    for part in split(store, "all"):
        assert part.tolist() == list(range(8))


def test_duplicates_leave_the_test_part(make_store, make_sequences):
    a, b, c, d = make_sequences([2, 2, 3, 3])
    #            train test train test test test train
    sequences = [a, a, b, c, c, b, d]
    store = make_store(sequences, {"subjects": [1, 2, 1, 2, 2, 2, 3]})
    assert split(store, "xsub")[1].tolist() == [3, 4]
    assert split(store, "xsub", drop_duplicates=False)[1].tolist() == [1, 3, 4, 5]
    assert note_on_copies(store, "subjects:3") == []
    (note,) = note_on_copies(store, "xsub")
    assert "2 of 4" in note
    # The flag names the first copy, which may itself be in the test part.
    assert split(store, "subjects:2")[1].tolist() == [6]
    assert split(store, "all")[1].tolist() == list(range(7))


@settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(subjects=st.lists(st.integers(1, 9), min_size=2, max_size=12))
def test_parts_share_no_subject(make_store, make_sequences, subjects):
    lengths = range(1, len(subjects) + 1)
    store = make_store(make_sequences(lengths), {"subjects": subjects}, overwrite=True)
    groups = sorted(set(subjects))
    if len(groups) == 1:
        return
    train, test = split(store, f"subjects:{groups[0]}")
    assert sorted([*train, *test]) == list(range(len(subjects)))
    assert not set(store.columns["subjects"][train]) & set(store.columns["subjects"][test])


def test_validation_split(store):
    train, test = split(store, "subjects:1,2,3")
    fit, validation = validation_split(store, train, "subjects:1,2,3")
    assert fit.tolist() == [0, 1, 2, 3]
    assert validation.tolist() == [4, 5]
    assert not set(test) & {*fit, *validation}
    fit, validation = validation_split(store, np.arange(8), "xsub", fraction=0.5)
    assert validation.tolist() == [4, 5, 6, 7]
    assert validation_split(store, np.arange(8), "all")[1].tolist() == [6, 7]


def test_validation_split_asks_what_the_test_asks(store):
    train, _ = split(store, "xview")
    fit, validation = validation_split(store, train, "xview")
    assert fit.tolist() == [0, 2, 4]
    assert validation.tolist() == [1, 5, 7]
    train, _ = split(store, "fold:2")
    assert validation_split(store, train, "fold:2")[1].tolist() == [6, 7]
    train, _ = split(store, "views:2")  # one view left: subjects
    assert validation_split(store, train, "views:2")[1].tolist() == [7]
    train, _ = split(store, "labels:0-1")  # of known classes: subjects
    assert validation_split(store, train, "labels:0-1")[1].tolist() == [6, 7]


def test_who_trains(make_store, make_sequences):
    store = make_store(
        make_sequences([2] * 40), {"subjects": [*range(1, 41)], "views": [1, 2, 3, 1] * 10}
    )
    assert describe_training(store, "views:1,3").endswith(
        "trains on views:1,3: 30 sequences of 40 (views 1, 3); 10 test"
    )
    assert "20 sequences of 40 (subjects 1, 3, 5, " in describe_training(store, "xsub")
    assert describe_training(store, "xsub").endswith(" 23, and 8 more); 20 test")
    assert describe_training(store, "all") == "trains on all 40 sequences"
    name = store.class_names[int(store.labels[0])]
    assert f"(labels {name})" in describe_training(store, f"labels:{name}")


def test_sizes_of_the_parts(make_store, make_sequences):
    columns = {"subjects": SUBJECTS, "views": VIEWS}
    sequences = make_sequences([*range(1, 8), 1])
    sequences[7] = sequences[0]  # of a subject who tests, but seen in training
    store = make_store(sequences, columns)
    assert part_sizes(store) == {"xsub": (4, 3), "xview": (6, 2)}
    assert part_sizes(make_store(sequences, {"subjects": SUBJECTS}, "by")) == {"xsub": (4, 3)}
    assert part_sizes(make_store(sequences, name="none")) == {}
    rules = {"xsub": Protocol("subjects", (1, 2)), "xset": Protocol("subjects", (9,))}
    published = make_store(sequences, columns, "published", protocols=rules)
    assert part_sizes(published) == {"xsub": (4, 3), "xset": None}


def test_messages_name_protocols_once_and_columns_that_are_there(make_store, make_sequences):
    sequences = make_sequences(range(1, 9))
    rules = {"xsub": Protocol("subjects", (1, 2))}
    store = make_store(sequences, {"subjects": SUBJECTS}, protocols=rules)
    with pytest.raises(ValueError, match="unknown protocol 'xsubject'") as raised:
        split(store, "xsubject")
    names = [part.split()[0].rstrip(",") for part in str(raised.value).split("expected ")[1:]]
    assert names == ["xsub"]
    assert str(raised.value).count("xsub,") == 1
    assert "odd subjects" not in str(raised.value)  # here xsub is another one
    with pytest.raises(ValueError, match="such as ") as raised:
        split(store, "xview")
    example = str(raised.value).rpartition(" ")[2]
    assert example.partition(":")[0] == "subjects"
    assert len(split(store, example)[0]) == 2


def test_validation_drops_duplicates(make_store, make_sequences):
    a, b = make_sequences([2, 3])
    store = make_store([a, a, b], {"subjects": [1, 2, 2]})
    assert validation_split(store, [0, 1, 2])[1].tolist() == [2]
    assert validation_split(store, [0, 1, 2], drop_duplicates=False)[1].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ("cross", r"'cross'.*fold:K"),
        ("subjects", "'subjects'"),
        ("fold:7", r"'fold:7'.*fold 7, but 1, 2, 3"),
        ("views:left", r"'views:left'.*'left'"),
        ("views:1-", r"'views:1-'.*'1-'"),
        ("views:3-1", "views:3-1.*got 3-1"),
        ("setups:1", r"has labels, (?!.*duplicate_of)"),
        (
            "subjects:1,2,3,4",
            r"subjects:1,2,3,4.*--protocol",
        ),
    ],
)
def test_says_what_is_wrong(store, protocol, message):
    with pytest.raises(ValueError, match=message):
        split(store, protocol)


def test_says_what_is_wrong_with_a_poor_store(make_store, make_sequences):
    store = make_store(make_sequences([1, 2]), {"views": [4, 4]})
    with pytest.raises(ValueError, match=r"'xview'.*view 4"):
        split(store, "xview")
    with pytest.raises(ValueError, match="'xsub' needs the column subjects"):
        split(store, "xsub")
    with pytest.raises(ValueError, match=r"expected a fraction in \(0, 1\), got 1"):
        validation_split(store, [0], fraction=1)


@pytest.mark.parametrize(("protocol", "column"), [("xsub", "subjects"), ("xview", "views")])
def test_nobody_knows_where_a_sequence_without_a_subject_belongs(
    make_store, make_sequences, protocol, column
):
    store = make_store(make_sequences([1, 2, 3, 4]), {column: [1, -1, 2, -1]})
    message = rf"{column} of 2 of 4 sequences.*{column}:1,3"
    with pytest.raises(ValueError, match=message):
        split(store, protocol)
    train, test = split(store, f"{column}:1")
    assert (train.tolist(), test.tolist()) == ([0], [1, 2, 3])


def test_nothing_is_known_of_the_views(make_store, make_sequences):
    store = make_store(make_sequences([1, 2, 3]), {"views": [-1, -1, -1], "fold": [1, 1, 2]})
    with pytest.raises(ValueError, match=r"views .*\(-1\).*fold:1"):
        split(store, "xview")
    assert [part.tolist() for part in split(store, "fold:1")] == [[2], [0, 1]]


def test_nothing_can_be_held_out(make_store, make_sequences):
    store = make_store(make_sequences([1, 2, 3]), {"subjects": [4, 4, 4]})
    with pytest.raises(ValueError, match="can be held out by subjects or videos"):
        validation_split(store, [0, 1, 2], "all")


def _prepared(shared, tmp_path, name):
    prepare(shared / "data" / f"{name}.npz", tmp_path / name)
    return Store(tmp_path / name)


def test_utd_mhad(shared, tmp_path):
    store = _prepared(shared, tmp_path, "utd_mhad")
    train, test = split(store, "xsub")
    assert (len(train), len(test)) == (431, 430)
    assert set(store.columns["subjects"][train]) == {1, 3, 5, 7}
    fit, validation = validation_split(store, train, "xsub")
    assert set(store.columns["subjects"][validation]) == {7}
    assert len(fit) + len(validation) == 431


def test_nw_ucla_duplicates(shared, tmp_path):
    store = _prepared(shared, tmp_path, "nw_ucla")
    copies = np.flatnonzero(store.columns["duplicate_of"] >= 0)
    firsts = store.columns["duplicate_of"][copies]
    assert len(copies) == 95
    assert set(store.columns["views"][firsts]) == {2}
    assert set(store.columns["views"][copies]) == {3}
    assert (store.labels[firsts] == store.labels[copies]).all()
    train, test = split(store, "xview")
    assert (len(train), len(test)) == (1020, 464 - 95)
    assert len(split(store, "xview", drop_duplicates=False)[1]) == 464
    (note,) = note_on_copies(store, "xview")
    assert "95 of 464" in note
    assert "2 of 10 classes" in note


def test_sbu_folds(shared, tmp_path):
    store = _prepared(shared, tmp_path, "sbu_interaction")
    tests = [split(store, f"fold:{k}")[1] for k in range(1, 6)]
    assert sorted(np.concatenate(tests)) == list(range(282))


def test_precog_and_uiprmd(shared, tmp_path):
    assert [len(p) for p in split(_prepared(shared, tmp_path, "precog2016"), "xsub")] == [36, 34]
    store = _prepared(shared, tmp_path, "uiprmd_kinect")
    assert [len(part) for part in split(store, "xsub")] == [1000, 1000]
    assert set(store.columns["correct"]) == {0, 1}
