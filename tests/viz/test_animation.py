"""Animations: what each frame shows, and the files that hold them."""

from __future__ import annotations

import re
from base64 import b64decode
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib import rcParams
from matplotlib.animation import FFMpegWriter
from matplotlib.colors import to_hex
from PIL import Image
from torch import Tensor

from pcm3.skeleton import COCO17, NTU25, SBU15
from pcm3.viz import Animation, animate, save
from pcm3.viz.figures import PALETTE

LEFT_ARM = list(SBU15.parts["left_arm"])


def make_clip(frames: int = 6, persons: int = 1, channels: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 1 + torch.rand(channels, frames, len(SBU15), persons, generator=generator)


def no_mask(clip: Tensor) -> Tensor:
    return torch.zeros(clip.shape[1:], dtype=torch.bool)


def scene(animation: Animation) -> Any:
    return animation.figure.axes[0]


def points(animation: Animation, gid: str) -> np.ndarray[Any, Any]:
    """What is drawn as points ``(n, 3)``, in any order."""
    lines = [x for x in scene(animation).lines if x.get_gid() == gid and x.get_marker() == "o"]
    assert lines
    found = np.concatenate([np.stack(line.get_data_3d(), axis=1) for line in lines])
    return found[np.isfinite(found).all(axis=1)]


def strokes(animation: Animation, gid: str = "bones") -> np.ndarray[Any, Any]:
    """The lines between two points ``(n, 2, 3)``."""
    found = []
    for line in scene(animation).lines:
        if line.get_gid() == gid and line.get_marker() != "o":
            ends = np.stack(line.get_data_3d(), axis=1).reshape(-1, 3, 3)
            assert np.isnan(ends[:, 2]).all()  # the gap to the next bone
            found.append(ends[:, :2])
    every = np.concatenate(found)
    return every[np.isfinite(every).all(axis=(1, 2))]


def same(found: Any, expected: Any) -> None:
    """As sets of points or lines."""
    a, b = (np.asarray(x, float).reshape(len(x), -1) for x in (found, expected))
    assert a.shape == b.shape
    np.testing.assert_allclose(a[np.lexsort(a.T)], b[np.lexsort(b.T)], rtol=1e-6)


def bones(x: Tensor) -> list[Tensor]:
    """Of joints ``(V, 3)``."""
    return [torch.stack([x[j], x[p]]) for j, p in enumerate(SBU15.parents) if p >= 0]


class TestAnimate:
    def test_each_frame_shows_the_coordinates_of_that_frame(self) -> None:
        clip = make_clip(persons=2)
        animation = animate(clip, SBU15, fps=20)
        assert animation.frames == tuple(range(6))
        assert animation.fps == 20
        for frame in (3, 0, 5):
            animation.draw(frame)
            there = [clip[:, frame, :, person].T for person in (0, 1)]
            same(points(animation, "joints"), torch.cat(there))
            same(strokes(animation), torch.stack(bones(there[0]) + bones(there[1])))
            clock = f"frame {frame} of 6, {frame / 20:.2f} s"
            assert clock in [text.get_text() for text in animation.figure.texts]

    def test_a_torso_without_a_spine_has_shoulders_and_hips(self) -> None:
        clip = torch.from_numpy(np.random.default_rng(0).random((3, 2, 17, 1)) + 1)
        animation = animate(clip, COCO17, before=clip + 1)
        x = clip[:, 0, :, 0].T
        pairs = [[5, 6], [11, 12], *([j, p] for j, p in enumerate(COCO17.parents) if p >= 0)]
        same(strokes(animation), torch.stack([x[pair] for pair in pairs]))
        same(strokes(animation, "changed"), torch.stack([x[pair] for pair in pairs]))
        black = [line for line in scene(animation).lines if line.get_color() == PALETTE[0]]
        (trunk,) = [line for line in black if line.get_gid() == "bones"]
        ends = np.stack(trunk.get_data_3d(), axis=1).reshape(-1, 3, 3)[:, :2]
        assert any(np.allclose(bone, x[[11, 12]]) for bone in ends)

    def test_parts_have_their_colours(self) -> None:
        clip = make_clip()
        for line in scene(animate(clip, SBU15)).lines:
            if line.get_gid() == "joints":
                at = np.stack(line.get_data_3d(), axis=1)
                joints = np.flatnonzero(np.isfinite(at).all(axis=1))
                (part,) = [k for k, part in enumerate(SBU15.parts.values()) if joints[0] in part]
                assert tuple(joints) == tuple(sorted(list(SBU15.parts.values())[part]))
                assert to_hex(line.get_color()).upper() == PALETTE[part]

    def test_hidden_joints_are_hollow_and_grey_and_not_among_the_solid(self) -> None:
        clip, mask = make_clip(), no_mask(make_clip())
        mask[1, LEFT_ARM] = True
        animation = animate(clip, SBU15, mask=mask)
        assert len(points(animation, "hidden")) == 0
        animation.draw(1)
        x, hidden = clip[:, 1, :, 0].T, mask[1, :, 0]
        same(points(animation, "hidden"), x[hidden])
        same(points(animation, "joints"), x[~hidden])
        assert len(strokes(animation)) == 14 - len(LEFT_ARM)
        assert len(strokes(animation, "thin bones")) == 14
        (line,) = [line for line in scene(animation).lines if line.get_gid() == "hidden"]
        assert to_hex(line.get_markerfacecolor()) == "#ffffff"
        assert to_hex(line.get_markeredgecolor()) == "#888888"
        legend = [text.get_text() for text in animation.figure.legends[0].get_texts()]
        assert legend == [*(part.replace("_", " ") for part in SBU15.parts), "hidden"]

    @pytest.mark.parametrize("value", [0.0, float("nan")])
    def test_missing_joints_and_persons_are_left_out(self, value: float) -> None:
        clip = make_clip(persons=2)
        clip[..., 1] = 0
        clip[:, 0, SBU15.joints.index("left_elbow")] = value
        animation = animate(clip, SBU15)
        assert (len(points(animation, "joints")), len(strokes(animation))) == (14, 12)
        assert scene(animation).get_xlim()[0] > 0.9  # nor do they count for the limits
        animation.draw(1)
        assert (len(points(animation, "joints")), len(strokes(animation))) == (15, 14)

    def test_a_prediction_where_hidden(self) -> None:
        clip, mask = make_clip(), no_mask(make_clip())
        mask[:, LEFT_ARM] = True
        animation = animate(clip, SBU15, mask=mask, prediction=clip + 3)
        animation.draw(2)
        x = clip[:, 2, :, 0].T.clone()
        x[LEFT_ARM] += 3
        same(strokes(animation, "predicted"), torch.stack(bones(x)))
        same(points(animation, "joints"), x[[j for j in range(15) if j not in LEFT_ARM]])
        assert scene(animation).get_xlim()[1] > x[:, 0].max()
        (line,) = [line for line in scene(animation).lines if line.get_gid() == "predicted"]
        assert to_hex(line.get_color()).upper() == PALETTE[5]
        assert line.get_linestyle() == "--"

    def test_a_prediction_of_a_motion_begins_where_it_begins(self) -> None:
        clip = make_clip()
        prediction = clip + 3
        prediction[:, :4] = float("nan")
        animation = animate(clip, SBU15, prediction=prediction)
        animation.draw(3)
        assert len(strokes(animation, "predicted")) == 0
        animation.draw(4)
        same(strokes(animation, "predicted"), torch.stack(bones(clip[:, 4, :, 0].T + 3)))

    def test_what_was_pasted_lies_on_a_ground(self) -> None:
        before = make_clip()
        clip = before.clone()
        clip[:, 2:4, LEFT_ARM] += 0.5
        animation = animate(clip, SBU15, before=before)
        assert len(points(animation, "changed")) == 0
        animation.draw(3)
        same(points(animation, "changed"), clip[:, 3, LEFT_ARM, 0].T)
        assert len(strokes(animation, "changed")) == len(LEFT_ARM) - 1

    @pytest.mark.parametrize("axes", [(0, 1), (0, 2), (1, 2), (2, 1)])
    def test_up_is_up_right_is_right_and_scales_are_equal(self, axes: tuple[int, int]) -> None:
        from mpl_toolkits.mplot3d import proj3d

        clip = make_clip()
        clip[axes[1]] *= 4
        stage = scene(animate(clip, SBU15, axes=axes))
        limits = np.array([stage.get_xlim(), stage.get_ylim(), stage.get_zlim()])
        ends = limits.mean(axis=1)[:, None] + np.concatenate([np.zeros((3, 1)), 0.5 * np.eye(3)], 1)
        seen = np.stack(proj3d.proj_transform(*ends, stage.get_proj())[:2], axis=1)
        moved = seen[1:] - seen[0]  # by half a metre along each coordinate
        assert abs(moved[axes[1], 0]) < 1e-9 < moved[axes[1], 1]
        assert moved[axes[0], 0] > 0
        assert moved[axes[0], 0] > 2 * abs(moved[axes[0], 1])
        # an orthographic picture of three equal, upright edges: the squares add up to two
        size = (moved**2).sum() / 2
        np.testing.assert_allclose(moved[axes[1], 1] ** 2, size * np.cos(np.radians(12)) ** 2)

    def test_the_whole_motion_is_in_view_and_the_camera_stands_still(self) -> None:
        from mpl_toolkits.mplot3d import proj3d

        clip = make_clip()
        clip[0] += torch.arange(6)[:, None, None]
        animation = animate(clip, SBU15)
        camera = scene(animation).get_proj()
        x, y = proj3d.proj_transform(*clip.flatten(1).numpy(), camera)[:2]
        view = scene(animation).viewLim
        assert view.x0 < x.min() < x.max() < view.x1
        assert view.y0 < y.min() < y.max() < view.y1
        assert max(np.ptp(x) / view.width, np.ptp(y) / view.height) > 0.7
        animation.draw(5)
        np.testing.assert_array_equal(scene(animation).get_proj(), camera)

    def test_two_dimensions_and_arrays(self) -> None:
        clip = make_clip(channels=2)
        found = points(animate(clip.numpy(), SBU15), "joints")
        same(found[:, :2], clip[:, 0, :, 0].T)
        assert (found[:, 2] == 0).all()

    def test_nobody_there(self) -> None:
        assert len(points(animate(torch.zeros(3, 4, 15, 1), SBU15), "joints")) == 0

    @pytest.mark.parametrize(
        ("length", "fps", "most", "step"),
        [(6, 30, 6, 1), (7, 30, 6, 2), (10, 30, 3, 4), (10, 120, 300, 3), (1, 30, 300, 1)],
    )
    def test_long_clips_show_every_nth_frame_and_take_as_long(
        self, length: int, fps: float, most: int, step: int
    ) -> None:
        animation = animate(make_clip(length), SBU15, fps, max_frames=most)
        assert animation.frames == tuple(range(0, length, step))
        assert animation.fps == fps / step <= 50
        assert len(animation.frames) <= most

    def test_titles_are_not_formulas(self) -> None:
        animation = animate(make_clip(1), SBU15, title="a $x_1$ name")
        animation.figure.canvas.draw()
        assert animation.figure.texts[0].get_text() == r"a \$x_1\$ name"

    def test_a_note_is_beside_the_time(self) -> None:
        texts = animate(make_clip(1), SBU15, note="a $x_1$ note").figure.texts
        assert texts[1].get_text() == r"frame 0 of 1, 0.00 s; a \$x_1\$ note"

    def test_each_frame_may_have_a_note_of_its_own(self) -> None:
        picture = animate(make_clip(3), SBU15, fps=10, note=["up", "", "down"])
        said = []
        for frame in range(3):
            picture.draw(frame)
            said.append(picture.figure.texts[1].get_text())
        assert said == [
            "frame 0 of 3, 0.00 s; up",
            "frame 1 of 3, 0.10 s",
            "frame 2 of 3, 0.20 s; down",
        ]
        with pytest.raises(ValueError, match="3 frames, got 2"):
            animate(make_clip(3), SBU15, note=["up", "down"])

    def test_says_what_is_wrong(self) -> None:
        clip = make_clip()
        for error, arguments in (
            (r"one clip \(C, T, V, M\), got \(1, 3, 6, 15, 1\)", {"clip": clip[None]}),
            (r"V=25, M\), got \(1, 3, 6, 15, 1\)", {"skeleton": NTU25}),
            (r"2 or 3 coordinates, got a clip \(1, 6, 15, 1\)", {"clip": clip[:1]}),
            (r"one mask \(T, V, M\), got \(6, 15\)", {"mask": no_mask(clip)[..., 0]}),
            (r"boolean mask .* got float32", {"mask": no_mask(clip).float()}),
            (r"prediction of shape .*, got \(1, 3, 5,", {"prediction": clip[:, 1:]}),
            (r"before of shape .*, got \(1, 3, 5,", {"before": clip[:, 1:]}),
            ("fps > 0, got 0", {"fps": 0}),
            ("max_frames > 0, got 0", {"max_frames": 0}),
        ):
            with pytest.raises(ValueError, match=error):
                animate(**{"clip": clip, "skeleton": SBU15, **arguments})  # type: ignore[arg-type]


class TestSave:
    @pytest.mark.parametrize(("frames", "fps"), [(8, 30.0), (5, 12.5), (1, 30.0)])
    def test_gif_has_every_frame_and_the_duration(
        self, frames: int, fps: float, tmp_path: Path
    ) -> None:
        file = save(animate(make_clip(frames), SBU15, fps), tmp_path / "new" / "clip.gif", dpi=40)
        with Image.open(file) as gif:
            assert gif.format == "GIF"
            assert getattr(gif, "n_frames", 1) == frames
            durations, pictures = [], []
            for frame in range(frames):
                gif.seek(frame)
                durations.append(gif.info.get("duration", 0))
                pictures.append(np.asarray(gif.convert("RGB")).tobytes())
            assert frames == 1 or gif.info["loop"] == 0
        if frames > 1:
            assert abs(sum(durations) - 1000 * frames / fps) <= 5
        assert len(set(pictures)) == frames  # each shows something else

    def test_a_clip_that_stands_still_has_as_many_frames(self, tmp_path: Path) -> None:
        still = make_clip(1).expand(-1, 4, -1, -1)  # only the clock goes on
        with Image.open(save(animate(still, SBU15), tmp_path / "clip.gif", dpi=60)) as gif:
            assert getattr(gif, "n_frames", 1) == 4

    def test_a_picture_is_what_the_figure_shows(self, tmp_path: Path) -> None:
        """Only what moves is drawn anew: the result must be the same."""
        mask = no_mask(make_clip(3))
        mask[:, LEFT_ARM] = True
        animation = animate(make_clip(3), SBU15, mask=mask, before=make_clip(3) * 1.01)
        gif = save(animation, tmp_path / "clip.gif", dpi=60)
        animation.draw(2)
        with Image.open(save(animation.figure, tmp_path / "figure.png", dpi=60)) as picture:
            wanted = np.asarray(picture.convert("RGB")).astype(int)
        with Image.open(gif) as picture:
            picture.seek(2)
            found = np.asarray(picture.convert("RGB")).astype(int)
        assert found.shape == wanted.shape
        assert (abs(found - wanted).max(axis=2) > 40).mean() < 0.002

    def test_html_is_one_file_without_a_network(self, tmp_path: Path) -> None:
        page = save(animate(make_clip(4), SBU15, 25), tmp_path / "clip.html", dpi=40).read_text()
        assert "://" not in page
        assert not re.search(r"(?:src|href)\s*=\s*[\"']", page)
        pictures = re.findall(r'^"([A-Za-z0-9+/=]+)",?$', page, re.MULTILINE)
        assert len(pictures) == 4
        sizes = {Image.open(BytesIO(b64decode(picture))).size for picture in pictures}
        assert sizes == {(160, 184)}
        assert "PICTURES" not in page
        assert "FPS" not in page
        assert "* 25 / 1000" in page
        parser = HTMLParser()
        parser.feed(page)
        parser.close()

    def test_mp4(self, tmp_path: Path) -> None:
        if not FFMpegWriter.isAvailable():
            pytest.skip("needs the program ffmpeg")
        file = save(animate(make_clip(4), SBU15), tmp_path / "clip.mp4", dpi=41)
        assert file.read_bytes()[4:8] == b"ftyp"

    def test_mp4_without_ffmpeg(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(rcParams, "animation.ffmpeg_path", "not-there")
        with pytest.raises(OSError, match=r"needs the program ffmpeg; install it \(apt install"):
            save(animate(make_clip(2), SBU15), tmp_path / "clip.mp4")
        assert list(tmp_path.iterdir()) == []

    def test_mp4_with_an_ffmpeg_that_fails(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        broken = tmp_path / "ffmpeg"
        broken.write_text('#!/bin/sh\n[ "$1" = -version ] && exit 0\ncat >/dev/null\nexit 3\n')
        broken.chmod(0o755)
        monkeypatch.setitem(rcParams, "animation.ffmpeg_path", str(broken))
        with pytest.raises(OSError, match="ffmpeg failed"):
            save(animate(make_clip(2), SBU15), tmp_path / "new" / "clip.mp4")
        assert list((tmp_path / "new").iterdir()) == []

    @pytest.mark.parametrize("suffix", [".gif", ".html"])
    def test_a_file_is_written_whole_or_not_at_all(self, suffix: str, tmp_path: Path) -> None:
        file = tmp_path / f"clip{suffix}"
        file.write_text("what was there")
        animation = animate(make_clip(3), SBU15)

        def fail(frame: int) -> None:
            if frame == 2:
                raise KeyboardInterrupt

        broken = Animation(animation.figure, fail, animation.moving, animation.frames, 30)
        with pytest.raises(KeyboardInterrupt):
            save(broken, file, dpi=40)
        assert list(tmp_path.iterdir()) == [file]
        assert file.read_text() == "what was there"
        assert not any(artist.get_animated() for artist in animation.moving)

    @pytest.mark.parametrize("name", ["clip.png", "clip"])
    def test_formats_that_do_not_move(self, name: str, tmp_path: Path) -> None:
        with pytest.raises(ValueError, match=rf"end in \.gif, \.mp4, \.html, got {name}"):
            save(animate(make_clip(1), SBU15), tmp_path / name)
        assert list(tmp_path.iterdir()) == []
