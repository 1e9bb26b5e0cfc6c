"""2D recordings: their unit, scores and zeros in the place of z, and the size of bodies."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pcm3.cli import main
from pcm3.data import Store, prepare
from pcm3.data.readers import open_source
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import COCO17, NTU25

RNG = np.random.default_rng(0)
LENGTHS = (9, 12)


def poses(length: int, skeleton=COCO17, size: float = 200.0) -> np.ndarray:
    """A body (T, 1, V, 2) that moves a little, in pixels."""
    body = RNG.uniform(0, size, size=(1, 1, len(skeleton), 2))
    return body + RNG.normal(0, 2, size=(length, 1, len(skeleton), 2)) + 300


def pack(file: Path, clips, skeleton=COCO17, **arrays) -> Path:
    np.savez(
        file,
        joints=np.concatenate(clips).astype(np.float32),
        lengths=np.array([len(clip) for clip in clips]),
        joint_names=np.array(skeleton.joints),
        parents=np.array(skeleton.parents),
        **arrays,
    )
    return file


def save(folder: Path, clips) -> Path:
    folder.mkdir()
    for at, clip in enumerate(clips):
        np.save(folder / f"{at}.npy", clip)
    return folder


def third(clip, values) -> np.ndarray:
    return np.concatenate([clip, np.broadcast_to(values, (*clip.shape[:-1], 1))], axis=-1)


@pytest.fixture(params=["packed", "folder"])
def write(request, tmp_path):
    """Write clips in either format; what ``open_source`` and ``prepare`` need to read them."""

    def run(clips, skeleton=COCO17):
        if request.param == "packed":
            return pack(tmp_path / "a.npz", clips, skeleton), {"format": "packed"}
        return save(tmp_path / "a", clips), {"format": "folder", "skeleton": skeleton.name}

    return run


def test_the_unit_of_2d_is_pixels_of_3d_metres(write):
    path, options = write([poses(length) for length in LENGTHS])
    assert open_source(path, **options).unit == "pixels"


def test_3d_is_in_metres(write):
    path, options = write([third(poses(9) / 200, RNG.normal(size=(9, 1, 17, 1)))])
    source = open_source(path, **options)
    assert source.unit == "metres"
    assert next(iter(source)).frames.shape[-1] == 3


def test_a_unit_that_is_given_stays(tmp_path):
    file = pack(tmp_path / "a.npz", [poses(9)], unit="image heights")
    prepare(file, tmp_path / "store", workers=1)
    assert Store(tmp_path / "store").meta["unit"] == "image heights"


def test_zeros_in_the_place_of_z_are_2d(write):
    clips = [poses(length) for length in LENGTHS]
    clips[1][3] = 0
    path, options = write([np.zeros((3, 1, 17, 3)), *(third(clip, 0) for clip in clips)])
    source = open_source(path, **options)
    assert source.unit == "pixels"
    assert any("2D" in note for note in source.notes)
    _, *found = source
    for recording, clip in zip(found, clips, strict=True):
        np.testing.assert_array_equal(recording.frames, clip.astype(np.float32))


@pytest.mark.parametrize("turned", [False, True])
def test_zeros_in_some_recordings_alone_are_refused(write, turned):
    clips = [third(poses(9), 0), third(poses(9), RNG.normal(size=(9, 1, 17, 1)))]
    path, options = write(clips[::-1] if turned else clips)
    with pytest.raises(SkeletonFormatError, match="--coordinates 3"):
        list(open_source(path, **options))
    assert len(list(open_source(path, coordinates=3, **options))) == 2
    found = list(open_source(path, coordinates=2, **options))
    assert {recording.frames.shape[-1] for recording in found} == {2}


@pytest.mark.parametrize("skeleton", [COCO17, NTU25])
@pytest.mark.parametrize("scale", [1, 1 / 600, 2 / 600])
def test_scores_are_refused_and_can_be_left_out(write, skeleton, scale):
    """In pixels, in shares of the image, and from -1 to 1."""
    clip = poses(9, skeleton) * scale - (2 * scale > 1 / 200)
    score = RNG.uniform(0.6, 1, size=(9, 1, len(skeleton), 1))
    joints = third(clip, score)
    joints[2, 0, :3] = 0
    path, options = write([joints], skeleton)
    with pytest.raises(SkeletonFormatError, match="--coordinates 2"):
        list(open_source(path, **options))
    source = open_source(path, coordinates=2, **options)
    assert source.unit == "pixels"
    np.testing.assert_array_equal(next(iter(source)).frames, joints[..., :2].astype(np.float32))
    (whole,) = open_source(path, coordinates=3, **options)
    np.testing.assert_array_equal(whole.frames, joints.astype(np.float32))


def test_3d_recordings_are_no_scores(write):
    """Centred ones, and such with heights from 0 to the head."""
    body = RNG.uniform(-1, 1, size=(9, 1, 17, 3))
    standing = RNG.uniform(-1, 1, size=(9, 1, 17, 3)) * [1, 1, 0] + [0, 0, 0.9]
    standing[..., 2] += np.linspace(-0.9, 0.9, 17)
    path, options = write([body, standing])
    assert [each.frames.shape[-1] for each in open_source(path, **options)] == [3, 3]


def test_three_coordinates_of_two_are_refused(write):
    path, options = write([poses(9)])
    with pytest.raises(ValueError, match="3"):
        open_source(path, coordinates=3, **options)


def boxes(frames) -> float:
    """The larger side of the box around the joints, the median of frames, slowly."""
    sides = []
    for frame in frames[:, 0]:
        seen = frame[(frame != 0).any(-1)]
        if len(seen):
            sides.append(max(np.ptp(seen, axis=0)))
    return float(np.median(sides))


def test_pixels_become_body_lengths(write, tmp_path):
    """The same motion in small and in large images is the same in the store."""
    clip = poses(9)
    clip[3, 0, :4] = 0
    clip[5] = 0
    path, options = write([clip, clip * 3, poses(12)])
    report = prepare(path, tmp_path / "store", normalization="none", workers=1, **options)
    store = Store(tmp_path / "store")
    assert store.meta["unit"] == "body lengths"
    assert any("body lengths" in note or "--keep-pixels" in note for note in report["notes"])
    np.testing.assert_allclose(store.sequence(0), clip / boxes(clip), rtol=1e-5)
    np.testing.assert_allclose(store.sequence(1), store.sequence(0), rtol=1e-5)
    assert boxes(store.sequence(2)) == pytest.approx(1)
    more = {"normalization": "none", "keep_pixels": True, "workers": 1}
    prepare(path, tmp_path / "pixels", **more, **options)
    kept = Store(tmp_path / "pixels")
    assert kept.meta["unit"] == "pixels"
    np.testing.assert_array_equal(kept.sequence(0), clip.astype(np.float32))


def test_metres_stay(write, tmp_path):
    clip = RNG.normal(size=(9, 1, 17, 3))
    path, options = write([clip])
    prepare(path, tmp_path / "store", normalization="none", workers=1, **options)
    np.testing.assert_array_equal(Store(tmp_path / "store").sequence(0), clip.astype(np.float32))


def test_bodies_without_size_are_dropped(write, tmp_path):
    path, options = write([poses(9), np.full((4, 1, 17, 2), 7.0)])
    report = prepare(path, tmp_path / "store", workers=1, **options)
    assert (report["kept"], len(report["dropped"])) == (1, 1)


def test_penn_action(shared, tmp_path):
    report = prepare(shared / "data" / "penn_action.npz", tmp_path / "store", workers=1)
    store = Store(tmp_path / "store")
    assert (store.channels, store.meta["unit"]) == (2, "body lengths")
    assert report["kept"] == 2325


def test_commands_and_a_warning_of_scale(tmp_path, capsys):
    """Prediction in pixels gives no millimetres; a loss in pixels is warned of, once."""
    clips = [poses(70) for _ in range(8)]
    arrays = {"labels": np.arange(8) % 2, "subjects": 1 + np.arange(8) // 4}
    file = pack(tmp_path / "a.npz", [third(clip, 0.9) for clip in clips], **arrays)
    assert main(["prepare", str(file), str(tmp_path / "no"), "--workers", "1"]) != 0
    assert "--coordinates 2" in capsys.readouterr().err
    train = ["--train.epochs", "2", "--train.batch-size", "4", "--model.hidden", "8"]
    train += ["--train.knn-every", "0", "--train.accelerator", "cpu", "--model.queue-size", "8"]
    for name, options, count in (("pixels", ["--keep-pixels"], 1), ("bodies", [], 0)):
        store = str(tmp_path / name)
        command = ["prepare", str(file), store, "--coordinates", "2", "--workers", "1", *options]
        assert main(command) == 0
        run = str(tmp_path / f"run-{name}")
        assert main(["pretrain", "--data", store, "--out", run, *train]) == 0
        assert capsys.readouterr().err.count("warning: the loss masked_mse") == count
        assert main(["evaluate", "prediction", "--run", run, "--data", store]) != 0
        assert "millimetres" in capsys.readouterr().err
        assert json.loads((tmp_path / name / "report.json").read_text())["keep_pixels"] == count
