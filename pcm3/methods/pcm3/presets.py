"""Presets of PCM3, PCM3++ and SkeletonCLR: the papers' recipes, and small ones for a laptop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from pcm3.data.dataset import LONGEST
from pcm3.methods.base import Preset
from pcm3.methods.pcm3.settings import PCM3_POSITIVES, PCM3Settings
from pcm3.methods.recordings import FULL_SIZE, LAPTOP
from pcm3.methods.settings import TrainSettings
from pcm3.skeleton import Stream

_PUBLISHED = {
    "ntu60-xsub": "83.9 %, three streams 87.4 %",
    "ntu60-xview": "90.4 %, three streams 93.1 %",
    "ntu120-xsub": "76.5 %, three streams 80.0 %",
    "ntu120-xset": "77.5 %, three streams 81.2 %",
    "pku2-xsub": "51.5 %, three streams 58.2 %",
    "ntu60-xsub-pp": "84.1 %, post-distilled 84.8 %",
    "ntu60-xview-pp": "90.8 %, post-distilled 91.0 %",
    "ntu120-xsub-pp": "76.7 %",
}
"""Accuracy of PCM3 in Table 1 of its paper, and of PCM3++ in Tables 2 and 4 of the survey."""


def plus_plus(model: PCM3Settings) -> PCM3Settings:
    """PCM3++: with the clip view, without task prompts, and with domain prompts that can learn."""
    return replace(
        model,
        positives=(*PCM3_POSITIVES, "clip"),
        task_prompts=False,
        prompt_position="post_norm",
    )


def _of_stream(model: PCM3Settings, stream: Stream) -> PCM3Settings:
    """Bone or motion as in the published code: no prompts, no distillation, no guidance."""
    return replace(
        model,
        stream=stream,
        domain_prompts=False,
        task_prompts=False,
        kl_weight=0.0,
        semantic_guidance=False,
    )


def contrast_alone(model: PCM3Settings) -> PCM3Settings:
    """Momentum contrast of two views: no other pairs, prediction, distillation or prompts."""
    return replace(
        model,
        positives=("intra",),
        mask_weight=0.0,
        kl_weight=0.0,
        domain_prompts=False,
        task_prompts=False,
    )


_PCM3, _PLUS = PCM3Settings(), plus_plus(PCM3Settings())
_FULL_SIZE = {
    "": (_PCM3, "PCM3", 15.0),
    "-bone": (_of_stream(_PCM3, "bone"), "PCM3, bones", 14.7),
    "-motion": (_of_stream(_PCM3, "motion"), "PCM3, motion", 14.7),
    "-pp": (_PLUS, "PCM3++", 17.9),
    "-pp-bone": (_of_stream(_PLUS, "bone"), "PCM3++, bones", 17.6),
    "-pp-motion": (_of_stream(_PLUS, "motion"), "PCM3++, motion", 17.6),
}
"""Settings, description and operations of the presets, by the end of their names.

PCM3++'s settings for bones and motion are not published; here they are PCM3's for the stream, with
the clip view.
"""

_SMALL = PCM3Settings(
    frames=32,
    hidden=64,
    pool="mean",
    decoder_hidden=64,
    queue_size=2048,
    momentum=0.99,
    prompt_position="post_norm",
    crop_scale=(0.5, 1.0),
    crop_min_frames=32,
    shear=0.5,
    jitter=0.5,
    mask_clip_length=4,
    mask_weight=10.0,
)
"""Chosen on held-out training subjects of UTD-MHAD: half the frames, weaker distortions and prompts
that can learn, for 1,200 steps. ``small-pp`` uses the same settings."""

SMALL_TRAIN = TrainSettings(
    epochs=200, batch_size=64, optimizer="adamw", lr=2e-3, drop_epoch=160, knn_every=10
)


SKELETONCLR = contrast_alone(
    PCM3Settings(
        encoder="stgcn",
        hidden=256,
        pool="mean",
        encoder_arguments=("graph=code", "last_channels=256", "dropout=0.5"),
        frames=50,
        queue_size=32768,
        reflect=1 / 6,
        shear=0.5,
        jitter=None,
    )
)
"""SkeletonCLR, the single-stream baseline of CrosSCLR (Li et al., CVPR 2021, Sec. 3.2)."""

SKELETONCLR_TRAIN = TrainSettings(epochs=300, lr=0.1, drop_epoch=250)


def _presets() -> Iterator[tuple[str, Preset]]:
    for place, data in FULL_SIZE.items():
        _, protocol = place.split("-")
        for end, (model, text, forward) in _FULL_SIZE.items():
            yield (
                place + end,
                Preset(
                    model,
                    TrainSettings(),
                    protocol,
                    data,
                    text,
                    parameters=103.46,
                    forward=forward,
                    published=_PUBLISHED.get(place + end, ""),
                    normalization="isc",
                    max_frames=LONGEST,
                ),
            )
    for place, published in (("ntu60-xsub", "68.3 %"), ("ntu60-xview", "76.4 %")):
        yield (
            f"{place}-skeletonclr",
            Preset(
                SKELETONCLR,
                SKELETONCLR_TRAIN,
                place.split("-")[1],
                FULL_SIZE[place],
                "SkeletonCLR",
                parameters=1.84,
                forward=1.229,
                published=published,
                max_frames=LONGEST,
            ),
        )
    yield "small", Preset(_SMALL, SMALL_TRAIN, "xsub", LAPTOP, "PCM3", 0.603, 0.0435)
    small_plus = plus_plus(_SMALL)
    contrast = contrast_alone(_SMALL)
    yield (
        "small-skeletonclr",
        Preset(contrast, SMALL_TRAIN.scaled_to(600), "xsub", LAPTOP, "SkeletonCLR", 0.531, 0.015),
    )
    yield "small-pp", Preset(small_plus, SMALL_TRAIN, "xsub", LAPTOP, "PCM3++", 0.603, 0.0515)


PRESETS = dict(_presets())
