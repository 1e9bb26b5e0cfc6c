"""Answers about recordings: kept classifiers, their predictions, and similar recordings."""

from typing import TYPE_CHECKING

from pcm3._names import names_of

if not TYPE_CHECKING:
    __getattr__ = names_of(__name__)
