"""Units of coordinates: the words for them, and the metres in each unit of length."""

from __future__ import annotations

_METRES = {
    "metres": 1.0,
    "centimetres": 0.01,
    "millimetres": 0.001,
    "inches": 0.0254,
    "feet": 0.3048,
}
_RELATIVE = ("pixels", "body lengths", "image heights", "image widths")
_SHORT = {
    **{"metres": "m meters metre meter", "centimetres": "cm centimeters centimetre centimeter"},
    **{"millimetres": "mm millimeters millimetre millimeter", "inches": "in inch"},
    **{"feet": "ft foot", "pixels": "px pixel", "image heights": "heights"},
    **{"image widths": "widths"},
}
_WORDS = {word: unit for unit, words in _SHORT.items() for word in words.split()}
UNITS = (*_METRES, *_RELATIVE)
"""Units that coordinates can have, by their full names."""


def read_unit(word: str) -> str:
    """Read the name of a unit, in any case, or its symbol.

    Returns:
        The full name, one of ``UNITS``.

    Raises:
        ValueError: If it is no unit.

    Example:
        >>> read_unit("mm")
        'millimetres'
    """
    unit = full_name(word)
    if unit not in UNITS:
        symbols = "m, cm, mm, in, ft or px"
        raise ValueError(
            f"expected a unit among {', '.join(UNITS)}, or {symbols} for short, got {word!r}"
        )
    return unit


def full_name(unit: str) -> str:
    """Return the full name of a unit; unknown words, which old stores may have, stay as they are.

    Two words that have the same full name are the same unit.
    """
    word = " ".join(unit.lower().replace("_", " ").split())
    return word if word in UNITS else _WORDS.get(word, unit)


def metres_in(unit: str) -> float | None:
    """Return the metres in a unit of length; None for other units and unknown words."""
    return _METRES.get(full_name(unit))


def three_digits(size: float) -> str:
    """Format a size with three significant digits, and without an exponent.

    Example:
        >>> three_digits(1474.2), three_digits(0.12345)
        ('1470', '0.123')
    """
    return f"{float(f'{size:.3g}'):.10g}"
