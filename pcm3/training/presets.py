"""Named settings: the papers' recipes, and a small one for a laptop."""

from __future__ import annotations

from dataclasses import replace
from difflib import get_close_matches
from typing import NamedTuple

from pcm3.methods.pcm3 import PCM3_POSITIVES
from pcm3.skeleton import Stream
from pcm3.training.config import Config, MAMPConfig, PCM3Config, TrainConfig

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
_MAMP = MAMPConfig()
_MAMP_LARGE = MAMPConfig(decoder_depth=5)
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


def _stream(stream: Stream) -> PCM3Config:
    """Bone or motion as in the published code: no prompts, no distillation, no guidance."""
    return PCM3Config(
        stream=stream,
        domain_prompts=False,
        task_prompts=False,
        kl_weight=0.0,
        semantic_guidance=False,
    )


PRESETS: dict[str, Config] = {
    "ntu60-xsub": Config(_PCM3, _PCM3_TRAIN, "xsub"),
    "ntu60-xview": Config(_PCM3, _PCM3_TRAIN, "xview"),
    "ntu60-xsub-bone": Config(_stream("bone"), _PCM3_TRAIN, "xsub"),
    "ntu60-xview-bone": Config(_stream("bone"), _PCM3_TRAIN, "xview"),
    "ntu60-xsub-motion": Config(_stream("motion"), _PCM3_TRAIN, "xsub"),
    "ntu60-xview-motion": Config(_stream("motion"), _PCM3_TRAIN, "xview"),
    "ntu60-xsub-pp": Config(_plus_plus(_PCM3), _PCM3_TRAIN, "xsub"),
    "ntu60-xview-pp": Config(_plus_plus(_PCM3), _PCM3_TRAIN, "xview"),
    "ntu60-xsub-mamp": Config(_MAMP, _MAMP_TRAIN, "xsub"),
    "ntu60-xview-mamp": Config(_MAMP, _MAMP_TRAIN, "xview"),
    "ntu120-xsub-mamp": Config(replace(_MAMP_LARGE, motion_temperature=0.75), _MAMP_TRAIN, "xsub"),
    "ntu120-xset-mamp": Config(replace(_MAMP_LARGE, motion_temperature=0.75), _MAMP_TRAIN, "xset"),
    "pku-xsub-mamp": Config(_MAMP_LARGE, _MAMP_TRAIN, "xsub"),
    "small": Config(_SMALL, _SMALL_TRAIN),
    "small-pp": Config(_plus_plus(_SMALL), _SMALL_TRAIN),
    "small-mamp": Config(_MAMP_SMALL, _MAMP_SMALL_TRAIN),
    "small-mae": Config(
        replace(_MAMP_SMALL, target="coordinates", motion_temperature=0.0), _MAMP_SMALL_TRAIN
    ),
}
"""Preset name to settings.

``ntu60-*`` are the papers', at full size: PCM3, ``-bone`` and ``-motion`` for its other two
streams, ``-pp`` PCM3++, ``-mamp`` MAMP, which has ``ntu120-*-mamp`` and ``pku-xsub-mamp`` too (the
published PKU-MMD results are those of epoch 300). ``small`` and ``small-mamp`` were
chosen on held-out training subjects of UTD-MHAD: half the frames, weaker distortions and prompts
that can learn, for 1,200 steps; and more visible patches at a higher rate, for 2,400. ``small-pp``
and ``small-mae`` take these settings over.
"""


class About(NamedTuple):
    """What a preset is for.

    Attributes:
        text: Method, recordings, and the published accuracy of the linear probe.
        parameters: Millions of them, for 25 joints and two persons.
        forward: 10^9 multiply-accumulates of a sequence, forward, all views and losses.
    """

    text: str
    parameters: float
    forward: float


_BY_SUBJECT, _BY_VIEW = "NTU RGB+D 60 by subject", "NTU RGB+D 60 by view"

ABOUT: dict[str, About] = {
    "ntu60-xsub": About(f"PCM3, {_BY_SUBJECT}: published 83.9 %", 103.46, 15.0),
    "ntu60-xview": About(f"PCM3, {_BY_VIEW}: published 90.4 %", 103.46, 15.0),
    "ntu60-xsub-bone": About("its bones; all three streams: published 87.4 %", 103.46, 14.7),
    "ntu60-xview-bone": About("its bones; all three streams: published 93.1 %", 103.46, 14.7),
    "ntu60-xsub-motion": About("its motion", 103.46, 14.7),
    "ntu60-xview-motion": About("its motion", 103.46, 14.7),
    "ntu60-xsub-pp": About(
        f"PCM3++, {_BY_SUBJECT}: published 84.1 %, post-distilled 84.8 %", 103.46, 17.9
    ),
    "ntu60-xview-pp": About(
        f"PCM3++, {_BY_VIEW}: published 90.8 %, post-distilled 91.0 %", 103.46, 17.9
    ),
    "ntu60-xsub-mamp": About(f"MAMP, {_BY_SUBJECT}: published 85.0 %", 8.789, 6.26),
    "ntu60-xview-mamp": About(f"MAMP, {_BY_VIEW}: published 89.0 %", 8.789, 6.26),
    "ntu120-xsub-mamp": About("MAMP, NTU RGB+D 120 by subject: published 78.1 %", 10.369, 9.77),
    "ntu120-xset-mamp": About("MAMP, NTU RGB+D 120 by set-up: published 79.5 %", 10.369, 9.77),
    "pku-xsub-mamp": About("MAMP, PKU-MMD by subject", 10.369, 9.77),
    "small": About("PCM3, some hundred recordings on a laptop", 0.603, 0.0435),
    "small-pp": About("PCM3++, the same", 0.603, 0.0515),
    "small-mamp": About("MAMP, the same", 0.210, 0.0595),
    "small-mae": About("its baseline: coordinates, masked at random", 0.210, 0.0595),
}
"""What each preset is for, and what it costs. The accuracies are those of papers and published
checkpoints, not of runs with this library."""


def post_distillation(config: Config) -> Config:
    """The second phase of PCM3++, after a run of PCM3 or PCM3++ with these settings.

    The distillation terms alone, a third as many epochs at a tenth of the rate, and the key
    encoder as the result. The survey gives neither rate nor epochs; its file names say 150, after
    451.

    Raises:
        ValueError: If the run is of another method.
    """
    if not isinstance(config.model, PCM3Config):
        raise ValueError(f"expected a run of PCM3 or PCM3++ to distil, got one of {config.method}")
    model = replace(config.model, info_nce_weight=0.0, mask_weight=0.0, result="key")
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
        ValueError: If there is none of that name; the message lists those there are.
    """
    if name not in PRESETS:
        near = get_close_matches(str(name), PRESETS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"expected a preset among {', '.join(PRESETS)}, got {name!r}{hint}")
    return PRESETS[name]
