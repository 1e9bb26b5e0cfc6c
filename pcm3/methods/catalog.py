"""Methods and presets by name, and the settings of a run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypedDict

from pcm3.checks import check_count
from pcm3.io.imports import find_class, is_import_path
from pcm3.io.json import parse_json
from pcm3.methods.aimclr import AimCLR
from pcm3.methods.autoencoder import AutoEncoder
from pcm3.methods.base import Method, Preset, find_preset
from pcm3.methods.cmd import CMD
from pcm3.methods.decorrelation import Decorrelation
from pcm3.methods.displacement import Displacement
from pcm3.methods.latent import LatentPrediction
from pcm3.methods.mamp import MAMP
from pcm3.methods.ms2l import MS2L
from pcm3.methods.pcm3 import PCM3, PCM3Settings
from pcm3.methods.recordings import DATA
from pcm3.methods.settings import MethodSettings, TrainSettings
from pcm3.methods.simclr import SimCLR

METHODS: dict[str, type[Method]] = {
    kind.name: kind
    for kind in (
        PCM3,
        MAMP,
        SimCLR,
        Decorrelation,
        AimCLR,
        CMD,
        Displacement,
        MS2L,
        AutoEncoder,
        LatentPrediction,
    )
}
"""Methods by name."""

PRESETS: dict[str, Preset] = {
    name: preset
    for data in DATA
    for method in METHODS.values()
    for name, preset in method.presets.items()
    if preset.data == data
}
"""Presets by name.

Presets ``DATA-PROTOCOL-METHOD`` have the full size of the papers and truncate recordings at 300
frames. METHOD is empty for PCM3, ``bone`` and ``motion`` for its other two streams, ``pp`` for
PCM3++, ``mamp`` for MAMP, ``mae`` for its baseline, ``nat`` for NAT, and the name of another method
for its own.

:meta hide-value:
"""


class _Known(TypedDict, total=False):
    max_frames: int | None
    any_layout: bool
    preset: str | None


class _Parts(_Known):
    method: str
    model: dict[str, Any]
    train: dict[str, Any]
    protocol: str


@dataclass(frozen=True)
class RunSettings:
    """All settings of a run: of the method, of training, and of the training data."""

    model: MethodSettings = field(default_factory=PCM3Settings)
    train: TrainSettings = field(default_factory=TrainSettings)
    protocol: str = "xsub"
    """Protocol that selects the training sequences: one for all stores, or one for each, separated
    by spaces."""
    max_frames: int | None = None
    """Number of frames at which longer sequences are truncated; None trains on them in windows."""
    any_layout: bool = False
    """Whether recordings are brought to the body form, see :mod:`pcm3.data.body`. Stores of
    different layouts and units then train together, and the encoder takes any layout."""
    preset: str | None = None
    """Preset that the settings were changed from; reports name it. It has no effect itself."""

    def __post_init__(self) -> None:
        if self.max_frames is not None:
            check_count("max_frames", self.max_frames)

    @property
    def method(self) -> str:
        """Name of the method, or its import path if it is a custom one."""
        return str(self.model.method.name)

    def to_json(self) -> str:
        """JSON text that ``from_json`` reads."""
        return json.dumps({"method": self.method, **asdict(self)}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> RunSettings:
        """Read the settings of a run from JSON text; lists become tuples.

        Raises:
            ValueError: If the text is not JSON or lacks a part, a setting is unknown, the method's
                module is not imported, or a value has another type.
        """
        raw = parse_json(text.encode(), "settings", _Parts)
        return cls(
            model=find_method(raw["method"]).Settings.from_dict(raw["model"]),
            train=TrainSettings.from_dict(raw["train"]),
            protocol=raw["protocol"],
            max_frames=raw.get("max_frames"),
            any_layout=raw.get("any_layout", False),
            preset=raw.get("preset"),
        )


def find_method(name: str) -> type[Method]:
    """Find a method by its name in ``METHODS`` or its import path ``package.module:Class``.

    Raises:
        ValueError: If the method does not exist, or its module is not imported.
    """
    if name in METHODS:
        return METHODS[name]
    if not is_import_path(name):
        known = ", ".join(METHODS)
        raise ValueError(f"expected a method among {known} or MODULE:CLASS, got {name!r:.200}")
    return find_class(name, Method)


def get_preset(name: str) -> RunSettings:
    """Settings of a run with a preset.

    Raises:
        ValueError: If the name is unknown; the message suggests similar names.
    """
    preset = find_preset(name)
    return RunSettings(preset.model, preset.train, preset.protocol, preset.max_frames, preset=name)


def post_distillation(settings: RunSettings) -> RunSettings:
    """Settings of the second phase of PCM3++, after a run of PCM3 or PCM3++ with ``settings``.

    It trains with the distillation terms alone, for a third of the epochs at a tenth of the
    learning rate, and its result is the key encoder. The survey gives neither rate nor epochs; its
    file names say 150 epochs after 451. If the first run has no distillation, as for bones and
    motion, its weight becomes 1.

    Raises:
        ValueError: If the run is of another method.
    """
    if not isinstance(settings.model, PCM3Settings):
        raise ValueError(
            f"expected a run of PCM3 or PCM3++ to distil, got one of {settings.method}"
        )
    model = replace(
        settings.model,
        info_nce_weight=0.0,
        mask_weight=0.0,
        kl_weight=settings.model.kl_weight or 1.0,
        result="key",
    )
    epochs = max(1, round(settings.train.epochs / 3))
    train = replace(
        settings.train.scaled_to(epochs),
        lr=settings.train.lr / 10,
        min_lr=settings.train.min_lr / 10,
        drop_epoch=epochs,
    )
    return replace(settings, model=model, train=train)
