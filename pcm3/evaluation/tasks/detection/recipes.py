"""Recipes of action detection by name."""

from __future__ import annotations

from typing import Literal, NamedTuple

from pcm3.schedules import schedule

Windows = Literal["consecutive", "strided"]
Borders = Literal["repeat", "inside"]
Rule = Literal["sliding_window", "activity"]


class DetectionRecipe(NamedTuple):
    """A recipe of detection; see ``DetectionSettings`` for what its fields mean.

    Attributes:
        start_epoch: The first epoch of the training; those before it are skipped.
    """

    windows: Windows
    borders: Borders
    finetune: bool
    adapt_norm: bool
    normalize: bool
    epochs: int
    start_epoch: int
    lr: float
    drops: tuple[int, ...]
    batch_size: int
    rule: Rule
    smoothing: int

    def factor(self, epoch: float) -> float:
        """Return the factor of the learning rate at a fractional epoch, counted from 0."""
        return schedule(epoch, self.epochs, drops=self.drops)


_DEFAULT = DetectionRecipe(
    windows="consecutive",
    borders="repeat",
    finetune=False,
    adapt_norm=False,
    normalize=True,
    epochs=60,
    start_epoch=0,
    lr=0.1,
    drops=(40,),
    batch_size=64,
    rule="sliding_window",
    smoothing=0,
)
_PCM3 = _DEFAULT._replace(
    borders="inside", finetune=True, normalize=False, epochs=20, lr=0.01, drops=(50, 70)
)
_SURVEY = _DEFAULT._replace(
    windows="strided",
    borders="inside",
    adapt_norm=True,
    normalize=False,
    lr=0.01,
    rule="activity",
    smoothing=20,
)

RECIPES = {
    "default": _DEFAULT,
    "pcm3": _PCM3,
    "survey": _SURVEY,
    "survey-finetune": _SURVEY._replace(finetune=True, adapt_norm=False, drops=(50,)),
    "survey-sliding-window": _PCM3._replace(epochs=60, start_epoch=25, drops=(30, 70)),
}
"""This library's recipe for small data, and the published ones for full-size encoders on PKU-MMD.

``pcm3`` follows the code of 2023, whose rate would fall at epochs 50 and 70 and so never does. The
others follow the code of the survey of PCM3++: linear, fine-tuned, and with the windows and the
rule of 2023.
"""
