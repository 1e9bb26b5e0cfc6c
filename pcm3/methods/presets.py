"""Named settings: the papers' recipes, and small ones for a laptop."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from typing import NamedTuple

from pcm3.data.dataset import LONGEST
from pcm3.methods.pcm3 import PCM3_POSITIVES
from pcm3.methods.settings import Config, MAMPConfig, PCM3Config, TrainConfig
from pcm3.skeleton import Stream

_PCM3 = PCM3Config()
_SMALL = PCM3Config(
    frames=32,
    hidden=64,
    pool="mean",
    decoder_hidden=64,
    queue_size=2048,
    key_momentum=0.99,
    prompt_position="post_norm",
    crop_scale=(0.5, 1.0),
    crop_min_frames=32,
    shear=0.5,
    jitter=0.5,
    mask_clip_length=4,
    mask_weight=10.0,
)
_MAMP_SMALL = MAMPConfig(
    frames=32,
    width=64,
    depth=3,
    heads=4,
    decoder_depth=1,
    mask_ratio=0.6,
    crop_min_frames=32,
)

_PCM3_TRAIN = TrainConfig()
_SMALL_TRAIN = TrainConfig(
    epochs=200, batch_size=64, optimizer="adamw", lr=2e-3, drop_epoch=160, knn_every=10
)
_MAMP_TRAIN = TrainConfig(
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
_MAMP_SMALL_TRAIN = replace(
    _MAMP_TRAIN, batch_size=64, lr=3e-3, min_lr=0.0, warmup_epochs=10, knn_every=20
)


def _plus_plus(model: PCM3Config) -> PCM3Config:
    """PCM3++: the clip view, and domain prompts alone, where they can learn."""
    return replace(
        model,
        positives=(*PCM3_POSITIVES, "clip"),
        task_prompts=False,
        prompt_position="post_norm",
    )


def _stream(model: PCM3Config, stream: Stream) -> PCM3Config:
    """Bone or motion as in the published code: no prompts, no distillation, no guidance."""
    return replace(
        model,
        stream=stream,
        domain_prompts=False,
        task_prompts=False,
        kl_weight=0.0,
        semantic_guidance=False,
    )


def _mae(model: MAMPConfig) -> MAMPConfig:
    """MAMP's baseline: coordinates, hidden uniformly."""
    return replace(model, target="coordinates", motion_temperature=0.0)


class About(NamedTuple):
    """What a preset is for.

    Attributes:
        data: The recordings and who of them trains, one of ``DATA``.
        text: The method.
        published: Accuracy of the linear probe in papers and of published checkpoints, not of runs
            with this library; empty where none is known.
        parameters: Millions of them, for 25 joints and two persons.
        forward: 10^9 multiply-accumulates of a sequence, forward, all views and losses.
    """

    data: str
    text: str
    published: str
    parameters: float
    forward: float


DATA = {
    "NTU RGB+D 60 by subject": "",
    "NTU RGB+D 60 by view": "",
    "NTU RGB+D 120 by subject": "",
    "NTU RGB+D 120 by set-up": "",
    "PKU-MMD I by subject": "No schedule of PCM3 for PKU-MMD is published: this is the one for NTU "
    "RGB+D. MAMP's published figures are of epoch 300 of 400, whose encoder is kept.",
    "PKU-MMD II by subject": "As PKU-MMD I. CMD trains for 1,001 epochs and drops its rate at 801: "
    "--train.epochs 1001 --train.drop-epoch 801.",
    "some hundred recordings, on a laptop": "",
}
"""The recordings that presets are for, and what to know about all presets for them."""

_PUBLISHED = {
    "ntu60-xsub": "83.9 %, three streams 87.4 %",
    "ntu60-xview": "90.4 %, three streams 93.1 %",
    "ntu120-xsub": "76.5 %, three streams 80.0 %",
    "ntu120-xset": "77.5 %, three streams 81.2 %",
    "pku2-xsub": "51.5 %, three streams 58.2 %",
    "ntu60-xsub-pp": "84.1 %, post-distilled 84.8 %",
    "ntu60-xview-pp": "90.8 %, post-distilled 91.0 %",
    "ntu120-xsub-pp": "76.7 %",
    "ntu60-xsub-mamp": "85.0 %",
    "ntu60-xview-mamp": "89.0 %",
    "ntu120-xsub-mamp": "78.1 %",
    "ntu120-xset-mamp": "79.5 %",
}
"""PCM3: its Table 1. PCM3++: Tables 2 and 4 of the survey. MAMP: the released checkpoints."""

_Entry = tuple[PCM3Config | MAMPConfig, TrainConfig, str, float, float]


def _full_size(data: str) -> dict[str, _Entry]:
    """For one data set: ending of the name to model, training, text, parameters, operations."""
    plus = _plus_plus(_PCM3)
    mamp = MAMPConfig(
        decoder_depth=3 if data == "ntu60" else 5,
        motion_temperature=0.75 if data == "ntu120" else 0.8,
    )
    mamp_train = replace(_MAMP_TRAIN, keep_epochs=(300,) if data.startswith("pku") else ())
    costs = (8.789, 6.26) if data == "ntu60" else (10.369, 9.77)
    return {
        "": (_PCM3, _PCM3_TRAIN, "PCM3", 103.46, 15.0),
        "-bone": (_stream(_PCM3, "bone"), _PCM3_TRAIN, "PCM3, bones", 103.46, 14.7),
        "-motion": (_stream(_PCM3, "motion"), _PCM3_TRAIN, "PCM3, motion", 103.46, 14.7),
        "-pp": (plus, _PCM3_TRAIN, "PCM3++", 103.46, 17.9),
        "-pp-bone": (_stream(plus, "bone"), _PCM3_TRAIN, "PCM3++, bones", 103.46, 17.6),
        "-pp-motion": (_stream(plus, "motion"), _PCM3_TRAIN, "PCM3++, motion", 103.46, 17.6),
        "-mamp": (mamp, mamp_train, "MAMP", *costs),
        "-mae": (_mae(mamp), mamp_train, "MAE, the baseline of MAMP", *costs),
    }


_SMALL_ENTRIES: dict[str, _Entry] = {
    "small": (_SMALL, _SMALL_TRAIN, "PCM3", 0.603, 0.0435),
    "small-pp": (_plus_plus(_SMALL), _SMALL_TRAIN, "PCM3++", 0.603, 0.0515),
    "small-mamp": (_MAMP_SMALL, _MAMP_SMALL_TRAIN, "MAMP", 0.210, 0.0595),
    "small-mae": (
        *(_mae(_MAMP_SMALL), _MAMP_SMALL_TRAIN, "MAE, the baseline of MAMP", 0.210, 0.0595),
    ),
}


def _presets() -> dict[str, tuple[Config, About]]:
    found = {}
    *full_size, laptop = DATA
    names = ("ntu60-xsub", "ntu60-xview", "ntu120-xsub", "ntu120-xset", "pku1-xsub", "pku2-xsub")
    for name, about in zip(names, full_size, strict=True):
        data, protocol = name.split("-")
        for ending, (model, train, text, *costs) in _full_size(data).items():
            published = _PUBLISHED.get(name + ending, "")
            config = Config(model, train, protocol, max_frames=LONGEST)
            found[name + ending] = (config, About(about, text, published, *costs))
    for name, (model, train, text, *costs) in _SMALL_ENTRIES.items():
        found[name] = (Config(model, train), About(laptop, text, "", *costs))
    return found


_ALL = _presets()

PRESETS: dict[str, Config] = {name: config for name, (config, _) in _ALL.items()}
"""Preset name to settings.

``DATA-PROTOCOL-METHOD`` are the papers', at full size; recordings are cut after 300 frames. METHOD
is nothing for PCM3, ``bone`` and ``motion`` for its other two streams, ``pp`` for PCM3++, ``mamp``
for MAMP and ``mae`` for its baseline. No recipe of PCM3++ for bones and motion is published: theirs
is PCM3's of the stream, and the clip view. ``small`` and ``small-mamp`` were chosen on held-out
training subjects of UTD-MHAD: half the frames, weaker distortions and prompts that can learn, for
1,200 steps; and more visible patches at a higher rate, for 2,400. ``small-pp`` and ``small-mae``
take these settings over.

:meta hide-value:
"""

ABOUT: dict[str, About] = {name: about for name, (_, about) in _ALL.items()}
"""What each preset is for, and what it costs.

:meta hide-value:
"""


def published_normalization(preset: str) -> str | None:
    """The recipe of the recordings that a preset's paper trains on; None of the small presets."""
    if preset.startswith("small"):
        return None
    if preset.endswith(("-mamp", "-mae")):
        return "none" if preset.startswith("pku") else "sgn"
    return "isc"


def post_distillation(config: Config) -> Config:
    """The second phase of PCM3++, after a run of PCM3 or PCM3++ with these settings.

    The distillation terms alone, a third as many epochs at a tenth of the rate, and the key
    encoder as the result. The survey gives neither rate nor epochs; its file names say 150, after
    451. A run without distillation, of bones or motion say, gets it with weight 1.

    Raises:
        ValueError: If the run is of another method.
    """
    if not isinstance(config.model, PCM3Config):
        raise ValueError(f"expected a run of PCM3 or PCM3++ to distil, got one of {config.method}")
    model = replace(config.model, info_nce_weight=0.0, mask_weight=0.0, result="key")
    model = replace(model, kl_weight=model.kl_weight or 1.0)
    epochs = max(1, round(config.train.epochs / 3))
    train = replace(
        config.train.scaled_to(epochs),
        lr=config.train.lr / 10,
        min_lr=config.train.min_lr / 10,
        drop_epoch=epochs,
    )
    return replace(config, model=model, train=train)


def get_preset(name: str) -> Config:
    """Return a preset by name.

    Raises:
        ValueError: If there is none of that name; the message says which are like it.
    """
    if name not in PRESETS:
        near = get_close_matches(str(name), PRESETS, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"expected one of the presets that pcm3 presets lists, got {name!r}{hint}")
    return PRESETS[name]
