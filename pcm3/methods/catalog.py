"""All methods and presets by name, and the settings of a whole run."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from typing import Any, TypedDict

from pcm3.checks import check_count
from pcm3.io.imports import find_class, is_import_path
from pcm3.io.json import parse_json
from pcm3.methods.base import Method, Preset, find_preset
from pcm3.methods.mamp import MAMP
from pcm3.methods.pcm3 import PCM3, PCM3Settings
from pcm3.methods.recordings import DATA
from pcm3.methods.settings import MethodSettings, TrainSettings
from pcm3.methods.simclr import SimCLR

METHODS: dict[str, type[Method]] = {kind.name: kind for kind in (PCM3, MAMP, SimCLR)}
"""Name to method."""

PRESETS: dict[str, Preset] = {
    name: preset
    for data in DATA
    for method in METHODS.values()
    for name, preset in method.presets.items()
    if preset.data == data
}
"""Name to preset.

``DATA-PROTOCOL-METHOD`` are the papers', at full size; recordings are cut after 300 frames. METHOD
is nothing for PCM3, ``bone`` and ``motion`` for its other two streams, ``pp`` for PCM3++, ``mamp``
for MAMP and ``mae`` for its baseline.

:meta hide-value:
"""


class _Known(TypedDict, total=False):
    max_frames: int | None


class _Parts(_Known):
    method: str
    model: dict[str, Any]
    train: dict[str, Any]
    protocol: str


@dataclass(frozen=True)
class RunSettings:
    """All settings of a run: those of the method and of training, and the training part."""

    model: MethodSettings = field(default_factory=PCM3Settings)
    train: TrainSettings = field(default_factory=TrainSettings)
    protocol: str = "xsub"
    """Which sequences are the training part: of all stores, or one for each, space between."""
    max_frames: int | None = None
    """Where longer sequences are cut off; by default they are trained on in windows."""

    def __post_init__(self) -> None:
        if self.max_frames is not None:
            check_count("max_frames", self.max_frames)

    @property
    def method(self) -> str:
        """Name of the method, or the import path of one's own."""
        return str(self.model.method.name)

    def to_json(self) -> str:
        """Text that ``from_json`` reads back."""
        return json.dumps({"method": self.method, **asdict(self)}, indent=2)

    @classmethod
    def from_json(cls, text: str) -> RunSettings:
        """Read settings of a run; lists become tuples.

        Raises:
            ValueError: If the text is not JSON, lacks a part, names unknown settings or a method
                whose module is not imported, or a value is of another type.
        """
        raw = parse_json(text.encode(), "settings", _Parts)
        return cls(
            model=find_method(raw["method"]).Settings.from_dict(raw["model"]),
            train=TrainSettings.from_dict(raw["train"]),
            protocol=raw["protocol"],
            max_frames=raw.get("max_frames"),
        )


def find_method(name: str) -> type[Method]:
    """The method of a name, one of ``METHODS``, or of an import path, ``package.module:Class``.

    Raises:
        ValueError: If there is no such method, or its module is not imported.
    """
    if name in METHODS:
        return METHODS[name]
    if not is_import_path(name):
        known = ", ".join(METHODS)
        raise ValueError(f"expected a method among {known} or MODULE:CLASS, got {name!r:.200}")
    return find_class(name, Method)


def get_preset(name: str) -> RunSettings:
    """The settings of a preset.

    Raises:
        ValueError: If there is none of that name; the message says which are like it.
    """
    preset = find_preset(name)
    return RunSettings(preset.model, preset.train, preset.protocol, preset.max_frames)


def post_distillation(settings: RunSettings) -> RunSettings:
    """The second phase of PCM3++, after a run of PCM3 or PCM3++ with these settings.

    The distillation terms alone, a third as many epochs at a tenth of the rate, and the key
    encoder as the result. The survey gives neither rate nor epochs; its file names say 150, after
    451. A run without distillation, of bones or motion say, gets it with weight 1.

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
