"""Save and load encoders, and load published checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from torch import nn

from pcm3._names import names_of
from pcm3.encoders import Encoder, GRUEncoder, TransformerEncoder
from pcm3.encoders.files import (
    Pretrained,
    encoder_file,
    fingerprint,
    load_encoder,
    load_pretrained,
    save_encoder,
)
from pcm3.methods.mamp import MAMP
from pcm3.methods.official import (
    Checkpoint,
    count_layers,
    depth,
    fill,
    gru_width,
    pcm3_for,
    plan,
    read_weights,
    rename_mamp,
    rename_pcm3,
    transformer_for,
)
from pcm3.skeleton import NTU25, Skeleton

__all__ = [
    "Official",
    "Pretrained",
    "encoder_file",
    "fingerprint",
    "load_encoder",
    "load_official",
    "load_pretrained",
    "save_encoder",
]

if not TYPE_CHECKING:
    __getattr__ = names_of(__name__)


class Official(NamedTuple):
    """A published checkpoint.

    Attributes:
        encoder: The encoder in evaluation mode.
        model: The whole method; None if the checkpoint holds only the encoder.
        unused: Names of weights in the checkpoint that were not loaded.
    """

    encoder: Encoder
    model: nn.Module | None
    unused: tuple[str, ...]


def load_official(
    source: str | Path | Mapping[str, Any],
    method: Literal["pcm3", "mamp"] = "pcm3",
    *,
    skeleton: Skeleton = NTU25,
    persons: int = 2,
    in_channels: int = 3,
    hidden: int | None = None,
    heads: int = 8,
) -> Official:
    """Load a checkpoint of the authors' code, of the whole model or of the encoder alone.

    Wrappers such as ``module.`` and ``state_dict`` are removed. No code in the file is executed.

    Args:
        source: The file, or the state dict itself.
        method: Method of the checkpoint.
        skeleton: Joint layout of the training data.
        persons: Number of persons M in the training data.
        in_channels: Number of coordinates C of the training data.
        hidden: For PCM3, required width of one GRU; by default that of the checkpoint.
        heads: For MAMP, number of attention heads, which cannot be read from the weights.

    Raises:
        ValueError: If the method is unknown.
        SkeletonFormatError: If the file is not a checkpoint, or a weight is missing, has another
            shape or is not finite.

    Example:
        >>> encoder = load_official("xsub_joint.pth.tar").encoder            # doctest: +SKIP
    """
    if method not in ("pcm3", "mamp"):
        raise ValueError(f"expected method 'pcm3' or 'mamp', got {method!r}")
    weights, name = read_weights(source)
    if method == "mamp":
        loaded = _load_mamp(rename_mamp(weights, name), skeleton, in_channels, persons, heads)
    else:
        loaded = _load_pcm3(rename_pcm3(weights, name), skeleton, in_channels, persons, hidden)
    loaded.encoder.origin = name
    return loaded


def _load_pcm3(
    checkpoint: Checkpoint, skeleton: Skeleton, in_channels: int, persons: int, hidden: int | None
) -> Official:
    hidden = hidden or gru_width(checkpoint)
    names = checkpoint.weights
    layers = count_layers(names, "encoder.layers.")

    def make(_: Checkpoint) -> GRUEncoder:
        return GRUEncoder(skeleton, in_channels, persons, hidden=hidden, layers=layers)

    plan(make, checkpoint, prefix="encoder.")
    encoder = make(checkpoint)
    if "queue.anchors" not in names:
        unused = fill(encoder, checkpoint, prefix="encoder.")
        return Official(encoder.eval(), None, unused)
    plan(lambda draft: pcm3_for(make(draft), skeleton, draft), checkpoint)
    model = pcm3_for(encoder, skeleton, checkpoint)
    unused = fill(model, checkpoint)
    return Official(model.encoder.eval(), model, unused)


def _load_mamp(
    checkpoint: Checkpoint, skeleton: Skeleton, in_channels: int, persons: int, heads: int
) -> Official:
    def make(checkpoint: Checkpoint) -> TransformerEncoder:
        return transformer_for(checkpoint, skeleton, in_channels, persons, heads)

    plan(make, checkpoint, prefix="encoder.")
    encoder = make(checkpoint)
    blocks = depth(checkpoint.weights, "decoder")
    if blocks == 0:
        unused = fill(encoder, checkpoint, prefix="encoder.")
        return Official(encoder.eval(), None, unused)
    plan(lambda draft: MAMP(make(draft), skeleton, decoder_depth=blocks), checkpoint)
    model = MAMP(encoder, skeleton, decoder_depth=blocks)
    unused = fill(model, checkpoint)
    return Official(model.encoder.eval(), model, unused)
