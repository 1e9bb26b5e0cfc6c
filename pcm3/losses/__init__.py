"""Losses, each as a function and as a module.

Arithmetic is float32 for inputs of any precision, and within autocast regions.
"""

from typing import TYPE_CHECKING

from pcm3._names import names_of
from pcm3.losses.contrast import (
    InfoNCE,
    MaskedMSE,
    RelationalKL,
    info_nce,
    masked_mse,
    nt_xent,
    relational_kl,
    similarities,
    topk_relational_kl,
)
from pcm3.losses.decorrelation import BarlowTwins, VICReg, barlow_twins, vicreg
from pcm3.losses.distribution import (
    distribution_ce,
    key_and_queue_logits,
    multi_positive_info_nce,
)

__all__ = [
    "BarlowTwins",
    "InfoNCE",
    "MaskedMSE",
    "RelationalKL",
    "VICReg",
    "barlow_twins",
    "distribution_ce",
    "info_nce",
    "key_and_queue_logits",
    "masked_mse",
    "multi_positive_info_nce",
    "nt_xent",
    "relational_kl",
    "similarities",
    "topk_relational_kl",
    "vicreg",
]

if not TYPE_CHECKING:
    __getattr__ = names_of(__name__)
