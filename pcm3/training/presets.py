"""Named settings: the papers' recipes, and a small one for a laptop."""

from __future__ import annotations

from dataclasses import replace

from pcm3.methods.pcm3 import PCM3_POSITIVES
from pcm3.skeleton import Stream
from pcm3.training.config import Config, ModelConfig, TrainConfig

_SMALL = Config(
    model=ModelConfig(
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
    ),
    train=TrainConfig(
        epochs=200,
        batch_size=64,
        optimizer="adamw",
        lr=2e-3,
        drop_epoch=160,
        knn_every=10,
    ),
)


def _plus_plus(config: Config) -> Config:
    """PCM3++: the clip view, and domain prompts alone, where they can learn."""
    model = replace(
        config.model,
        positives=(*PCM3_POSITIVES, "clip"),
        task_prompts=False,
        prompt_position="post_norm",
    )
    return replace(config, model=model)


def _stream(config: Config, stream: Stream) -> Config:
    """Bone or motion as in the published code: no prompts, no distillation, no guidance."""
    model = replace(
        config.model,
        stream=stream,
        domain_prompts=False,
        task_prompts=False,
        kl_weight=0.0,
        semantic_guidance=False,
    )
    return replace(config, model=model)


_NTU60 = {f"ntu60-{protocol}": Config(protocol=protocol) for protocol in ("xsub", "xview")}

PRESETS: dict[str, Config] = {
    **_NTU60,
    **{f"{name}-bone": _stream(config, "bone") for name, config in _NTU60.items()},
    **{f"{name}-motion": _stream(config, "motion") for name, config in _NTU60.items()},
    **{f"{name}-pp": _plus_plus(config) for name, config in _NTU60.items()},
    "small": _SMALL,
    "small-pp": _plus_plus(_SMALL),
}
"""Preset name to settings.

``ntu60-*`` are the paper's, at full size, ``-bone`` and ``-motion`` those of its other two streams,
``-pp`` PCM3++. ``small`` was chosen on held-out training subjects of UTD-MHAD: half the frames,
weaker distortions and prompts that can learn, for 1,200 steps.
"""


def post_distillation(config: Config) -> Config:
    """The second phase of PCM3++, after a run with these settings.

    The distillation terms alone, a third as many epochs at a tenth of the rate, and the key
    encoder as the result. The survey gives neither rate nor epochs; its file names say 150, after
    451.
    """
    model = replace(config.model, info_nce_weight=0.0, mask_weight=0.0, result="key")
    epochs = max(1, round(config.train.epochs / 3))
    train = replace(config.train, epochs=epochs, lr=config.train.lr / 10, drop_epoch=epochs)
    return replace(config, model=model, train=train)


def get_preset(name: str) -> Config:
    """Return a preset by name.

    Raises:
        ValueError: If there is none of that name; the message lists those there are.
    """
    if name not in PRESETS:
        raise ValueError(f"expected a preset among {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]
