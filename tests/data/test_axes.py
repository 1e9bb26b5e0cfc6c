from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

from pcm3.data import Store, prepare
from pcm3.data.axes import Up, turn_up
from pcm3.skeleton import SBU15


@pytest.mark.parametrize("up", get_args(Up))
def test_turns_the_axis_to_y_without_mirrors(up: Up) -> None:
    axis = np.zeros(3)
    axis["xyz".index(up[-1])] = -1 if up[0] == "-" else 1
    np.testing.assert_array_equal(turn_up(axis, up), [0, 1, 0])
    matrix = turn_up(np.eye(3), up).T
    assert np.linalg.det(matrix) == pytest.approx(1)
    points = np.random.default_rng(0).normal(size=(4, 2, 5, 3)).astype(np.float32)
    turned = turn_up(points, up)
    assert turned.dtype == np.float32
    for one, other in itertools.combinations(range(5), 2):
        before = np.linalg.norm(points[..., one, :] - points[..., other, :], axis=-1)
        after = np.linalg.norm(turned[..., one, :] - turned[..., other, :], axis=-1)
        np.testing.assert_allclose(after, before, rtol=1e-6)


def test_absent_points_stay_absent_to_the_bit() -> None:
    assert not np.signbit(turn_up(np.zeros((2, 3)), "-y")).any()


def test_images_have_y_alone() -> None:
    np.testing.assert_array_equal(turn_up(np.array([3.0, 4.0]), "-y"), [3, -4])
    with pytest.raises(ValueError, match="among y, -y of 2 coordinates, got 'z'"):
        turn_up(np.zeros(2), "z")


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """A body of metres with z up."""
    rng = np.random.default_rng(0)
    points = rng.normal(scale=0.1, size=(6, 1, 15, 3))
    parts = SBU15.parts
    points[..., list(parts["trunk"]), 2] += 1.5
    points[..., [*parts["left_leg"], *parts["right_leg"]], 2] += 0.4
    folder = tmp_path / "files"
    folder.mkdir()
    np.save(folder / "a.npy", points.astype(np.float32))
    return folder


def prepared(folder: Path, **options: Any) -> tuple[Store, dict[str, Any]]:
    store = folder.parent / "store"
    report = prepare(
        folder, store, format="folder", skeleton="sbu15", overwrite=True, workers=1, **options
    )
    return Store(store), report


def test_prepare_turns_before_the_recipe(recording: Path) -> None:
    points = np.load(recording / "a.npy")
    store, report = prepared(recording, up="z", normalization="none")
    found = store.sequence(0)
    np.testing.assert_array_equal(
        found, np.stack([points[..., 0], points[..., 2], -points[..., 1]], -1)
    )
    np.testing.assert_array_equal(store.upright(found), found)
    assert report["up"] == "z"
    assert any("z pointed up" in note for note in report["notes"])
    plain, report = prepared(recording, normalization="none")
    np.testing.assert_array_equal(plain.sequence(0), points)
    assert report["up"] is None
    assert not any("pointed up" in note for note in report["notes"])


@pytest.mark.parametrize("up", ["w", "-", "", "Y"])
def test_other_axes_are_refused(recording: Path, up: Any) -> None:
    with pytest.raises(ValueError, match="expected up among"):
        prepared(recording, up=up)


def test_isc_was_turned_before(recording: Path) -> None:
    store, _ = prepared(recording, normalization="isc")
    np.save(recording / "a.npy", store.sequence(0))
    with pytest.raises(ValueError, match=r"already turned by 'isc'.*--up"):
        prepared(recording, up="z", normalization="none")
