"""``Skeleton``, a joint layout, and the three input streams derived from it."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, get_args

from pcm3.skeleton.limbs import derive_parts
from pcm3.skeleton.tree import JointTree, Starts, derive_center, derive_mirror, find_starts
from pcm3.skeleton.words import normal_name, read_names

if TYPE_CHECKING:
    from torch import Tensor

Stream = Literal["joint", "bone", "motion"]
_MOST_JOINTS = 1000
MOST_PERSONS = 100
"""The largest number of persons that is accepted from files."""


@dataclass(frozen=True)
class Skeleton:
    """A joint layout: names, tree, body parts, left-right pairs and centre.

    Args:
        name: Name of the layout, such as ``"ntu25"``.
        joints: V unique joint names.
        parents: Parent index of every joint, -1 at the root.
        parts: Body part name to joint indices; every joint belongs to exactly one part.
        mirror: For every joint the index of its left-right counterpart, or its own index on the
            midline. Indexing the joint axis with it swaps the sides.
        center: Index of the joint that recordings are centred on.

    Raises:
        ValueError: If the parents do not form one tree, the parts do not partition the joints, or
            the mirror is not its own inverse.

    Example:
        >>> from pcm3.skeleton import NTU25
        >>> NTU25.joints[NTU25.center]
        'spine_mid'
        >>> [len(indices) for indices in NTU25.parts.values()]
        [5, 6, 6, 4, 4]
        >>> NTU25
        Skeleton('ntu25', 25 joints, 5 parts)
    """

    name: str
    joints: tuple[str, ...]
    parents: tuple[int, ...]
    parts: Mapping[str, tuple[int, ...]] = field(hash=False)
    mirror: tuple[int, ...]
    center: int

    def __post_init__(self) -> None:
        def invalid(what: str) -> ValueError:
            return ValueError(f"skeleton {self.name!r}: {what}")

        count = len(self.joints)
        if count > _MOST_JOINTS:
            raise invalid(f"expected at most {_MOST_JOINTS} joints, got {count}")
        if len(set(self.joints)) != count or count == 0:
            raise invalid(f"expected unique joint names, got {self.joints}")
        if len(self.parents) != count:
            raise invalid(f"expected {count} parents, one per joint, got {len(self.parents)}")
        if sum(parent == -1 for parent in self.parents) != 1:
            raise invalid(f"expected exactly one root (parent -1), got parents {self.parents}")
        if any(not -1 <= parent < count for parent in self.parents):
            raise invalid(f"expected parents in [-1, {count}), got {self.parents}")
        for joint in range(count):
            if len(self._ancestors(joint)) > count:
                raise invalid(f"joint {joint} ({self.joints[joint]}) is its own ancestor")
        times = Counter(joint for part in self.parts.values() for joint in part)
        if wrong := sorted({*range(count), *times} - {j for j in range(count) if times[j] == 1}):
            shown = ", ".join(self.joints[j] if 0 <= j < count else str(j) for j in wrong)
            raise invalid(f"expected every joint in exactly one part, not so {shown}")
        if len(self.mirror) != count or any(
            not 0 <= other < count or self.mirror[other] != joint
            for joint, other in enumerate(self.mirror)
        ):
            raise invalid(f"expected a mirror that is its own inverse, got {self.mirror}")
        if not 0 <= self.center < count:
            raise invalid(f"expected center in [0, {count}), got {self.center}")

    def _ancestors(self, joint: int) -> list[int]:
        """Return the joint and its ancestors up to the root; more than V if there is a cycle."""
        chain = [joint]
        while self.parents[chain[-1]] != -1 and len(chain) <= len(self.joints):
            chain.append(self.parents[chain[-1]])
        return chain

    def __len__(self) -> int:
        """Number of joints V."""
        return len(self.joints)

    def __repr__(self) -> str:
        """One line; ``to_dict`` has everything."""
        return f"{type(self).__name__}({self.name!r}, {len(self)} joints, {len(self.parts)} parts)"

    @cached_property
    def mirror_pairs(self) -> tuple[tuple[int, int], ...]:
        """The left-right pairs, each once, lower index first."""
        return tuple((a, b) for a, b in enumerate(self.mirror) if a < b)

    def reordered(self, joints: Sequence[str]) -> Skeleton:
        """Return the same skeleton with its joints in another order, given by name.

        If the names differ, case and separators are ignored: ``"HipCenter"`` and
        ``"hip_center"`` are the same name.

        Raises:
            ValueError: If ``joints`` does not name the same joints.
        """
        old, new = {name: index for index, name in enumerate(self.joints)}, list(joints)
        if sorted(new) != sorted(old):
            old = {normal_name(name): index for name, index in old.items()}
            new = [normal_name(name) for name in new]
        if sorted(new) != sorted(old):
            missing, unknown = sorted(set(old) - set(new)), sorted(set(new) - set(old))
            raise ValueError(
                f"skeleton {self.name!r} has the joints {', '.join(self.joints)}; "
                f"missing {missing}, unknown {unknown}"
            )
        source = [old[name] for name in new]
        target = {index: position for position, index in enumerate(source)} | {-1: -1}
        return replace(
            self,
            joints=tuple(self.joints[index] for index in source),
            parents=tuple(target[self.parents[index]] for index in source),
            parts={
                name: tuple(sorted(target[index] for index in part))
                for name, part in self.parts.items()
            },
            mirror=tuple(target[self.mirror[index]] for index in source),
            center=target[self.center],
        )

    @cached_property
    def starts(self) -> Starts | None:
        """First joints of arms and legs; None if the parts are not those of a body."""
        return find_starts(self.joints, JointTree(self.parents), self.parts)

    @cached_property
    def bones(self) -> tuple[tuple[int, int], ...]:
        """Pairs of joints to draw: joint and parent; hips and shoulders that no trunk joins."""
        bones = [(joint, parent) for joint, parent in enumerate(self.parents) if parent >= 0]
        if self.starts is not None and self.starts.pelvis is None:
            bones += [self.starts.shoulders, self.starts.hips]
        return tuple(bones)

    @classmethod
    def from_parents(
        cls,
        names: Sequence[str],
        parents: Sequence[int],
        name: str = "custom",
        center: int | str | None = None,
        parts: Mapping[str, Sequence[int | str]] | None = None,
        mirror: Sequence[int | str] | None = None,
    ) -> Skeleton:
        """Build a skeleton from a joint tree; parts, mirror and centre are derived unless given.

        Sides and limbs are read from the joint names (``LeftElbow``, ``r_knee``, ``lfemur``,
        ``Bip01 L Thigh``). A joint without a known word belongs to the limb that it is inside, or
        to the only limb below it, or else to the trunk. The mirror pairs names that differ only by
        the side, and other joints by their place in the limb. If no name has a word for a body
        part, the tree's two pairs of equal branches are taken as arms and legs; the legs are the
        pair at the end of the spine. If no name has a side, the branch with the lower joint index
        is the left one of a pair. A tree with at least three named fingers and no body part
        beyond a hand gets a part for each finger, and ``"palm"`` for the rest.

        Args:
            names: V joint names.
            parents: Parent index of every joint, -1 at the root.
            name: Name of the skeleton.
            center: Index or name of the centre joint. By default it is the lowest joint of the
                spine between the branches of legs and arms, unless that is called lower back. If
                there is no joint between them, it is the joint that the legs hang from, or the
                joint that the arms hang from if only that one is called spine. If the legs do not
                hang from the trunk, it is the root. Without arms and legs, it is the joint with
                the most branches, or the joint that connects several such joints.
            parts: Body part name to joint indices or names.
            mirror: For every joint the index or name of its counterpart.

        Raises:
            ValueError: If names contradict each other or the tree, or do not determine the parts;
                the message names the joints.

        Example:
            >>> from pcm3.skeleton import SBU15
            >>> body = Skeleton.from_parents(SBU15.joints, SBU15.parents)
            >>> body.parts == SBU15.parts and body.mirror == SBU15.mirror
            True
        """
        joints = tuple(names)
        tree = tuple(int(parent) for parent in parents)
        everything = tuple(range(len(joints)))
        cls(name, joints, tree, {"all": everything}, everything, 0)  # raises if it is not a tree

        def index(joint: int | str) -> int:
            if isinstance(joint, int):
                return joint
            if joint not in joints:
                expected = f"expected a joint among {', '.join(joints)}, got {joint!r}"
                raise ValueError(f"skeleton {name!r}: {expected}")
            return joints.index(joint)

        if parts is None:
            try:
                groups = derive_parts(joints, tree)
            except ValueError as error:
                raise ValueError(f"skeleton {name!r}: {error}") from None
        else:
            groups = {part: tuple(index(joint) for joint in own) for part, own in parts.items()}
        cls(name, joints, tree, groups, everything, 0)  # raises if they do not partition the joints
        if mirror is None:
            pairs = derive_mirror(joints, tree, groups)
        else:
            pairs = tuple(index(joint) for joint in mirror)
        middle = derive_center(joints, tree, groups) if center is None else index(center)
        return cls(name, joints, tree, groups, pairs, middle)

    def summary(self) -> dict[str, Any]:
        """Describe parts, mirrored pairs and centre by joint name; JSON-able.

        ``mirror`` lists pairs, ``alone`` the joints with a side but no counterpart, and
        ``sides_named`` tells whether any joint name has a side.
        """
        sides = ("left_", "right_")
        sided = [j for part, own in self.parts.items() if part.startswith(sides) for j in own]
        return {
            "parts": {part: [self.joints[j] for j in own] for part, own in self.parts.items()},
            "mirror": [[self.joints[a], self.joints[b]] for a, b in self.mirror_pairs],
            "alone": [self.joints[joint] for joint in sided if self.mirror[joint] == joint],
            "center": self.joints[self.center],
            "sides_named": any(name.side for name in read_names(self.joints)[0]),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able description; ``Skeleton.from_dict`` reads it back."""
        return {
            "name": self.name,
            "joints": list(self.joints),
            "parents": list(self.parents),
            "parts": {part: list(indices) for part, indices in self.parts.items()},
            "mirror": list(self.mirror),
            "center": self.center,
        }

    @classmethod
    def from_dict(cls, description: Mapping[str, Any]) -> Skeleton:
        """Build a skeleton from the result of ``to_dict``.

        Raises:
            ValueError: If a key is missing or the description is not a valid skeleton.
        """
        try:
            name, joints, parents, parts, mirror, center = (
                description[key]
                for key in ("name", "joints", "parents", "parts", "mirror", "center")
            )
        except KeyError as error:
            raise ValueError(f"skeleton description lacks the key {error}") from None
        if not isinstance(parts, Mapping):
            raise ValueError(f"expected parts to be a mapping, got {type(parts).__name__}")
        indices = {"parents": parents, "mirror": mirror, "center": [center]}
        indices |= {f"part {part}": ids for part, ids in parts.items()}
        for key, values in (("name", [name]), ("joints", joints)):
            check_kinds(key, values, str)
        for key, values in indices.items():
            check_kinds(key, values, int)
        return cls(
            name,
            tuple(joints),
            tuple(parents),
            {part: tuple(ids) for part, ids in parts.items()},
            tuple(mirror),
            center,
        )


def check_kinds(key: str, values: Any, kind: type[str | int]) -> None:
    """Require a list of names or of indices.

    Raises:
        ValueError: If the value is not a list, or holds something else.
    """
    if not isinstance(values, list | tuple) or any(type(value) is not kind for value in values):
        names = {str: "names", int: "indices"}
        raise ValueError(f"expected {key} to be {names[kind]}, got {reprlib.repr(values)}")


def check_skeleton(skeleton: object) -> None:
    """Require a skeleton.

    Raises:
        ValueError: If the value is not a skeleton.
    """
    if not isinstance(skeleton, Skeleton):
        raise ValueError(f"expected a Skeleton such as pcm3.NTU25, got {skeleton!r:.80}")


def joint_count(skeleton: Skeleton | int) -> int:
    """Return the number of joints V of a skeleton, or V itself.

    Raises:
        ValueError: If the value is neither.
    """
    if isinstance(skeleton, Skeleton):
        return len(skeleton)
    if not isinstance(skeleton, int):
        raise ValueError(
            f"expected a Skeleton such as pcm3.NTU25 or its number of joints, got {skeleton!r}"
        )
    return skeleton


def to_stream(clips: Tensor, skeleton: Skeleton, stream: Stream) -> Tensor:
    """Compute joint coordinates, bone vectors or frame-to-frame motion of a batch.

    Args:
        clips: Joint coordinates ``(N, C, T, V, M)``, or ``(C, T, V, M)`` with C at most 3.
        skeleton: The layout of the joint axis.
        stream: ``"joint"`` returns the clips; ``"bone"`` joint minus parent, 0 at the root;
            ``"motion"`` the next frame minus this one, 0 in the last frame.

    Returns:
        A tensor of the shape of ``clips``.

    Raises:
        ValueError: If the stream is unknown, or the joint axis is not the skeleton's.
    """
    import torch  # noqa: PLC0415 - layouts are read by processes that have no other use for it

    from pcm3._torch import index_tensor  # noqa: PLC0415

    check_skeleton(skeleton)
    ranks = isinstance(clips, torch.Tensor) and (
        clips.ndim == 5 or (clips.ndim == 4 and clips.shape[0] <= 3)
    )
    if not ranks or clips.shape[-2] != len(skeleton):
        from pcm3.checks import shape_or_type  # noqa: PLC0415

        layout = f"C, T, V={len(skeleton)}, M)"
        raise ValueError(
            f"expected clips (N, {layout}, or one clip ({layout} with C at most 3, of skeleton "
            f"{skeleton.name!r}, got {shape_or_type(clips)}"
        )
    if stream == "joint":
        return clips
    if stream == "bone":
        parents = tuple(p if p >= 0 else joint for joint, p in enumerate(skeleton.parents))
        return clips - clips.index_select(-2, index_tensor(parents, clips.device))
    if stream == "motion":
        return torch.cat([clips.diff(dim=-3), torch.zeros_like(clips[..., :1, :, :])], dim=-3)
    raise ValueError(f"expected a stream among {get_args(Stream)}, got {stream!r}")
