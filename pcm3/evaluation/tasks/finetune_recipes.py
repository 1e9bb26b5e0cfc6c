"""Recipes of fine-tuning, those of CMD and of MAMP, and the settings that change them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, NamedTuple

from pcm3.checks import check_positive, check_seed
from pcm3.encoders import Encoder
from pcm3.schedules import schedule


@dataclass(frozen=True)
class RecipeSettings:
    """Settings of every kind of fine-tuning; None takes the value of the recipe, see ``RECIPES``.

    cmd: SGD whose rate falls tenfold after 5/8 and 7/8 of the epochs, and a linear head on the
    sequence feature. mamp: AdamW with a warm-up, a cosine to a thirtieth of the rate and lower
    rates for lower layers, and a head with a hidden layer on the mean token of every joint.
    """

    recipe: Literal["auto", "cmd", "mamp"] = "auto"
    """cmd is that of CMD and PCM3, mamp that of MAMP; auto is mamp for encoders with tokens."""
    epochs: int | None = None
    """Passes over the labelled sequences."""
    batch_size: int | None = None
    """Largest number of sequences in a batch."""
    lr: float | None = None
    """Learning rate of the head; for cmd 0.01 as published, 0.1 for features narrower than 512."""
    weight_decay: float | None = None
    """Weight decay of all parameters but vectors."""
    warmup_epochs: float | None = None
    """Epochs over which the rate rises linearly from 0; for mamp a twentieth of all epochs."""
    label_smoothing: float | None = None
    """Share of the target spread over all classes, in [0, 1)."""
    rotation: float | None = None
    """Largest random rotation about each axis, in degrees."""
    layer_decay: float | None = None
    """Factor of the rate from a layer to the one below, in (0, 1]; needs an encoder with layers."""
    drop_path: float | None = None
    """Probability of dropping a branch of the last block; needs an encoder with drop-path."""
    scratch: bool = False
    """Start from random weights: the supervised baseline."""
    balanced: bool = False
    """Draw the same share of every class, at least one sequence."""
    seed: int = 0
    """Seed of labelled sequences, weights, data order and augmentation."""

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "lr", "layer_decay"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        for name in ("weight_decay", "warmup_epochs", "rotation", "label_smoothing", "drop_path"):
            if not (getattr(self, name) or 0) >= 0:
                raise ValueError(f"expected {name} >= 0, got {getattr(self, name)}")
        for name in ("label_smoothing", "drop_path"):
            if not (getattr(self, name) or 0) < 1:
                raise ValueError(f"expected {name} < 1, got {getattr(self, name)}")
        if not (self.layer_decay or 1) <= 1:
            raise ValueError(f"expected layer_decay <= 1, got {self.layer_decay}")
        check_seed(self.seed)

    def resolve(self, encoder: Encoder) -> FinetuneRecipe:
        """Complete the settings by the recipe; the schedule keeps its shape with other epochs.

        Raises:
            ValueError: If the recipe is unknown, or the encoder lacks what it or a setting needs.
        """
        name: str = self.recipe
        if name == "auto":
            name = "mamp" if encoder.has_tokens else "cmd"
        if name not in RECIPES:
            raise ValueError(f"expected a recipe among auto, {', '.join(RECIPES)}, got {name!r}")
        given = {field: getattr(self, field) for field in FinetuneRecipe._fields[1:]}
        given = {field: value for field, value in given.items() if value is not None}
        lacks = {
            "recipe mamp, which needs tokens": name == "mamp" and not encoder.has_tokens,
            "layer_decay": "layer_decay" in given and not encoder.stack(),
            "drop_path": "drop_path" in given and encoder.drop_path is None,
        }
        if any(lacks.values()):
            needed = " and ".join(what for what, lacking in lacks.items() if lacking)
            raise ValueError(
                f"expected an encoder with {needed}, such as a TransformerEncoder, got a "
                f"{type(encoder).__name__}"
            )
        recipe = RECIPES[name]
        if name == "cmd" and encoder.out_features < _NARROW:
            recipe = recipe._replace(lr=0.1)
        if self.scratch or not encoder.stack():
            recipe = recipe._replace(layer_decay=1.0)
        if encoder.drop_path is None:
            recipe = recipe._replace(drop_path=0.0)
        if self.epochs is not None:
            warmup = recipe.warmup_epochs * self.epochs / recipe.epochs
            recipe = recipe._replace(warmup_epochs=warmup)
        return recipe._replace(**given)


class FinetuneRecipe(NamedTuple):
    """A recipe of fine-tuning; see ``RecipeSettings`` for what its fields mean."""

    recipe: Literal["cmd", "mamp"]
    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    warmup_epochs: float
    label_smoothing: float
    rotation: float
    layer_decay: float
    drop_path: float

    def factor(self, epoch: float) -> float:
        """Return the factor of the learning rate at a fractional epoch, counted from 0."""
        drops = (self.epochs * 5 / 8, self.epochs * 7 / 8) if self.recipe == "cmd" else None
        return schedule(epoch, self.epochs, low=1 / 30, warmup=self.warmup_epochs, drops=drops)


RECIPES = {
    "cmd": FinetuneRecipe("cmd", 80, 64, 0.01, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0),
    "mamp": FinetuneRecipe("mamp", 100, 48, 3e-4, 0.05, 5.0, 0.1, math.degrees(0.3), 0.8, 0.3),
}
"""The published recipes by name. From random weights, MAMP has no layer-wise decay."""


_NARROW = 512
"""Features narrower than this are not those of the papers' models."""
