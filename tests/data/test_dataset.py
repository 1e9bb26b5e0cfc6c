from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from pcm3.data import Batch, HybridDataset, SkeletonDataset, Store, StoreWriter, collate, generate
from pcm3.skeleton import NTU25, SBU15, Skeleton, to_stream

LENGTHS = [4, 9, 1, 6, 12]


@pytest.fixture
def sequences(make_sequences):
    return make_sequences(LENGTHS)


@pytest.fixture
def store(make_store, sequences):
    return make_store(sequences)


def slow_batch(sequences, persons=2, max_frames=300):
    """The batch, number by number."""
    cut = [sequence[:max_frames] for sequence in sequences]
    longest = max(len(sequence) for sequence in cut)
    clips = torch.zeros(len(cut), 3, longest, 15, persons)
    for n, sequence in enumerate(cut):
        for t, m, v, c in np.ndindex(*sequence.shape):
            if m < persons:
                clips[n, c, t, v, m] = float(sequence[t, m, v, c])
    return clips


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    wanted=st.lists(st.integers(0, 4), min_size=1, max_size=4),
    persons=st.integers(1, 3),
    max_frames=st.integers(1, 10),
)
def test_batch_against_a_slow_loop(store, sequences, wanted, persons, max_frames):
    data = SkeletonDataset(store, persons=persons, max_frames=max_frames)
    batch = data.__getitems__(wanted)
    expected = slow_batch([sequences[i] for i in wanted], persons, max_frames)
    assert torch.equal(batch.clips, expected)
    assert batch.clips.is_contiguous()
    assert batch.lengths.tolist() == [min(LENGTHS[i], max_frames) for i in wanted]
    assert batch.labels.tolist() == [i % 3 for i in wanted]
    assert batch.indices.tolist() == wanted
    assert {t.dtype for t in batch[1:]} == {torch.int64}


@pytest.mark.parametrize("window", [1, 2, 3, 4, 5, 20])
def test_windows_against_slices(store, sequences, window):
    data = SkeletonDataset(store, [3, 1, 4], window=window)
    covered = {index: set() for index in (3, 1, 4)}
    for item, (index, start) in enumerate(zip(data.indices, data.offsets, strict=True)):
        frames = sequences[index][start : start + window]
        assert data.lengths[item] == len(frames) == min(window, LENGTHS[index])
        assert torch.equal(data[item][0], slow_batch([frames])[0])
        assert data.labels[item] == index % 3
        covered[int(index)].update(range(start, start + len(frames)))
    assert covered == {index: set(range(LENGTHS[index])) for index in covered}
    assert data.indices.tolist() == sorted(data.indices.tolist(), key=[3, 1, 4].index)
    for index in covered:
        gaps = np.diff(data.offsets[data.indices == index])
        assert (gaps > 0).all()
        assert (gaps <= max(1, window // 2)).all()
        assert (gaps[:-1] == max(1, window // 2)).all()


def test_items_collate_to_the_same_batch(store):
    data = SkeletonDataset(store)
    whole = data.__getitems__([1, 0, 2])
    single = collate([data[1], data[0], data[2]])
    assert torch.equal(whole.clips, single.clips)
    assert torch.equal(whole.lengths, single.lengths)
    assert torch.equal(whole.labels, single.labels)
    assert single.indices.tolist() == [-1, -1, -1]
    assert collate(whole) is whole
    clip, label = data[-1]
    assert clip.shape == (3, 12, 15, 2)
    assert label == 1
    assert isinstance(label, int)


def test_part_of_a_store(store, sequences):
    data = SkeletonDataset(store, [3, 1])
    assert len(data) == 2
    assert data.labels.tolist() == [0, 1]
    assert data.lengths.tolist() == [6, 9]
    assert data.skeleton == SBU15
    assert data.class_names == ("a", "b", "c")
    assert data.persons == 2
    assert torch.equal(data[0][0], slow_batch([sequences[3]])[0])
    assert data.__getitems__([1]).indices.tolist() == [1]
    assert len(list(data)) == 2


@pytest.mark.parametrize("stream", ["bone", "motion"])
def test_streams_ignore_padding(store, stream):
    joints, data = SkeletonDataset(store), SkeletonDataset(store, stream=stream)
    batch = data.__getitems__(range(5))
    for i, clip in enumerate(batch.clips):
        expected = to_stream(joints[i][0], SBU15, stream)
        assert torch.equal(clip[:, : LENGTHS[i]], expected)
        assert not clip[:, LENGTHS[i] :].any()


def test_float16_store_gives_float32(make_store, sequences):
    data = SkeletonDataset(make_store(sequences, name="half", dtype="float16"))
    assert data[0][0].dtype == torch.float32
    torch.testing.assert_close(data[0][0], slow_batch(sequences[:1])[0], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_loader_with_workers(store, context):
    data = SkeletonDataset(store)
    loader = DataLoader(
        data, 2, num_workers=2 if context == "fork" else 1, collate_fn=collate,
        multiprocessing_context=context,
    )  # fmt: skip
    batches = list(loader)
    assert [len(batch.lengths) for batch in batches] == [2, 2, 1]
    for n, batch in enumerate(batches):
        assert isinstance(batch, Batch)
        expected = data.__getitems__(range(2 * n, min(2 * n + 2, 5)))
        assert all(torch.equal(a, b) for a, b in zip(batch, expected, strict=True))


def test_batches_do_not_share_memory_with_the_store(store):
    data = SkeletonDataset(store)
    data[0][0].zero_()
    assert data[0][0].any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"indices": [0, 5]}, r"indices in \[0, 5\).*\[0 5\]"),
        ({"indices": [[0]]}, r"expected a list of indices"),
        ({"persons": 0}, r"persons >= 1.*0"),
        ({"max_frames": 0}, r"max_frames >= 1.*0"),
    ],
)
def test_says_what_is_wrong(store, arguments, message):
    with pytest.raises(ValueError, match=message):
        SkeletonDataset(store, **arguments)


def test_says_what_is_wrong_with_samples(store):
    with pytest.raises(IndexError, match=r"\[0, 5\), got 5"):
        SkeletonDataset(store)[5]
    a, b = torch.zeros(3, 4, 15, 2), torch.zeros(3, 4, 15, 1)
    with pytest.raises(ValueError, match=r"2 with \(C, V, M\) of"):
        collate([(a, 0), (b, 0)])
    with pytest.raises(ValueError, match="got 0 with"):
        collate([])


def test_joints_that_are_missing_or_more(store):
    names = tuple("chin" if joint == "head" else joint for joint in SBU15.joints)
    other = Skeleton.from_parents(names, SBU15.parents)
    with pytest.raises(ValueError, match=r"\(15 joints\)"):
        SkeletonDataset(store, skeleton=other)


def test_joints_in_another_order(store, sequences):
    turned = SBU15.reordered(SBU15.joints[::-1])
    data = SkeletonDataset(store, [1, 3], skeleton=turned)
    assert data.skeleton == turned
    clip, _ = data[1]
    np.testing.assert_array_equal(
        clip.numpy(), sequences[3][:, :, ::-1].transpose(3, 0, 2, 1), strict=True
    )
    with pytest.raises(ValueError, match=r"'ntu25'.*'sbu15'"):
        SkeletonDataset(store, skeleton=NTU25)


def test_hybrid_is_its_parts_end_to_end(make_store, make_sequences):
    parts = [
        SkeletonDataset(make_store(make_sequences([4, 9, 2]), name="a"), [2, 0]),
        SkeletonDataset(make_store(make_sequences([7, 3, 5], seed=1), name="b")),
    ]
    hybrid = HybridDataset(parts)
    items = [part[index] for part in parts for index in range(len(part))]
    assert len(hybrid) == 5
    assert hybrid.lengths.tolist() == [2, 4, 7, 3, 5]
    assert hybrid.class_names == ("a/a", "a/b", "a/c", "b/a", "b/b", "b/c")
    assert hybrid.labels.tolist() == [2, 0, 3, 4, 5]
    order = [3, 0, 4, 1, -1]
    batch = hybrid.batch(order)
    assert batch.clips.shape == (5, 3, 5, 15, 2)
    assert batch.indices.tolist() == [3, 0, 4, 1, 4]
    for row, index in enumerate(order):
        clip, _ = items[index]
        assert torch.equal(batch.clips[row, :, : clip.shape[1]], clip)
        assert not batch.clips[row, :, clip.shape[1] :].any()
        assert int(batch.labels[row]) == int(hybrid.labels[index])
    assert torch.equal(hybrid[2][0], items[2][0])
    alone = hybrid.batch([4, 2])  # nothing of the first part
    assert torch.equal(alone.clips[1], items[2][0])


def test_unlabelled_items_of_a_hybrid_stay_so(make_store, make_sequences, tmp_path):
    with StoreWriter(tmp_path / "none", SBU15, class_names=[]) as writer:
        writer.add(make_sequences([4])[0])
    none = SkeletonDataset(Store(tmp_path / "none"))
    some = SkeletonDataset(make_store(make_sequences([3, 3])))
    assert HybridDataset([some, none]).labels.tolist() == [0, 1, -1]


def test_what_makes_no_hybrid(make_store, make_sequences):
    first = SkeletonDataset(make_store(make_sequences([4]), name="a"))
    other = make_store(make_sequences([4]), name="b", normalization="isc")
    flat = SkeletonDataset(make_store(make_sequences([4], channels=2), name="c"))
    turned = SBU15.reordered(SBU15.joints[::-1])
    for data, message in (
        (SkeletonDataset(other), "same normalization, got none in .*a and isc in .*b"),
        (flat, "same coordinates, got 3 in .*a and 2 in .*c"),
        (SkeletonDataset(first.store, persons=1), "same persons, got 2 in .* and 1"),
        (SkeletonDataset(first.store, stream="bone"), "same stream, got joint in .* and bone"),
        (SkeletonDataset(first.store, skeleton=turned), "same joints in the same order"),
    ):
        with pytest.raises(ValueError, match=message):
            HybridDataset([first, data])
    with pytest.raises(ValueError, match="at least one data set, got none"):
        HybridDataset([])
    with pytest.raises(ValueError, match="sequence 0"):
        HybridDataset([first, SkeletonDataset(Store(first.store.path))])


def test_a_hybrid_of_two_parts_of_one_store(make_store, make_sequences):
    store = make_store(make_sequences([4, 5]))
    parts = [SkeletonDataset(store, [index], stream="bone") for index in (0, 1)]
    hybrid = HybridDataset(parts)
    assert len(hybrid) == 2
    assert hybrid.stream == "bone"


@pytest.mark.parametrize("items", [[], [1.5], [99], [-99], [[0]]])
def test_items_that_are_none(tmp_path, items):
    data = SkeletonDataset(generate(tmp_path / "store", sequences=6))
    for each in (data, HybridDataset([data])):
        with pytest.raises(ValueError, match=r"items in \[0, 6\)"):
            each.batch(items)
    if items:
        with pytest.raises(ValueError, match=r"indices in \[0, 6\)"):
            SkeletonDataset(data.store, items)


def test_stores_of_other_units_are_not_trained_on_together(tmp_path):
    parts = {}
    for unit in ("pixels", "body lengths", "metres", "m"):
        out = tmp_path / unit.replace(" ", "-")
        with StoreWriter(out, SBU15, class_names=["wave"], unit=unit) as writer:
            writer.add(np.random.default_rng(len(unit)).normal(size=(4, 1, 15, 3)), 0)
        parts[unit] = SkeletonDataset(Store(out))
    for one, other in (("pixels", "body lengths"), ("metres", "pixels")):
        with pytest.raises(ValueError, match="the same unit"):
            HybridDataset([parts[one], parts[other]])
    assert len(HybridDataset([parts["metres"], parts["m"]])) == 2


@pytest.mark.parametrize("count", [3, 8, 9, 64])
def test_messages_name_a_few_sequences_and_their_number(count, make_store, make_sequences):
    dataset = SkeletonDataset(make_store(make_sequences([2] * 64)))
    text = dataset.describe(range(count))
    numbers = [int(number) for number in re.findall(r"\b\d+\b", text.partition(" of ")[0])]
    assert numbers == ([*range(count)] if count <= 8 else [*range(8), count - 8, count])
