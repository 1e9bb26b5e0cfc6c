"""Film strips draw what is there, where it is, and mark what is hidden."""

from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.collections import Collection
from matplotlib.colors import to_hex
from torch import Tensor

from pcm3.augment import CutMix
from pcm3.skeleton import BLAZEPOSE33, COCO17, NTU25, SBU15, Skeleton
from pcm3.viz import film_strip, reconstruction_figure, save
from pcm3.viz.figures import PALETTE


def make_clips(count: int = 2, frames: int = 10, persons: int = 1, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 1 + torch.rand(count, channels, frames, len(SBU15), persons, generator=generator)


def no_mask(clips: Tensor) -> Tensor:
    return torch.zeros(len(clips), *clips.shape[2:], dtype=torch.bool)


def drawn(axis: Axes, gid: str) -> list[Collection]:
    return [collection for collection in axis.collections if collection.get_gid() == gid]


def points(axis: Axes, gid: str) -> np.ndarray[Any, Any]:
    return np.concatenate([np.asarray(c.get_offsets()) for c in drawn(axis, gid)])


def segments(axis: Axes) -> np.ndarray[Any, Any]:
    return np.concatenate([np.reshape(c.get_segments(), (-1, 2, 2)) for c in drawn(axis, "bones")])  # type: ignore[attr-defined]


def equal(found: Any, expected: Any) -> None:
    np.testing.assert_allclose(np.asarray(found), np.asarray(expected), rtol=1e-6)


class TestFilmStrip:
    @pytest.mark.parametrize(("frames", "columns"), [(4, 4), (1, 1), (8, 8), (99, 10)])
    def test_one_axes_a_clip_and_frame(self, frames: int, columns: int) -> None:
        assert len(film_strip(make_clips(3), SBU15, frames=frames).axes) == 3 * columns

    def test_shows_evenly_spaced_frames_from_first_to_last(self) -> None:
        clips = make_clips(1, frames=10)
        figure = film_strip(clips, SBU15, frames=4)
        assert [axis.get_title() for axis in figure.axes] == [f"frame {t}" for t in (0, 3, 6, 9)]
        for axis, frame in zip(figure.axes, (0, 3, 6, 9), strict=True):
            equal(points(axis, "joints"), clips[0, :2, frame, :, 0].T)

    def test_bones_join_joint_and_parent_in_the_colour_of_the_part(self) -> None:
        clips = make_clips(1)
        (bones,) = drawn(film_strip(clips, SBU15, frames=1).axes[0], "bones")
        joints = [j for j, parent in enumerate(SBU15.parents) if parent >= 0]
        x = clips[0, :2, 0, :, 0].T
        equal(bones.get_segments(), [torch.stack([x[j], x[SBU15.parents[j]]]) for j in joints])  # type: ignore[attr-defined]
        color = {j: PALETTE[k] for k, part in enumerate(SBU15.parts.values()) for j in part}
        found = [to_hex(c).upper() for c in bones.get_edgecolor()]  # type: ignore[attr-defined]
        assert found == [color[j] for j in joints]

    @pytest.mark.parametrize("skeleton", [COCO17, BLAZEPOSE33], ids=lambda s: s.name)
    def test_a_torso_without_a_spine_has_shoulders_and_hips(self, skeleton: Skeleton) -> None:
        clips = torch.from_numpy(np.random.default_rng(0).random((1, 3, 2, len(skeleton), 1)) + 1)
        figure = film_strip(clips, skeleton, frames=1, before=clips + 1)
        (bones,) = drawn(figure.axes[0], "bones")
        x = clips[0, :2, 0, :, 0].T.numpy()
        segments = np.asarray(bones.get_segments())  # type: ignore[attr-defined]
        colors = [to_hex(color).upper() for color in bones.get_edgecolor()]  # type: ignore[attr-defined]
        assert len(segments) == len(skeleton) - 1 + 2
        for joint in ("shoulder", "hip"):
            pair = [skeleton.joints.index(f"{side}_{joint}") for side in ("left", "right")]
            (at,) = (at for at, ends in enumerate(segments) if np.allclose(ends, x[pair]))
            assert colors[at] == PALETTE[0]  # of the trunk

    def test_axes_choose_the_view(self) -> None:
        clips = make_clips(1)
        axis = film_strip(clips, SBU15, frames=1, axes=(2, 0)).axes[0]
        equal(points(axis, "joints"), clips[0, [2, 0], 0, :, 0].T)

    def test_two_dimensions_and_arrays(self) -> None:
        clips = make_clips(1, channels=2)
        axis = film_strip(clips.numpy(), SBU15, frames=1).axes[0]
        equal(points(axis, "joints"), clips[0, :, 0, :, 0].T)

    def test_every_person_is_drawn(self) -> None:
        clips = make_clips(1, persons=2)
        axis = film_strip(clips, SBU15, frames=1).axes[0]
        equal(points(axis, "joints"), torch.cat([clips[0, :2, 0, :, m].T for m in (0, 1)]))

    def test_masked_joints_are_hollow_and_grey(self) -> None:
        clips = make_clips(1)
        mask = no_mask(clips)
        mask[0, 0, [4, 7]] = True
        figure = film_strip(clips, SBU15, mask=mask, frames=2)
        first, last = figure.axes
        (hidden,), (shown,) = drawn(first, "hidden"), drawn(first, "joints")
        equal(hidden.get_offsets(), clips[0, :2, 0, [4, 7], 0].T)
        assert to_hex(hidden.get_facecolor()[0]) == "#ffffff"  # type: ignore[index]
        red, green, blue, alpha = hidden.get_edgecolor()[0]  # type: ignore[index]
        assert red == green == blue != 1
        assert alpha == 1
        assert len(shown.get_offsets()) == 13  # type: ignore[arg-type]
        assert len(points(last, "hidden")) == 0
        assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "hidden"
        unmasked = film_strip(clips, SBU15).legends[0]
        assert [text.get_text() for text in unmasked.get_texts()] == [
            part.replace("_", " ") for part in SBU15.parts
        ]

    @pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
    def test_missing_joints_and_their_bones_are_not_drawn(self, value: float) -> None:
        clips = make_clips(1)
        clips[0, :, 0, SBU15.joints.index("left_elbow")] = value
        first, last = film_strip(clips, SBU15, frames=2).axes
        assert len(points(first, "joints")) == 14
        assert len(segments(first)) == 14 - 2  # elbow and hand lose theirs
        assert len(points(last, "joints")) == 15
        assert len(segments(last)) == 14
        assert 1 < segments(first).min() < segments(first).max() < 2
        assert first.get_xlim()[0] > 0.9  # nor do they count for the limits

    def test_an_absent_person_is_not_drawn(self) -> None:
        clips = make_clips(1, persons=2)
        clips[..., 1] = 0
        assert len(points(film_strip(clips, SBU15, frames=1).axes[0], "joints")) == 15

    def test_the_centre_of_centred_clips_is_not_missing(self) -> None:
        clips = make_clips(1)
        clips = clips - clips[:, :, :, SBU15.center, None]
        axis = film_strip(clips, SBU15, frames=1).axes[0]
        assert len(points(axis, "joints")) == 15
        assert len(segments(axis)) == 14

    def test_limits_hold_a_whole_clip_and_no_more(self) -> None:
        clips = make_clips(2)
        clips[1] *= 10
        figure = film_strip(clips, SBU15, frames=3)
        for row in (0, 1):
            x, y = clips[row, :2].flatten(1)
            for axis in figure.axes[3 * row : 3 * row + 3]:
                assert axis.get_aspect() == 1
                room = []
                for values, (low, high) in ((x, axis.get_xlim()), (y, axis.get_ylim())):
                    assert low < values.min() < values.max() < high
                    room.append((high - low) / (values.max() - values.min()))
                assert min(room) < 1.2

    def test_titles_of_rows_are_aligned(self) -> None:
        clips = make_clips(2)
        clips[1, 1] *= 3  # high, where the first is square
        figure = film_strip(clips, SBU15, frames=3, titles=["square", "high"])
        figure.draw_without_rendering()
        first, second = (
            axis.yaxis.label.get_window_extent() for axis in (figure.axes[0], figure.axes[3])
        )
        assert first.x1 == pytest.approx(second.x1)

    def test_nothing_to_draw(self) -> None:
        axis = film_strip(torch.zeros(1, 3, 4, 15, 1), SBU15, frames=1).axes[0]
        assert len(points(axis, "joints")) == len(segments(axis)) == 0

    def test_heads_name_the_columns(self) -> None:
        figure = film_strip(make_clips(2), SBU15, frames=2, heads=["0%", "100%"])
        assert [axis.get_title() for axis in figure.axes] == ["0%", "100%", "", ""]
        figure = film_strip(make_clips(1), SBU15, frames=2)
        assert figure.axes[0].get_title() == "frame 0"

    def test_titles_name_the_rows(self) -> None:
        figure = film_strip(make_clips(2), SBU15, frames=2, titles=["wave", "kick"])
        assert [axis.get_ylabel() for axis in figure.axes] == ["wave", "", "kick", ""]

    def test_what_a_mix_pasted_lies_on_a_ground(self) -> None:
        clips = make_clips(4)
        mixed = CutMix(SBU15)(clips, generator=torch.Generator().manual_seed(0))
        figure = film_strip(mixed.clips, SBU15, before=clips, frames=10)
        pasted = 0
        for at, axis in enumerate(figure.axes):
            row, frame = divmod(at, 10)
            own, now = (x[row, :2, frame, :, 0].T for x in (clips, mixed.clips))
            partners = (own != now).any(dim=1)
            equal(points(axis, "changed"), now[partners])
            equal(now[partners], clips[mixed.partner[row], :2, frame, partners, 0].T)
            pasted += int(partners.sum())
        assert pasted / (4 * 10 * 15) == pytest.approx(float(mixed.lam.mean()))
        legend = [text.get_text() for text in figure.legends[0].get_texts()]
        assert legend[-1] == "changed"

    def test_joints_lost_by_a_transform_are_not_drawn_as_changed(self) -> None:
        before = make_clips(1)
        clips = before.clone()
        clips[0, :, 0, 4] = 0
        clips[0, :, 0, 7] += 1
        axis = film_strip(clips, SBU15, before=before, frames=1).axes[0]
        equal(points(axis, "changed"), clips[0, :2, 0, [7], 0].T)
        before[0, :, 0, 5] = clips[0, :, 0, 5] = float("nan")  # neither is what both lacked
        axis = film_strip(clips, SBU15, before=before, frames=1).axes[0]
        assert len(points(axis, "changed")) == 1

    def test_says_what_is_wrong(self) -> None:
        clips = make_clips(2)
        with pytest.raises(ValueError, match=r"shape \(2.*\(1, 3, 10"):
            film_strip(clips, SBU15, before=clips[:1])
        with pytest.raises(ValueError, match=r"V=25, M\).*\(2, 3, 10, 15, 1\)"):
            film_strip(clips, NTU25)
        with pytest.raises(ValueError, match=r"2 titles.* 1"):
            film_strip(clips, SBU15, titles=["one"])
        with pytest.raises(ValueError, match=r"3 heads.* 1"):
            film_strip(clips, SBU15, frames=3, heads=["one"])
        with pytest.raises(ValueError, match=r"= \(2, 10, 15, 1\).*bool \(2, 10, 15\)"):
            film_strip(clips, SBU15, mask=no_mask(clips)[..., 0])
        with pytest.raises(ValueError, match="float32"):
            film_strip(clips, SBU15, mask=no_mask(clips).float())
        with pytest.raises(ValueError, match="at least one frame, got 0"):
            film_strip(clips, SBU15, frames=0)


class TestReconstructionFigure:
    def make(self, samples: int = 2) -> tuple[Any, Tensor, Tensor, Tensor]:
        source = make_clips(4)
        predicted = source + 5
        mask = no_mask(source)
        mask[:, :, list(SBU15.parts["left_arm"])] = True
        figure = reconstruction_figure(
            source, source * ~mask[:, None], predicted, mask, SBU15, samples=samples, frames=3
        )
        return figure, source, predicted, mask

    @pytest.mark.parametrize(("samples", "shown"), [(1, 1), (2, 2), (9, 4)])
    def test_three_rows_a_sample(self, samples: int, shown: int) -> None:
        axes = self.make(samples)[0].axes
        assert len(axes) == 3 * shown * 3
        assert [a.get_ylabel() for a in axes[::3]] == ["input", "predicted", "truth"] * shown

    def test_what_each_row_shows(self) -> None:
        figure, source, predicted, mask = self.make()
        for sample in (0, 1):
            seen, guessed, truth = figure.axes[9 * sample : 9 * sample + 9 : 3]
            joints, hidden = source[sample, :2, 0, :, 0].T, mask[sample, 0, :, 0]
            equal(points(seen, "joints"), joints[~hidden])
            equal(points(guessed, "joints"), joints[~hidden])
            equal(points(guessed, "hidden"), predicted[sample, :2, 0, hidden, 0].T)
            equal(points(truth, "joints"), joints)
            assert len(points(seen, "hidden")) == len(points(truth, "hidden")) == 0
            assert len(segments(seen)) == 14 - 3
            assert len(segments(guessed)) == len(segments(truth)) == 14

    def test_a_hidden_centre_is_dropped_from_the_input(self) -> None:
        source = make_clips(1)
        source = source - source[:, :, :, SBU15.center, None]
        mask = no_mask(source)
        mask[:, :, SBU15.center] = True
        figure = reconstruction_figure(source, source, source, mask, SBU15, frames=1)
        assert [len(points(axis, "joints")) for axis in figure.axes] == [14, 14, 15]

    def test_absent_joints_are_not_predicted_into_being(self) -> None:
        source = make_clips(1, persons=2)
        source[..., 1] = 0
        mask = ~no_mask(source)
        figure = reconstruction_figure(source, source, source + 1, mask, SBU15, frames=1)
        assert [len(points(axis, "hidden")) for axis in figure.axes] == [0, 15, 0]

    def test_the_rows_of_a_sample_share_limits_that_hold_the_prediction(self) -> None:
        figure, _, predicted, mask = self.make(1)
        assert len({(*axis.get_xlim(), *axis.get_ylim()) for axis in figure.axes}) == 1
        assert figure.axes[0].get_xlim()[1] > predicted[0, 0, mask[0]].max()

    def test_leaves_its_input_alone_and_takes_gradients(self) -> None:
        source = make_clips(1)
        predicted = source.clone().requires_grad_()
        reconstruction_figure(source, source, predicted, no_mask(source), SBU15, frames=1)
        assert torch.equal(source, make_clips(1))

    def test_says_which_shape_is_wrong(self) -> None:
        source = make_clips(2)
        with pytest.raises(ValueError, match=r"shape \(2, 3, 10, 15, 1\).*\(1"):
            reconstruction_figure(source, source, source[:1], no_mask(source), SBU15)


def test_save_makes_the_folder_and_writes_the_format(tmp_path: Any) -> None:
    figure = film_strip(make_clips(1), SBU15, frames=1)
    png = save(figure, tmp_path / "new" / "strip.png", dpi=50)
    assert png.read_bytes().startswith(b"\x89PNG")
    assert save(figure, str(tmp_path / "strip.svg")).read_text().startswith("<?xml")
    with pytest.raises(ValueError, match="not supported"):
        save(figure, tmp_path / "strip.docx")
    with pytest.raises(ValueError, match=r"\.png.* strip"):
        save(figure, tmp_path / "strip")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["new", "strip.svg"]
