"""Columns of a store, which hold integers, or words as positions in an alphabetical list."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcm3.io.reading import shown

_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_LONGEST = 200
_END = 2**63


def read_value(value: Any) -> int | str:
    """Read a cell of a column as an integer or a word.

    Text that is a decimal number counts as that number, in any notation: ``"1.0"`` and ``1.0``
    are the integer 1. Any other text is a word without surrounding blanks, including ``"1_1"``
    and digits other than 0 to 9. Empty text is -1, which stands for a missing value.

    Raises:
        ValueError: If the value is a fraction, does not fit into 64 bits, or is neither a number
            nor text.
    """
    if isinstance(value, bytes):
        try:
            value = value.decode("utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"expected words in UTF-8, got {shown(value)}") from None
    if isinstance(value, str):
        return _read_text(value.strip())
    if isinstance(value, (int, np.integer, np.bool_)):
        return _in_range(int(value), value)
    if isinstance(value, (float, np.floating)) and math.isfinite(value) and value == int(value):
        return _in_range(int(value), value)
    raise ValueError(f"expected an integer or a word, got {shown(value)}")


def _read_text(text: str) -> int | str:
    if not text:
        return -1
    if _NUMBER.fullmatch(text) is None:
        if len(text) > _LONGEST:
            what = f"expected words of at most {_LONGEST} letters, got {len(text)}"
            raise ValueError(f"{what}: {shown(text)}")
        return text
    try:
        number = Decimal(text)
    except InvalidOperation:  # an exponent of very many digits
        raise ValueError(f"expected an integer, got {shown(text)}") from None
    if not -_END <= number < _END or number != number.to_integral_value():
        raise ValueError(f"expected an integer of 64 bits, got {shown(text)}")
    return int(number)


def _in_range(number: int, value: Any) -> int:
    if not -_END <= number < _END:
        raise ValueError(f"expected an integer of 64 bits, got {shown(value)}")
    return number


def find_mixture(values: Iterable[int | str]) -> tuple[int, int] | None:
    """Find the first number and the first word of a column that mixes them; None if it does not.

    -1 counts as neither.
    """
    first: dict[bool, int] = {}
    for at, value in enumerate(values):
        if value != -1:
            first.setdefault(isinstance(value, str), at)
            if len(first) == 2:
                return first[False], first[True]
    return None


def code_words(values: Iterable[int | str]) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Code the values of a column: integers stay, words become positions among the sorted words.

    -1 stays -1 in either case.
    """
    values = list(values)
    words = tuple(sorted({value for value in values if isinstance(value, str)}))
    code = {word: place for place, word in enumerate(words)}
    numbers = [code[value] if isinstance(value, str) else value for value in values]
    return np.array(numbers, dtype=np.int64), words
