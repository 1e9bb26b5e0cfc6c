"""Maps from one joint layout to another: each joint as a weighted mean of joints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pcm3.skeleton.anatomy import anatomical_names
from pcm3.skeleton.skeleton import Skeleton, check_skeleton
from pcm3.skeleton.words import normal_name

_Weights = dict[str, float]

_RECIPES: dict[str, tuple[_Weights, ...]] = {
    "mid_hip": ({"left_hip": 0.5, "right_hip": 0.5},),
    "spine": ({"mid_hip": 0.5, "neck_base": 0.5},),
    "chest": ({"spine": 0.5, "neck_base": 0.5},),
    "neck_base": ({"left_shoulder": 0.5, "right_shoulder": 0.5}, {"neck": 1.0}),
    "neck": ({"neck_base": 1.0}, {"neck_base": 0.5, "head": 0.5}),
    "head": (
        {"left_ear": 0.5, "right_ear": 0.5},
        {"left_eye": 0.5, "right_eye": 0.5},
        {"nose": 1.0},
        {"neck": 0.5, "head_tip": 0.5},
    ),
}
for _side in ("left", "right"):
    _RECIPES |= {
        f"{_side}_wrist": ({f"{_side}_hand": 1.0},),
        f"{_side}_hand": (
            {f"{_side}_wrist": 0.5, f"{_side}_index": 0.25, f"{_side}_pinky": 0.25},
            {f"{_side}_wrist": 1.0},
        ),
        f"{_side}_ankle": ({f"{_side}_foot": 1.0},),
        f"{_side}_foot": ({f"{_side}_toe": 1.0}, {f"{_side}_ankle": 1.0}),
        f"{_side}_toe": ({f"{_side}_foot": 1.0},),
    }
"""How a joint that a layout lacks is derived from others, the first way that is possible. A single
other joint stands in for it only if the target does not have that joint too, so that no two
joints of the target are in one place."""
_EXPLAINED = 4  # missing joints in a message


@dataclass(frozen=True)
class JointMap:
    """A map from one layout to another, made by ``joint_map``.

    Args:
        source: The layout of Vs joints that is mapped.
        target: The layout of Vt joints that results.
        sources: For each target joint the source joints whose weighted mean it is, as index to
            weight; the weights of a joint sum to 1.
        exact: For each target joint whether it is the same joint of the source.
    """

    source: Skeleton
    target: Skeleton
    sources: tuple[Mapping[int, float], ...]
    exact: tuple[bool, ...]

    @cached_property
    def weights(self) -> NDArray[np.float64]:
        """The matrix (Vt, Vs) that the joint axis is multiplied with; each row sums to 1."""
        matrix = np.zeros((len(self.target), len(self.source)))
        for row, weights in enumerate(self.sources):
            for joint, weight in weights.items():
                matrix[row, joint] = weight
        return matrix

    def apply(self, frames: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """Map coordinates; a joint is absent (0) if a joint that it is derived from is absent.

        A derived joint that lies at the origin gets a first coordinate of 1e-38, so that it does
        not look absent.

        Args:
            frames: Coordinates (..., Vs, C), 0 where a joint is not seen.

        Returns:
            Coordinates (..., Vt, C) of the same dtype. Exact joints are copies.

        Raises:
            ValueError: If the joint axis is not that of the source.
        """
        frames = np.asarray(frames)
        if frames.ndim < 2 or frames.shape[-2] != len(self.source):
            raise ValueError(
                f"expected coordinates (..., V={len(self.source)}, C) of skeleton "
                f"{self.source.name!r}, got {frames.shape}"
            )
        size = (*frames.shape[:-2], len(self.target), frames.shape[-1])
        mapped = np.zeros(size, frames.dtype)
        seen = np.asarray(frames.any(-1))
        for row, weights in enumerate(self.sources):
            joints = list(weights)
            if len(joints) == 1:
                mapped[..., row, :] = frames[..., joints[0], :]
                continue
            shares = np.array(list(weights.values()), frames.dtype)
            mean = np.asarray((frames[..., joints, :] * shares[:, None]).sum(-2))
            mean[..., 0] = np.where(mean.any(-1), mean[..., 0], _smallest(frames.dtype))
            mapped[..., row, :] = mean * seen[..., joints].all(-1, keepdims=True)
        return mapped

    def report(self) -> dict[str, Any]:
        """Describe the map by joint names; JSON-able.

        Returns:
            ``source`` (the name of its layout), ``exact`` (target joint to source joint) and
            ``derived`` (target joint to weights of source joints).
        """
        exact: dict[str, str] = {}
        derived: dict[str, dict[str, float]] = {}
        for joint, weights, same in zip(self.target.joints, self.sources, self.exact, strict=True):
            named = {self.source.joints[j]: weight for j, weight in weights.items()}
            if same:
                exact[joint] = next(iter(named))
            else:
                derived[joint] = named
        return {"source": self.source.name, "exact": exact, "derived": derived}


def _smallest(dtype: np.dtype[Any]) -> float:
    return float(np.finfo(dtype).tiny)


def joint_map(source: Skeleton, target: Skeleton) -> JointMap:
    """Find for each joint of a layout the joints of another layout that it is made of.

    A joint is exact if the source has a joint of the same anatomy (``anatomical_names``), whatever
    it is called. Otherwise it is derived from others: mid-hip as the mean of the hips, the base of
    the neck as the mean of the shoulders, a spine joint as the middle between the two, the head as
    the mean of ears or eyes, or the nose; a hand, wrist, foot or ankle from the joint next to it
    if the target does not have that one as well. Nothing is extrapolated.

    Args:
        source: The layout to map from.
        target: The layout to map to.

    Raises:
        ValueError: If the source lacks what a joint of the target is made of; the message says
            which joints, and what they need.

    Example:
        >>> from pcm3.skeleton import COCO17, COMMON15
        >>> joint_map(COCO17, COMMON15).report()["derived"]["neck"]
        {'left_shoulder': 0.5, 'right_shoulder': 0.5}
    """
    check_skeleton(source)
    check_skeleton(target)
    found, wanted = anatomical_names(source), anatomical_names(target)
    plain = [[normal_name(joint) for joint in layout.joints] for layout in (source, target)]
    if sorted(plain[0]) == sorted(plain[1]) and len(set(plain[0])) == len(source):
        found, wanted = (tuple(names) for names in plain)  # the same joints in another order
    places = {name: joint for joint, name in enumerate(found)}
    sources = [_resolve(name, places, frozenset(wanted), ()) for name in wanted]
    if any(weights is None for weights in sources):
        raise ValueError(_why_not(source, target, wanted, sources))
    return JointMap(
        source,
        target,
        tuple(weights for weights in sources if weights is not None),
        tuple(name in places for name in wanted),
    )


def _resolve(
    name: str, places: Mapping[str, int], wanted: frozenset[str], above: tuple[str, ...]
) -> dict[int, float] | None:
    """Return the source joints that a joint is made of, with their weights; None if it cannot be.

    ``above`` are the joints for which this one is needed.
    """
    if name in places:
        return {places[name]: 1.0}
    for recipe in _possible(name, wanted):
        if recipe.keys() & {name, *above}:
            continue
        parts = [_resolve(part, places, wanted, (*above, name)) for part in recipe]
        weights: dict[int, float] = {}
        for part, share in zip(parts, recipe.values(), strict=True):
            for joint, weight in (part or {}).items():
                weights[joint] = weights.get(joint, 0.0) + share * weight
        if None not in parts:
            return weights
    return None


def _possible(name: str, wanted: frozenset[str]) -> list[_Weights]:
    """Return the recipes of a joint, without stand-ins that the target has too."""
    recipes = _RECIPES.get(name, ())
    return [recipe for recipe in recipes if len(recipe) > 1 or wanted.isdisjoint(recipe)]


def _why_not(
    source: Skeleton,
    target: Skeleton,
    wanted: Sequence[str],
    sources: Sequence[Mapping[int, float] | None],
) -> str:
    missing = [joint for joint, weights in enumerate(sources) if weights is None]
    needs = []
    for joint in missing[:_EXPLAINED]:
        others = [" and ".join(recipe) for recipe in _possible(wanted[joint], frozenset(wanted))]
        ways = [wanted[joint].removeprefix("="), *others]
        needs.append(f"{target.joints[joint]} (of {', or '.join(ways)})")
    rest = [target.joints[joint] for joint in missing[_EXPLAINED:]]
    return (
        f"skeleton {source.name!r} lacks what these joints of {target.name!r} are made of: "
        f"{', '.join([*needs, *rest])}; it has {', '.join(source.joints)}"
    )
