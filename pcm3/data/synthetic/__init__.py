"""Synthetic recordings: puppets that act."""

from pcm3.data.synthetic.synthetic import generate, synthetic_sequences

__all__ = ["generate", "synthetic_sequences"]
