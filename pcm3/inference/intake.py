"""What recordings an encoder takes: like those that it, or a classifier on it, was fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pcm3.data.store import Store
from pcm3.encoders.files import Pretrained
from pcm3.inference.clips import Clips


@dataclass(frozen=True, kw_only=True)
class Intake:
    """An encoder, and what recordings it takes.

    Attributes:
        pretrained: The encoder and how it wants its clips.
        fps: Frames per second of the recordings; None if unknown.
        unit: Unit of the coordinates.
    """

    pretrained: Pretrained
    fps: float | None
    unit: str

    @property
    def persons(self) -> int:
        """Number of persons that the encoder takes together."""
        return self.pretrained.encoder.persons

    def clips(self, store: Store, indices: Sequence[int] | None = None) -> Clips:
        """Recordings of a store as clips for the encoder, all by default.

        Raises:
            ValueError: If the recordings do not fit the encoder.
        """
        self.check(store)
        chosen = np.arange(len(store)) if indices is None else indices
        return Clips(self.pretrained, store, chosen)

    def check(self, store: Store) -> None:
        """Require recordings like those of training.

        Coordinates, persons, frame rate and normalisation are compared here, the joints when the
        recordings are read.

        Raises:
            ValueError: Saying what was expected and what the store has.
        """
        normalization, fps = store.meta["normalization"], store.meta["fps"]
        what = f"{store.path}: expected recordings"
        if self.pretrained.normalization not in (None, normalization):
            raise ValueError(
                f"{what} of normalization {self.pretrained.normalization!r}, as the training "
                f"recordings were, got {normalization!r}"
            )
        if None not in (fps, self.fps) and abs(fps - (self.fps or 0)) > 1e-6 * fps:
            raise ValueError(
                f"{what} of {self.fps:g} frames per second, as the training recordings were, got "
                f"{fps:g}; pcm3 prepare --fps {self.fps:g} resamples them"
            )
        if store.channels != self.pretrained.encoder.in_channels:
            raise ValueError(
                f"{what} of {self.pretrained.encoder.in_channels} coordinates, got {store.channels}"
            )
        if store.persons > self.persons:
            raise ValueError(
                f"{what} of at most {self.persons} persons, as the encoder takes, got room "
                f"for {store.persons}; pcm3 prepare --persons {self.persons} keeps the foremost"
            )
