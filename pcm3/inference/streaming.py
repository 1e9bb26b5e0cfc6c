"""Labels of a live recording, one frame at a time."""

from __future__ import annotations

import warnings
from collections import deque
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pcm3.checks import check_count, type_name
from pcm3.data.axes import CLEARLY, Up, along, check_up, from_legs_to_trunk, turn_up
from pcm3.data.body import body_form, form_of
from pcm3.data.normalize import Normalization, fill_center, normalize
from pcm3.data.readers.shared.layout import choose_layout
from pcm3.inference.classifier import UNKNOWN, Classifier
from pcm3.skeleton import Skeleton, joint_map

_FRAME_BY_FRAME = ("none", "center")
"""Recipes that hardly depend on the frames before those that are seen."""
_FIRST = 10  # frames that show along which axis the body extends


class LiveLabel(NamedTuple):
    """What is done in the latest frames.

    Attributes:
        label: The likeliest class, or ``"unknown"``, also where nobody was seen.
        probability: Of the likeliest class.
        probabilities: Of all classes (classes,), the mean over the latest frames.
    """

    label: str
    probability: float
    probabilities: NDArray[np.float32]


class StreamingClassifier:
    """Classify a live recording: each frame in, the label of the latest frames out.

    Each frame is classified together with those before it, ``classifier.window`` frames in all, the
    length of the median training recording, or all frames at the beginning. The label is that of
    the mean of the probabilities of the latest frames: where one action follows another, those of
    single frames go to and fro. It works with any encoder; a causal one can also give features
    frame by frame, see ``StreamingEncoder``.

    Args:
        classifier (~pcm3.inference.classifier.Classifier): The classifier, of normalisation
            ``"center"``, ``"none"`` or ``"body"``.
        smoothing: Number of frames whose probabilities are averaged, 1 for none. A label comes
            about half as many frames later. By default an eighth of the window, at least 1.
        skeleton: Layout of the frames: a skeleton, the name of a built-in one, or a
            ``skeleton.json``; by default that of the training recordings. Only an encoder of
            ``pretrain --any-layout`` takes another one.
        up: The axis of the frames that points up, for an encoder of ``pretrain --any-layout``:
            ``"-y"`` of image coordinates and of MediaPipe's world landmarks, ``"z"`` of much motion
            capture. By default it is that of the training recordings if the frames have their
            layout and number of coordinates, else ``"y"``. It is not found out from the frames, as
            ``Store.up`` is from recordings.
        left_handed: Whether the axes of the frames are left-handed, for such an encoder. By default
            they are as those of the training recordings if the layout is theirs, else
            right-handed.

    Raises:
        ValueError: If it is not a ``Classifier``, the normalisation needs whole recordings,
            ``smoothing`` is below 1, or the encoder cannot take the layout.

    Warns:
        UserWarning: If the body in the first frames extends along another axis than ``up``, unless
            ``up`` is that of the training recordings. This needs an encoder of ``pretrain
            --any-layout``, and legs that are seen.

    Example:
        >>> classifier = load_classifier("classifier.safetensors")           # doctest: +SKIP
        >>> stream = StreamingClassifier(classifier)                         # doctest: +SKIP
        >>> for keypoints in camera:                                         # doctest: +SKIP
        ...     print(stream.push(keypoints).label)
    """

    def __init__(
        self,
        classifier: Classifier,
        smoothing: int | None = None,
        *,
        skeleton: str | Path | Skeleton | None = None,
        up: Up | None = None,
        left_handed: bool | None = None,
    ) -> None:
        if not isinstance(classifier, Classifier):
            raise ValueError(
                f"expected a Classifier, as load_classifier reads it, got {type_name(classifier)}"
            )
        pretrained = classifier.pretrained
        self._recipe: Normalization | Any = pretrained.normalization or "none"
        any_layout = form_of(self._recipe) is not None
        if self._recipe not in _FRAME_BY_FRAME and not any_layout:
            raise ValueError(
                f"expected a classifier of normalization {', '.join(_FRAME_BY_FRAME)} or body, got "
                f"{self._recipe!r}, which needs whole recordings"
            )
        self.skeleton = classifier.layout if skeleton is None else choose_layout(skeleton)
        if not any_layout and (self.skeleton != pretrained.skeleton or up not in (None, "y")):
            raise ValueError(
                f"expected frames of the layout {pretrained.skeleton.name!r} with the axes of the "
                f"training recordings, got {self.skeleton.name!r}, up {up}; an encoder of pretrain "
                "--any-layout takes all"
            )
        if up is not None:
            check_up(up, 3)
        self.up: Up | None = up
        self._like_training = {*self.skeleton.joints} == {*classifier.layout.joints}
        if left_handed is None:
            left_handed = self._like_training and bool(classifier.left_handed)
        self.left_handed = left_handed
        self._map = joint_map(self.skeleton, pretrained.skeleton) if any_layout else None
        self.classifier = classifier
        self.smoothing = max(1, classifier.window // 8) if smoothing is None else smoothing
        check_count("smoothing", self.smoothing)
        self._up_is_checked = False
        self._frames: deque[NDArray[np.float32]] = deque(maxlen=classifier.window)
        self._recent: deque[NDArray[np.float32]] = deque(maxlen=self.smoothing)

    def reset(self) -> None:
        """Forget all frames; the next one starts a new recording."""
        self._frames.clear()
        self._recent.clear()
        self._up_is_checked = False

    def push(self, frame: ArrayLike) -> LiveLabel:
        """Add the next frame, and classify the latest ones.

        Args:
            frame: Coordinates (V, C) of one person or (M, V, C) of several, as the camera gives
                them, at the frame rate of the training recordings; 0 where a joint is not seen.
                C is 2 or 3 for an encoder of ``pretrain --any-layout``, else as in training.

        Raises:
            ValueError: If the frame does not fit the classifier, or is not finite.
        """
        self._frames.append(self._checked(frame))
        latest = np.stack(self._frames)
        if not self._up_is_checked:
            seen = latest[latest.any(axis=(1, 2, 3))]
            if len(seen) >= min(_FIRST, self.classifier.window):
                self._check_up(seen)
        clip = torch.from_numpy(self._prepared(latest)).permute(3, 0, 2, 1)[None]
        device = self.classifier.pretrained.device
        self._recent.append(self.classifier.predict_proba(clip.to(device))[0])
        probabilities = np.mean(self._recent, axis=0)
        if not latest.any():
            self._recent.clear()  # they do not count when somebody comes
            return LiveLabel(UNKNOWN, float(probabilities.max()), probabilities)
        label = self.classifier.name(probabilities)
        return LiveLabel(label, float(probabilities.max()), probabilities)

    def _checked(self, frame: ArrayLike) -> NDArray[np.float32]:
        """A frame with room for all persons (M, V, C)."""
        points = np.asarray(frame, dtype=np.float32)
        bodies = points[None] if points.ndim == 2 else points
        persons, joints = self.classifier.persons, len(self.skeleton)
        channels = [self.classifier.pretrained.encoder.in_channels]
        if self._map is not None:
            channels = [self._frames[0].shape[-1]] if self._frames else [2, 3]
        fits = bodies.ndim == 3 and bodies.shape[1] == joints and bodies.shape[2] in channels
        if not fits or not 1 <= len(bodies) <= persons:
            size = f"V={joints}, C={' or '.join(map(str, channels))}"
            several = f", or (M, {size}) of 1 to {persons} persons" if persons > 1 else ""
            raise ValueError(f"expected a frame ({size}){several}, got {points.shape}")
        if not np.isfinite(bodies).all():
            raise ValueError("expected finite coordinates, got NaN or infinity")
        room = np.zeros((persons, *bodies.shape[1:]), np.float32)
        room[: len(bodies)] = bodies
        return room

    def _up_of(self, channels: int) -> Up:
        """The axis that points up in frames of this number of coordinates."""
        known = self.up or (self.classifier.up if self._trained(channels) else None)
        return known or "y"

    def _trained(self, channels: int) -> bool:
        """Whether frames have the layout and the coordinates of the training recordings."""
        return self._like_training and channels == self.classifier.channels

    def _check_up(self, frames: NDArray[np.float32]) -> None:
        """Warn if bodies (T, M, V, C) extend along another axis than the one that points up."""
        self._up_is_checked = True
        parts = self.skeleton.parts
        if self.up is None and self._trained(frames.shape[-1]):
            return
        if self._map is None or not {"trunk", "left_leg", "right_leg"} <= parts.keys():
            return
        body = from_legs_to_trunk(frames.reshape(-1, *frames.shape[2:]), parts)
        if not body.any():
            return
        up = self._up_of(frames.shape[-1])
        turned = turn_up(body, up)
        if np.abs(turned).max() > CLEARLY * turned[1]:
            axis = along(body, int(np.abs(body).argmax()))
            warnings.warn(
                f"the body in the first {len(frames)} frames extends along {axis}, but up is "
                f"{up!r}; unless somebody lies there, pass up={axis!r}",
                stacklevel=3,
            )

    def _prepared(self, frames: NDArray[np.float32]) -> NDArray[np.float32]:
        """Frames (T, M, V, C) as the encoder takes them."""
        pretrained = self.classifier.pretrained
        if self._map is not None:
            form = pretrained.skeleton
            up = self._up_of(frames.shape[-1])
            frames = body_form(frames, self._map, form, up, left_handed=self.left_handed)
        recipe: Any = self._recipe if self._map is None else "none"
        if recipe == "center":
            frames = fill_center(frames, pretrained.skeleton)
        return normalize(frames, pretrained.skeleton, recipe, pretrained.encoder.persons)
