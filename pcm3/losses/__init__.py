"""Losses, each as a function and as a module.

Arithmetic is float32 for inputs of any precision, and within autocast regions.
"""

from pcm3.losses.contrast import (
    InfoNCE,
    MaskedMSE,
    RelationalKL,
    info_nce,
    masked_mse,
    nt_xent,
    relational_kl,
    similarities,
)
from pcm3.losses.decorrelation import BarlowTwins, VICReg, barlow_twins, vicreg

__all__ = [
    "BarlowTwins",
    "InfoNCE",
    "MaskedMSE",
    "RelationalKL",
    "VICReg",
    "barlow_twins",
    "info_nce",
    "masked_mse",
    "nt_xent",
    "relational_kl",
    "similarities",
    "vicreg",
]
