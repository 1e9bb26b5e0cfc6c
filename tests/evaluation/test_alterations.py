"""Altered recordings: each alteration against a slow one, whatever the batches."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pcm3.data.dataset import Batch, SkeletonDataset
from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.errors import SkeletonFormatError
from pcm3.evaluation.alterations import (
    KINDS,
    AlteredDataset,
    Kind,
    every_nth_frame,
    load_masks,
    occluded,
    occlusion_masks,
    save_masks,
    with_noise,
)
from pcm3.skeleton import NTU25, SBU15, Skeleton


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("data") / "store"
    return generate(out, sequences=40, classes=21, persons=2, frames=(1, 40))


@pytest.fixture(scope="module")
def data(store: Store) -> SkeletonDataset:
    return SkeletonDataset(store)


def everything(data: SkeletonDataset | AlteredDataset) -> Batch:
    return data.batch(range(len(data)))


# --- masks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("skeleton", [NTU25, SBU15])
def test_spatial_masks_add_parts_until_the_share_is_reached(
    tmp_path: Path, skeleton: Skeleton
) -> None:
    data = SkeletonDataset(
        generate(tmp_path / "s", sequences=300, classes=2, skeleton=skeleton, frames=(2, 9))
    )
    masks = occlusion_masks(data, "spatial")
    assert 0.3 <= masks.ratios.min() < 0.32
    assert 0.68 < masks.ratios.max() <= 0.7
    sizes = np.array([len(joints) for joints in skeleton.parts.values()])
    for row, rho in enumerate(masks.ratios):
        hidden = masks.parts[row]
        share = sizes[hidden].sum() / len(skeleton)
        assert share >= rho
        # without the part that came last it was not enough, whichever that was
        assert share - sizes[hidden].max() / len(skeleton) < rho
        assert masks.share(data)[row] == pytest.approx(share)
    assert (masks.starts == 0).all()
    assert (masks.stops == data.lengths).all()
    assert (masks.parts.mean(axis=0) > 0.2).all()  # every part's turn comes
    assert (masks.parts.mean(axis=0) < 0.9).all()


def test_temporal_masks_are_blocks_at_uniform_starts(tmp_path: Path) -> None:
    data = SkeletonDataset(generate(tmp_path / "s", sequences=400, classes=2, frames=(1, 90)))
    masks = occlusion_masks(data, "temporal")
    blocks = masks.stops - masks.starts
    assert blocks.tolist() == [
        round(rho * n) for rho, n in zip(masks.ratios, data.lengths, strict=True)
    ]
    assert (masks.starts >= 0).all()
    assert (masks.stops <= data.lengths).all()
    assert masks.parts.all()
    np.testing.assert_allclose(masks.share(data), blocks / data.lengths)
    long = data.lengths > 30
    place = (masks.starts / np.maximum(data.lengths - blocks, 1))[long]
    assert abs(place.mean() - 0.5) < 0.08
    assert place.min() == 0
    assert place.max() == 1


@settings(deadline=None, max_examples=30)
@given(kind=st.sampled_from(KINDS), seed=st.integers(0, 5), pick=st.permutations(range(40)))
def test_a_mask_belongs_to_its_sequence_alone(
    store: Store, kind: Kind, seed: int, pick: list[int]
) -> None:
    whole = occlusion_masks(SkeletonDataset(store), kind, seed=seed)
    order = Skeleton.reordered(NTU25, NTU25.joints[::-1])
    some = SkeletonDataset(store, pick[:7], persons=4, skeleton=order)
    masks = occlusion_masks(some, kind, seed=seed)
    for name in ("ratios", "starts", "stops", "parts", "lengths"):
        np.testing.assert_array_equal(getattr(masks, name), getattr(whole, name)[pick[:7]])
    assert not np.array_equal(
        whole.ratios, occlusion_masks(SkeletonDataset(store), kind, seed=seed + 1).ratios
    )


def test_kinds_are_drawn_apart_and_equal_ends_fix_the_share(data: SkeletonDataset) -> None:
    drawn = [occlusion_masks(data, kind).ratios for kind in KINDS]
    assert not np.array_equal(*drawn)
    before = np.zeros((len(data), 5), bool)
    for ratio in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        masks = occlusion_masks(data, "spatial", (ratio, ratio))
        assert (masks.ratios == ratio).all()
        assert (masks.parts >= before).all()  # the parts of a smaller share stay hidden
        before = masks.parts
        assert (masks.share(data) == ratio).all() == (ratio in (0, 1))
        block = occlusion_masks(data, "temporal", (ratio, ratio))
        assert ((block.stops - block.starts) == [round(ratio * n) for n in data.lengths]).all()


def test_masks_come_back_from_a_file(tmp_path: Path, data: SkeletonDataset) -> None:
    for kind in KINDS:
        masks = occlusion_masks(data, kind, (0.25, 0.5), "all", seed=3)
        save_masks(tmp_path / "new" / f"{kind}.npz", masks)
        again = load_masks(tmp_path / "new" / f"{kind}.npz")
        assert vars(again).keys() == vars(masks).keys()
        for name, value in vars(masks).items():
            found = getattr(again, name)
            assert type(found) is type(value)
            np.testing.assert_array_equal(found, value)
            assert getattr(found, "dtype", None) == getattr(value, "dtype", None)


def test_a_file_that_holds_no_masks(tmp_path: Path) -> None:
    (tmp_path / "text.npz").write_text("no archive")
    np.savez(tmp_path / "other.npz", indices=np.arange(3))
    for name in ("none.npz", "text.npz", "other.npz"):
        with pytest.raises(SkeletonFormatError, match=f"{name}: cannot be read as masks"):
            load_masks(tmp_path / name)


# --- hidden recordings ----------------------------------------------------------------------------


@pytest.mark.parametrize("persons", ["first", "all"])
def test_hidden_coordinates_are_zero_and_the_others_untouched(
    data: SkeletonDataset, persons: str
) -> None:
    clean = everything(data)
    for kind in KINDS:
        masks = occlusion_masks(data, kind, persons=persons)
        batch = everything(occluded(data, masks))
        assert torch.equal(batch.lengths, clean.lengths)
        assert torch.equal(batch.labels, clean.labels)
        for row in range(len(data)):
            expected = clean.clips[row].clone()
            if kind == "temporal":
                expected[:, masks.starts[row] : masks.stops[row]] = 0
            else:
                for name, hidden in zip(NTU25.parts, masks.parts[row], strict=True):
                    for joint in NTU25.parts[name] if hidden else ():
                        expected[:, :, joint, slice(1 if persons == "first" else 2)] = 0
            assert torch.equal(batch.clips[row], expected)
        assert not torch.equal(batch.clips, clean.clips)


def test_parts_are_found_by_joint_not_by_position(store: Store, data: SkeletonDataset) -> None:
    masks = occlusion_masks(data, "spatial")
    turned = SkeletonDataset(store, skeleton=NTU25.reordered(NTU25.joints[::-1]))
    found = everything(occluded(turned, masks)).clips.flip(3)
    assert torch.equal(found, everything(occluded(data, masks)).clips)


def test_masks_must_be_of_these_sequences(store: Store, data: SkeletonDataset) -> None:
    masks = occlusion_masks(SkeletonDataset(store, [3, 4]), "spatial")
    with pytest.raises(ValueError, match=r"a mask of sequence 7 with .* frames, got none"):
        occluded(SkeletonDataset(store, [4, 7]), masks)
    longest = int(data.lengths.argmax())
    masks = occlusion_masks(data, "spatial")
    cut = SkeletonDataset(store, [longest], max_frames=5)
    with pytest.raises(ValueError, match=f"sequence {longest} with 5 frames, got one of 40 frames"):
        occluded(cut, masks)
    other = Skeleton(
        "other", NTU25.joints, NTU25.parents, {"all": tuple(range(25))}, NTU25.mirror, 0
    )
    with pytest.raises(ValueError, match=r"with the parts trunk, .*, got all"):
        occluded(SkeletonDataset(store, skeleton=other), masks).batch([0])


@pytest.mark.parametrize(
    "ratio", [(-0.1, 0.5), (0.5, 0.3), (0.5, 1.1), (0.5,), (0.1, float("nan"))]
)
def test_a_share_out_of_range(data: SkeletonDataset, ratio: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match=r"a ratio range within \[0, 1\], low end first, got"):
        occlusion_masks(data, "spatial", ratio)


def test_an_unknown_kind(data: SkeletonDataset) -> None:
    with pytest.raises(ValueError, match="a kind among spatial, temporal, got 'spatiotemporal'"):
        occlusion_masks(data, "spatiotemporal")


# --- noise and frame rate -------------------------------------------------------------------------


def test_noise_is_gaussian_on_present_joints_alone(tmp_path: Path) -> None:
    data = SkeletonDataset(
        generate(tmp_path / "s", sequences=30, classes=3, frames=(20, 60), missing=0.3), persons=2
    )
    clean, noisy = everything(data), everything(with_noise(data, 0.05))
    change = noisy.clips - clean.clips
    present = (clean.clips != 0).any(dim=1, keepdim=True).expand_as(change)
    assert (change[~present] == 0).all()
    assert (~present)[..., 0].any()  # lost joints, the centre and the frames after the end
    assert float(change[present].std()) == pytest.approx(0.05, rel=0.01)
    assert abs(float(change[present].mean())) < 0.001
    double = everything(with_noise(data, 0.1)).clips - clean.clips
    torch.testing.assert_close(double, 2 * change, atol=1e-6, rtol=1e-5)
    assert torch.equal(everything(with_noise(data, 0.0)).clips, clean.clips)
    assert not torch.equal(everything(with_noise(data, 0.05, seed=1)).clips, noisy.clips)


@pytest.mark.parametrize("stride", [1, 2, 3, 7])
def test_every_nth_frame_is_kept(data: SkeletonDataset, stride: int) -> None:
    clean, thinned = everything(data), everything(every_nth_frame(data, stride))
    for row, frames in enumerate(data.lengths):
        kept = list(range(0, frames, stride))
        assert int(thinned.lengths[row]) == len(kept)
        assert torch.equal(thinned.clips[row, :, : len(kept)], clean.clips[row][:, kept])
        assert (thinned.clips[row, :, len(kept) :] == 0).all()


@pytest.mark.parametrize(
    "alter",
    [
        lambda data: occluded(data, occlusion_masks(data, "spatial")),
        lambda data: occluded(data, occlusion_masks(data, "temporal")),
        lambda data: with_noise(data, 0.1),
        lambda data: every_nth_frame(data, 2),
    ],
)
def test_an_item_is_altered_alike_in_every_batch(
    store: Store, data: SkeletonDataset, alter: Callable[[SkeletonDataset], AlteredDataset]
) -> None:
    altered, whole = alter(data), everything(alter(data))
    assert (len(altered), altered.skeleton, altered.persons) == (len(data), NTU25, 2)
    batch = altered.batch([9, 2, 30])
    moved = alter(SkeletonDataset(store, [2, 30, 9])).batch([2, 0, 1])
    wide = SkeletonDataset(
        store, [9, 2, 30], persons=3, skeleton=NTU25.reordered(NTU25.joints[::-1])
    )
    for found in (batch, moved, everything(alter(wide))):
        for clip, length, item in zip(found.clips, found.lengths, (9, 2, 30), strict=True):
            ordered = clip.flip(2)[..., :2] if clip.shape[-1] == 3 else clip
            assert torch.equal(ordered[:, :length], whole.clips[item, :, :length])
            assert length == whole.lengths[item]


def test_strength_out_of_range(data: SkeletonDataset) -> None:
    with pytest.raises(ValueError, match=r"expected sigma >= 0, got -0\.1"):
        with_noise(data, -0.1)
    with pytest.raises(ValueError, match="expected stride >= 1, got 0"):
        every_nth_frame(data, 0)
