"""Unscripted motion: bodies that move as people can, without a list of actions."""

from pcm3.data.synthetic.motion.motion import SyntheticMotion

__all__ = ["SyntheticMotion"]
