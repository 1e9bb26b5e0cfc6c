"""What recordings an encoder takes: like those that it, or a classifier on it, was fitted on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pcm3.data.axes import Up
from pcm3.data.body import BodyForm, form_of
from pcm3.data.store import Store
from pcm3.encoders.files import Pretrained
from pcm3.inference.clips import Clips
from pcm3.skeleton import Skeleton

_MANY = 10  # of ten recordings or more, the mean shows the axes


@dataclass(frozen=True, kw_only=True)
class Intake:
    """An encoder, and what recordings it takes.

    Attributes:
        pretrained: The encoder and how it wants its clips.
        fps: Frames per second of the recordings; None if unknown.
        unit: Unit of the coordinates.
        persons: Number of persons that are taken together, at most that of the encoder. If it is
            1, each person of a recording counts alone.
        layout: Layout of the recordings; that of the encoder, unless it takes any.
        channels: For an encoder of any layout, the number of coordinates of the recordings; None if
            unknown.
        up: For such an encoder, the axis of the recordings that points up; None if unknown.
        left_handed: For such an encoder, whether the axes of the recordings are left-handed; None
            if unknown.
    """

    pretrained: Pretrained
    fps: float | None
    unit: str
    persons: int
    layout: Skeleton
    channels: int | None = None
    up: Up | None = None
    left_handed: bool | None = None

    @staticmethod
    def like(store: Store, pretrained: Pretrained) -> Intake:
        """The intake of recordings that are like those of a store.

        They have the normalization of the store, which may be another than the encoder's. An
        encoder for all layouts has room for several persons, but takes each alone if the store
        has room for one.
        """
        normalization, persons = str(store.meta["normalization"]), pretrained.encoder.persons
        layout, axes = pretrained.skeleton, dict[str, Any]()
        if form := form_of(pretrained.normalization):
            normalization, persons = form, min(persons, store.persons)
            layout = store.skeleton
            left_handed = BodyForm(store, pretrained.skeleton).left_handed
            axes = {"channels": store.channels, "up": store.up, "left_handed": left_handed}
        return Intake(
            pretrained=pretrained._replace(normalization=normalization),
            fps=store.meta["fps"],
            unit=store.meta["unit"],
            persons=persons,
            layout=layout,
            **axes,
        )

    def clips(self, store: Store, indices: Sequence[int] | None = None) -> Clips:
        """Recordings of a store as clips for the encoder, all by default.

        Raises:
            ValueError: If the recordings do not fit the encoder.
        """
        self.check(store)
        chosen = np.arange(len(store)) if indices is None else indices
        return Clips(self.pretrained, self.with_axes(store), chosen)

    def with_axes(self, store: Store) -> Store:
        """A store with the axes of the training recordings, if it has their joints.

        A few recordings, of people who lie or turn their backs, may not show which axis points up
        and whether axes are left-handed, and two programs rarely give joints of the same names in
        different axes. So only many recordings count that show other axes.
        """
        if self.left_handed is None or {*store.skeleton.joints} != {*self.layout.joints}:
            return store
        many, up, left_handed = len(store) >= _MANY, store.known_up, store.known_left_handed
        if up is None and not many and store.channels == self.channels:
            up = self.up
        form = BodyForm(store, self.pretrained.skeleton)
        if left_handed is None and not (many and form.shown_left_handed is not None):
            left_handed = self.left_handed
        if (up, left_handed) == (store.known_up, store.known_left_handed):
            return store
        return Store(store.path, up=up, left_handed=left_handed)

    def describe(self, store: Store, taken: Store) -> list[str]:
        """Say in what recordings seem to differ from those of training, for readers of results.

        Args:
            store: The recordings.
            taken: What ``with_axes`` makes of them.
        """
        notes, channels = [], self.channels or store.channels
        if store.channels != channels:
            notes.append(
                f"the recordings have {store.channels} coordinates, the training recordings "
                f"{channels}: results may be worse"
            )
        if still := int((store.lengths == 1).sum()):
            notes.append(f"recordings of one frame, in which nothing moves: {still:,}")
        isc = store.meta["normalization"] == "isc"
        if store.known_up is None and store.up != taken.up and not isc:
            notes.append(
                f"bodies extend along {store.up}, but {taken.up} points up in the training "
                "recordings, and is taken to do so here: unless people lie there, prepare the "
                f"recordings with --up={store.up}"
            )
        return notes

    def check(self, store: Store) -> None:
        """Require recordings like those of training.

        Coordinates, persons, frame rate and normalisation are compared here, the joints when the
        recordings are read.

        Raises:
            ValueError: Saying what was expected and what the store has.
        """
        normalization, fps = store.meta["normalization"], store.meta["fps"]
        what = f"{store.path}: expected recordings"
        any_form = form_of(self.pretrained.normalization) is not None
        if not any_form and self.pretrained.normalization not in (None, normalization):
            raise ValueError(
                f"{what} of normalization {self.pretrained.normalization!r}, as the training "
                f"recordings were, got {normalization!r}"
            )
        if None not in (fps, self.fps) and abs(fps - (self.fps or 0)) > 1e-6 * fps:
            raise ValueError(
                f"{what} of {self.fps:g} frames per second, as the training recordings were, got "
                f"{fps:g}; pcm3 prepare --fps {self.fps:g} resamples them"
            )
        if not any_form and store.channels != self.pretrained.encoder.in_channels:
            raise ValueError(
                f"{what} of {self.pretrained.encoder.in_channels} coordinates, got {store.channels}"
            )
        if store.slots.max() > self.persons:
            raise ValueError(
                f"{what} of at most {self.persons} persons, as are taken together, got "
                f"{store.slots.max()}; pcm3 prepare --persons {self.persons} keeps the foremost"
            )
