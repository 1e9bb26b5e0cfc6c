"""The joint layout of recordings: of their files, or given beside them."""

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
"""Keys of a description that name joints."""


def choose_layout(
    given: str | Path | Skeleton,
    joints: Sequence[str] | None = None,
    parents: Sequence[int] | None = None,
) -> Skeleton:
    """The layout that was given, fitted to the joints of the recordings.

    Args:
        given: A skeleton, the name of a built-in one, or a ``skeleton.json``: an object with
            ``joints``, ``parents`` and any of ``name``, ``parts``, ``mirror`` and ``center``, in
            which a joint is an index or a name. What it does not give is derived. Where the
            recordings name their joints, it may leave out ``joints`` and ``parents`` too.
        joints: Names that the recordings give their joints, if they do. The layout must have the
            same, in any order, and is put into theirs.
        parents: The tree of the recordings, if they have one.

    Raises:
        SkeletonFormatError: If there is no such skeleton, or the file is no description of one.
        ValueError: If it has other joints.
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
        found = find_skeleton(names, tree)
        if not given:
            return found
        tree = found.parents
    return Skeleton.from_parents(names, tree, **given)


def _check(description: dict[str, Any]) -> None:
    """Require known keys and values of the right kind."""
    for key, value in description.items():
        if key == "name":
            good, wanted = isinstance(value, str), "a word"
        elif key == "joints":
            good, wanted = _are(value, str), "a list of names"
        elif key == "parents":
            good, wanted = _are(value, int), "a list of indices"
        elif key == "parts":
            good = isinstance(value, dict) and all(_are(own, int, str) for own in value.values())
            wanted = "lists of joints, indices or names, by part"
        elif key == "mirror":
            good, wanted = _are(value, int, str), "a list of joints, indices or names"
        elif key == "center":
            good, wanted = _are([value], int, str), "a joint, its index or its name"
        else:
            expected = f"expected keys among name, joints, parents, {', '.join(_JOINTS)}"
            raise ValueError(f"{expected}, got {reprlib.repr(key)}")
        if not good:
            raise ValueError(f"expected {key} to be {wanted}, got {reprlib.repr(value)}")


def _are(values: Any, *kinds: type) -> bool:
    return isinstance(values, list) and all(type(value) in kinds for value in values)
