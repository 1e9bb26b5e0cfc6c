"""The joint layout of recordings that a user gives: a built-in skeleton or a ``skeleton.json``."""

from __future__ import annotations

import json
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pcm3.errors import SkeletonFormatError
from pcm3.io.files import regular
from pcm3.io.reading import MOST_BYTES, fail
from pcm3.skeleton import SKELETONS, Skeleton, find_skeleton

_JOINTS = ("parts", "mirror", "center")
"""Keys of a description whose values name joints."""


def choose_layout(
    given: str | Path | Skeleton,
    joints: Sequence[str] | None = None,
    parents: Sequence[int] | None = None,
) -> Skeleton:
    """The layout that a user gives, in the order of the joints of the recordings.

    Args:
        given: A skeleton, the name of a built-in one, or a ``skeleton.json``: an object with
            ``joints``, ``parents`` and any of ``name``, ``parts``, ``mirror`` and ``center``, in
            which a joint is an index or a name. Missing keys are derived. If the recordings name
            their joints, ``joints`` and ``parents`` may be missing too.
        joints: Names of the joints in the recordings, if they have names. The layout must have
            the same joints, in any order.
        parents: The tree of the recordings, if they have one.

    Raises:
        SkeletonFormatError: If there is no such skeleton, or the file does not describe one.
        ValueError: If the layout has other joints.
    """
    if isinstance(given, Skeleton):
        skeleton = given
    elif str(given) in SKELETONS:
        skeleton = SKELETONS[str(given)]
    else:
        skeleton = _read_layout(Path(given), joints, parents)
    return skeleton if joints is None else skeleton.reordered(joints)


def _read_layout(
    file: Path, joints: Sequence[str] | None, parents: Sequence[int] | None
) -> Skeleton:
    if not regular(file).is_file():
        expected = f"expected a skeleton among {', '.join(SKELETONS)}, or a skeleton.json"
        raise SkeletonFormatError(f"{expected}, got {str(file)!r}")
    try:
        description = json.loads(regular(file, MOST_BYTES).read_text(encoding="utf-8"))
        if not isinstance(description, dict):
            raise ValueError("expected an object with joints and parents")
        return _complete(description, joints, parents)
    except SkeletonFormatError:
        raise
    except (ValueError, TypeError, AttributeError, OSError, RecursionError) as error:
        fail(file, str(error))


def _complete(
    description: dict[str, Any], joints: Sequence[str] | None, parents: Sequence[int] | None
) -> Skeleton:
    _check(description)
    names = description.get("joints", joints)
    if names is None:
        raise ValueError("expected an object with joints and parents")
    tree = description.get("parents")
    if tree is None and joints is not None and parents is not None:
        everything = tuple(range(len(joints)))
        own = Skeleton("the data's", tuple(joints), tuple(parents), {"": everything}, everything, 0)
        tree = own.reordered(names).parents
    given = {key: description[key] for key in ("name", *_JOINTS) if key in description}
    if not given or tree is None:
        known = find_skeleton(names, tree)
        if not given:
            return known
        tree = known.parents
    return Skeleton.from_parents(names, tree, **given)


def _check(description: dict[str, Any]) -> None:
    """Require known keys with values of the right kind."""
    for key, value in description.items():
        if key == "name":
            good, kind = isinstance(value, str), "a word"
        elif key == "joints":
            good, kind = _are(value, str), "a list of names"
        elif key == "parents":
            good, kind = _are(value, int), "a list of indices"
        elif key == "parts":
            good = isinstance(value, dict) and all(_are(own, int, str) for own in value.values())
            kind = "lists of joints, indices or names, by part"
        elif key == "mirror":
            good, kind = _are(value, int, str), "a list of joints, indices or names"
        elif key == "center":
            good, kind = _are([value], int, str), "a joint, its index or its name"
        else:
            expected = f"expected keys among name, joints, parents, {', '.join(_JOINTS)}"
            raise ValueError(f"{expected}, got {reprlib.repr(key)}")
        if not good:
            raise ValueError(f"expected {key} to be {kind}, got {reprlib.repr(value)}")


def _are(values: Any, *kinds: type) -> bool:
    return isinstance(values, list) and all(type(value) in kinds for value in values)
