"""Class names of a table that are probably one class, or none: misspelled names and marks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

_LETTERS = 5  # of the shortest name, and
_WORD = 3  # of the longer of two words, that are compared
_RARE = 0.5  # share of the commoner class
_SEPARATORS = re.compile(r"(?<!\d)[\s_-]+|[\s_-]+(?!\d)")  # but between two numbers
_WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[^\W\d_A-Z]+")


def count_labels(names: Sequence[str], labels: Iterable[int]) -> dict[str, int]:
    """Count the labels of each class by its name."""
    counts = Counter(labels)
    return {name: counts[label] for label, name in enumerate(names)}


def note_on_names(table: str, counts: Mapping[str, int]) -> list[str]:
    """Note classes that are probably another one, or a mark for none.

    Two names that differ in capitals, spaces, hyphens and underscores alone are probably one. So
    are those of which one has a letter more, another letter, or two letters swapped, if it has at
    most half as many labels as the other. Names of fewer than five letters, words of fewer than
    three, digits, and l and r at the end of a word, which may be sides, are not compared. A name
    without a letter or a digit is probably a mark for an unknown class.

    Args:
        table: Name of the table.
        counts: The names of the classes, and the number of labels of each.

    Example:
        >>> note_on_names("labels.csv", {"phone_call": 5, "phone_cal": 2})
        ["labels.csv: 'phone_cal' (2) is almost 'phone_call' (5): two classes"]
    """
    notes, first = [], dict[str, str]()
    for name in counts:
        known = first.setdefault(_SEPARATORS.sub("", name.casefold()) or name, name)
        if known != name:
            notes.append(f"{table}: {known!r} and {name!r} are two classes")
    names = sorted(first.values(), key=lambda name: -counts[name])
    near: dict[str, list[str]] = {}
    for name in names:  # the commoner names are already there
        keys = dict.fromkeys(_keys(name))
        others = [other for key in keys for other in near.get(key, ())]
        for other in dict.fromkeys(others):
            if counts[name] <= _RARE * counts[other] and is_almost(name, other):
                both = f"{name!r} ({counts[name]:,}) is almost {other!r} ({counts[other]:,})"
                notes.append(f"{table}: {both}: two classes")
                break
        for key in keys:
            near.setdefault(key, []).append(name)
    notes += [
        f"{table}: {name!r} ({count:,}) is a class; leave the cell empty if it means unknown"
        for name, count in counts.items()
        if not any(letter.isalnum() for letter in name)
    ]
    return notes


def _keys(name: str) -> list[str]:
    """The name, and it without each of its letters; names that differ by one letter share one."""
    low = name.casefold()
    return [low, *(low[:at] + low[at + 1 :] for at in range(len(low)))]


def is_almost(one: str, other: str) -> bool:
    """Whether one of two class names may be the other one, with a letter mistyped.

    Example:
        >>> is_almost("hand_wave", "hadn_wave"), is_almost("draw_x", "draw_o")
        (True, False)
    """
    ours, theirs = ([word.casefold() for word in _WORDS.findall(name)] for name in (one, other))
    marks = [_WORDS.sub("*", name) for name in (one, other)]  # digits and what separates words
    if marks[0] != marks[1] or min(sum(map(len, ours)), sum(map(len, theirs))) < _LETTERS:
        return False
    differing = [pair for pair in zip(ours, theirs, strict=True) if pair[0] != pair[1]]
    return len(differing) == 1 and _is_mistyped(*differing[0])


def _is_mistyped(one: str, other: str) -> bool:
    if max(len(one), len(other)) < _WORD:
        return False
    start = _shared(one, other)
    end = min(_shared(one[::-1], other[::-1]), min(len(one), len(other)) - start)
    a, b = one[start : len(one) - end], other[start : len(other) - end]
    at_an_end = start == 0 or end == 0
    if {a, b} == {"l", "r"} and at_an_end:
        return False
    swapped = len(a) == len(b) == 2 and a == b[::-1]
    return max(len(a), len(b)) == 1 or swapped


def _shared(one: Sequence[str], other: Sequence[str]) -> int:
    """Number of letters that two words begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))
