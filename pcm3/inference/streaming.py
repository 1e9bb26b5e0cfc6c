"""Labels of a live recording, one frame at a time."""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from pcm3.checks import type_name
from pcm3.data.normalize import Normalization, normalize
from pcm3.inference.classifier import UNKNOWN, Classifier

_FRAME_BY_FRAME = ("none", "center")
"""Recipes that hardly depend on the frames before those that are seen."""


class LiveLabel(NamedTuple):
    """What is done in the latest frames.

    Attributes:
        label: The likeliest class, or ``"unknown"``, also where nobody was seen.
        probability: Of the likeliest class.
        probabilities: Of all classes (classes,).
    """

    label: str
    probability: float
    probabilities: NDArray[np.float32]


class StreamingClassifier:
    """Classify a live recording: each frame in, the label of the latest frames out.

    The label is that of the latest ``classifier.window`` frames, the length of the median training
    recording, or of all frames at the beginning. It works with any encoder; a causal one can
    also give features frame by frame, see ``StreamingEncoder``.

    Args:
        classifier (~pcm3.inference.classifier.Classifier): The classifier, of normalisation
            ``"center"`` or ``"none"``.

    Raises:
        ValueError: If it is not a ``Classifier``, or the normalisation needs whole recordings.

    Example:
        >>> classifier = load_classifier("classifier.safetensors")           # doctest: +SKIP
        >>> stream = StreamingClassifier(classifier)                         # doctest: +SKIP
        >>> for keypoints in camera:                                         # doctest: +SKIP
        ...     print(stream.push(keypoints).label)
    """

    def __init__(self, classifier: Classifier) -> None:
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
        self._frames: deque[NDArray[np.float32]] = deque(maxlen=classifier.window)

    def reset(self) -> None:
        """Forget all frames; the next one starts a new recording."""
        self._frames.clear()

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
        frames = normalize(np.stack(self._frames), skeleton, self._recipe, encoder.persons)
        clip = torch.from_numpy(frames).permute(3, 0, 2, 1)[None]
        device = next(encoder.parameters()).device
        probabilities = self.classifier.predict_proba(clip.to(device))[0]
        nobody = not np.stack(self._frames).any()
        label = UNKNOWN if nobody else self.classifier.name(probabilities)
        return LiveLabel(label, float(probabilities.max()), probabilities)
