"""Presets of MAMP, MAE and NAT: the recipes of MAMP's paper, and small ones for a laptop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pcm3.data.dataset import LONGEST
from pcm3.methods.base import Preset
from pcm3.methods.mamp.settings import MAMPSettings
from pcm3.methods.recordings import FULL_SIZE, LAPTOP
from pcm3.methods.settings import TrainSettings

PUBLISHED = TrainSettings(
    epochs=400,
    optimizer="adamw",
    lr=1e-3,
    betas=(0.9, 0.95),
    weight_decay=0.05,
    decay_vectors=False,
    schedule="cosine",
    min_lr=5e-4,
    warmup_epochs=20,
)

_ACCURACY = {
    "ntu60-xsub": "85.0 %",
    "ntu60-xview": "89.0 %",
    "ntu120-xsub": "78.1 %",
    "ntu120-xset": "79.5 %",
}
"""Accuracy of the released checkpoints of MAMP."""

_SMALL = MAMPSettings(
    frames=32, width=64, depth=3, heads=4, decoder_depth=1, mask_ratio=0.6, crop_min_frames=32
)
"""Chosen on held-out training subjects of UTD-MHAD: more visible patches and a higher learning rate
for 2,400 steps. ``small-mae`` and ``small-nat`` use the same settings."""

_SMALL_TRAIN = replace(
    PUBLISHED, batch_size=64, lr=3e-3, min_lr=0.0, warmup_epochs=10, knn_every=20
)


def _baseline(model: MAMPSettings) -> MAMPSettings:
    """MAE: predict coordinates; hide patches uniformly."""
    return replace(model, target="coordinates", motion_temperature=0.0)


def _over_time(model: MAMPSettings) -> MAMPSettings:
    """NAT: MAE with targets normalised over time."""
    return replace(_baseline(model), normalize_target="time")


def _presets() -> Iterator[tuple[str, Preset]]:
    for place, data in FULL_SIZE.items():
        name, protocol = place.split("-")
        model = MAMPSettings(
            decoder_depth=3 if name == "ntu60" else 5,
            motion_temperature=0.75 if name == "ntu120" else 0.8,
        )
        preset = Preset(
            model,
            replace(PUBLISHED, keep_epochs=(300,) if name.startswith("pku") else ()),
            protocol,
            data,
            "MAMP",
            parameters=8.789 if name == "ntu60" else 10.369,
            forward=6.26 if name == "ntu60" else 9.77,
            published=_ACCURACY.get(place, ""),
            normalization="none" if name.startswith("pku") else "sgn",
            max_frames=LONGEST,
        )
        yield f"{place}-mamp", preset
        mae = preset._replace(model=_baseline(model), text=_MAE, published="")
        yield f"{place}-mae", mae
        if place == "ntu60-xsub":
            yield f"{place}-nat", mae._replace(model=_over_time(model), text=_NAT)
    small = Preset(_SMALL, _SMALL_TRAIN, "xsub", LAPTOP, "MAMP", 0.210, 0.0595)
    yield "small-mamp", small
    yield "small-mae", small._replace(model=_baseline(_SMALL), text=_MAE)
    yield "small-nat", small._replace(model=_over_time(_SMALL), text=_NAT)


_MAE = "MAE, the baseline of MAMP"
_NAT = "NAT: MAE, normalised over time"

PRESETS = dict(_presets())
