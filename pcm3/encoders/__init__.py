"""Encoders: clips ``(N, C, T, V, M)`` to frame features ``(N, T', D)``."""

from typing import TYPE_CHECKING

from pcm3._names import names_of
from pcm3.encoders.base import Encoder, EncoderAdapter
from pcm3.encoders.gru import GRUEncoder
from pcm3.encoders.stgcn import STGCNEncoder
from pcm3.encoders.streaming import StreamingEncoder
from pcm3.encoders.transformer import TransformerEncoder

ENCODERS: dict[str, type[Encoder]] = {
    "gru": GRUEncoder,
    "stgcn": STGCNEncoder,
    "transformer": TransformerEncoder,
}
"""Built-in encoders by their name in settings."""

__all__ = [
    "ENCODERS",
    "Encoder",
    "EncoderAdapter",
    "GRUEncoder",
    "STGCNEncoder",
    "StreamingEncoder",
    "TransformerEncoder",
]

if not TYPE_CHECKING:
    __getattr__ = names_of(__name__)
