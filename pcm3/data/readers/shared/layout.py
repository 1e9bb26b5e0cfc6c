"""The joint layout that a user gives for recordings: a built-in one or a ``skeleton.json``."""

from __future__ import annotations

import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypedDict

from pcm3.errors import SkeletonFormatError
from pcm3.io.files import regular
from pcm3.io.json import read_json
from pcm3.io.reading import fail
from pcm3.skeleton import SKELETONS, Skeleton, find_skeleton


class _Description(TypedDict, total=False):
    joints: list[str]
    parents: list[int]
    name: str
    parts: dict[str, list[int | str]]
    mirror: list[int | str]
    center: int | str


def choose_layout(
    given: str | Path | Skeleton,
    joints: Sequence[str] | None = None,
    parents: Sequence[int] | None = None,
) -> Skeleton:
    """Find the layout that a user gives, in the order of the joints of the recordings.

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
    description = read_json(file, _Description)
    try:
        return _complete(description, joints, parents)
    except ValueError as error:
        fail(file, str(error))


def _complete(
    description: dict[str, Any], joints: Sequence[str] | None, parents: Sequence[int] | None
) -> Skeleton:
    keys = _Description.__annotations__
    if unknown := description.keys() - keys:
        raise ValueError(f"expected keys among {', '.join(keys)}, got {reprlib.repr(min(unknown))}")
    names = description.get("joints", joints)
    if names is None:
        raise ValueError("expected an object with joints and parents")
    tree = description.get("parents")
    if tree is None and joints is not None and parents is not None:
        everything = tuple(range(len(joints)))
        data = Skeleton(
            "the data's", tuple(joints), tuple(parents), {"": everything}, everything, 0
        )
        tree = data.reordered(names).parents
    given = {key: description[key] for key in description.keys() - {"joints", "parents"}}
    if not given or tree is None:
        known = find_skeleton(names, tree)
        if not given:
            return known
        tree = known.parents
    return Skeleton.from_parents(names, tree, **given)
