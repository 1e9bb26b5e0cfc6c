"""Named settings: the papers' recipes, and a small one for a laptop."""

from __future__ import annotations

from pcm3.training.config import Config, ModelConfig, TrainConfig

PRESETS: dict[str, Config] = {
    "ntu60-xsub": Config(protocol="xsub"),
    "ntu60-xview": Config(protocol="xview"),
    "small": Config(
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
    ),
}
"""Preset name to settings.

``ntu60-*`` are the paper's, at full size. ``small`` was chosen on held-out training subjects of
UTD-MHAD: half the frames, weaker distortions and prompts that can learn, for 1,200 steps.
"""


def get_preset(name: str) -> Config:
    """Return a preset by name.

    Raises:
        ValueError: If there is none of that name; the message lists those there are.
    """
    if name not in PRESETS:
        raise ValueError(f"expected a preset among {', '.join(PRESETS)}, got {name!r}")
    return PRESETS[name]
