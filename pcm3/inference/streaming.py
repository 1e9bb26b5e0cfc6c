"""Labels of a live recording, one frame at a time."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pcm3.checks import check_count, type_name
from pcm3.data.normalize import Normalization, normalize
from pcm3.inference.classifier import UNKNOWN, Classifier

_FRAME_BY_FRAME = ("none", "center")
"""Recipes that hardly depend on the frames before those that are seen."""


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
            ``"center"`` or ``"none"``.
        smoothing: Number of frames whose probabilities are averaged, 1 for none. A label comes
            about half as many frames later. By default an eighth of the window, at least 1.

    Raises:
        ValueError: If it is not a ``Classifier``, the normalisation needs whole recordings, or
            ``smoothing`` is below 1.

    Example:
        >>> classifier = load_classifier("classifier.safetensors")           # doctest: +SKIP
        >>> stream = StreamingClassifier(classifier)                         # doctest: +SKIP
        >>> for keypoints in camera:                                         # doctest: +SKIP
        ...     print(stream.push(keypoints).label)
    """

    def __init__(self, classifier: Classifier, smoothing: int | None = None) -> None:
        if not isinstance(classifier, Classifier):
            raise ValueError(
                f"expected a Classifier, as load_classifier reads it, got {type_name(classifier)}"
            )
        self._recipe: Normalization | Any = classifier.pretrained.normalization or "none"
        if self._recipe not in _FRAME_BY_FRAME:
            raise ValueError(
                f"expected a classifier of normalization {' or '.join(_FRAME_BY_FRAME)}, got "
                f"{self._recipe!r}, which needs whole recordings"
            )
        self.classifier = classifier
        self.smoothing = max(1, classifier.window // 8) if smoothing is None else smoothing
        check_count("smoothing", self.smoothing)
        self._frames: deque[NDArray[np.float32]] = deque(maxlen=classifier.window)
        self._recent: deque[NDArray[np.float32]] = deque(maxlen=self.smoothing)

    def reset(self) -> None:
        """Forget all frames; the next one starts a new recording."""
        self._frames.clear()
        self._recent.clear()

    def push(self, frame: ArrayLike) -> LiveLabel:
        """Add the next frame, and classify the latest ones.

        Args:
            frame: Coordinates (V, C) of one person or (M, V, C) of several, as the camera gives
                them, at the frame rate of the training recordings; 0 where a joint is not seen.

        Raises:
            ValueError: If the frame does not fit the classifier, or is not finite.
        """
        encoder, skeleton = self.classifier.pretrained.encoder, self.classifier.pretrained.skeleton
        points = np.asarray(frame, dtype=np.float32)
        bodies = points[None] if points.ndim == 2 else points
        size = (encoder.joints, encoder.in_channels)
        if bodies.ndim != 3 or bodies.shape[1:] != size or not 1 <= len(bodies) <= encoder.persons:
            joints, channels = size
            raise ValueError(
                f"expected a frame (V={joints}, C={channels}), or (M, V={joints}, C={channels}) of "
                f"1 to {encoder.persons} persons, got {points.shape}"
            )
        if not np.isfinite(bodies).all():
            raise ValueError("expected finite coordinates, got NaN or infinity")
        room = np.zeros((encoder.persons, *size), np.float32)
        room[: len(bodies)] = bodies
        self._frames.append(room)
        latest = np.stack(self._frames)
        frames = normalize(latest, skeleton, self._recipe, encoder.persons)
        clip = torch.from_numpy(frames).permute(3, 0, 2, 1)[None]
        device = self.classifier.pretrained.device
        self._recent.append(self.classifier.predict_proba(clip.to(device))[0])
        probabilities = np.mean(self._recent, axis=0)
        if not latest.any():
            self._recent.clear()  # they do not count when somebody comes
            return LiveLabel(UNKNOWN, float(probabilities.max()), probabilities)
        label = self.classifier.name(probabilities)
        return LiveLabel(label, float(probabilities.max()), probabilities)
