"""Encoders: clips ``(N, C, T, V, M)`` to frame features ``(N, T', D)``."""

from pcm3.encoders.base import Encoder
from pcm3.encoders.gru import GRUEncoder

__all__ = ["Encoder", "GRUEncoder"]
