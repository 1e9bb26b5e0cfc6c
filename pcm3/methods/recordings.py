"""The recordings that the presets train on."""

from __future__ import annotations

FULL_SIZE = {
    "ntu60-xsub": "NTU RGB+D 60 by subject",
    "ntu60-xview": "NTU RGB+D 60 by view",
    "ntu120-xsub": "NTU RGB+D 120 by subject",
    "ntu120-xset": "NTU RGB+D 120 by set-up",
    "pku1-xsub": "PKU-MMD I by subject",
    "pku2-xsub": "PKU-MMD II by subject",
}
"""Data set and protocol, as at the start of a preset's name, and the recordings they stand for."""

LAPTOP = "some hundred recordings, on a laptop"

DATA = dict.fromkeys((*FULL_SIZE.values(), LAPTOP), "") | {
    "PKU-MMD I by subject": "PCM3's schedule for PKU-MMD is not published; this is the one for NTU "
    "RGB+D. MAMP's published figures are for epoch 300 of 400, whose encoder is kept.",
    "PKU-MMD II by subject": "As for PKU-MMD I. CMD trains for 1,001 epochs and drops its rate at "
    "801: --train.epochs 1001 --train.drop-epoch 801.",
}
"""All recordings, and a note on all presets for them."""
