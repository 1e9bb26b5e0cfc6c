"""Synthetic recordings: a puppet of any human skeleton acts, and a noisy sensor watches it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pcm3.checks import check_seed
from pcm3.data.normalize import Normalization, normalize
from pcm3.data.readers.base import Recording, Source
from pcm3.data.store import Store, StoreDtype
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic.actions import ACTIONS, AXES, INTERACTIONS, ROLES, Term
from pcm3.data.synthetic.puppet import Floats, Puppet, about_y, make_puppet, pose, rotations
from pcm3.skeleton import NTU25, Skeleton

_FPS = 30.0
_STYLE, _POSTURE, _SWAY = 0.25, 0.12, 0.10  # spreads of amplitude, rest angles and sway (radians)
_VIEW_ANGLE = np.pi / 4  # the outer cameras look from this far to the sides, as in NTU RGB+D
_CAMERA_HEIGHT, _DISTANCE = 1.0, 3.0  # metres


def generate(
    out: str | Path,
    *,
    sequences: int = 480,
    classes: int = 12,
    subjects: int = 8,
    views: int = 3,
    persons: int = 1,
    skeleton: Skeleton = NTU25,
    frames: tuple[int, int] = (40, 120),
    noise: float = 0.01,
    missing: float = 0.05,
    seed: int = 0,
    normalization: Normalization = "center",
    dtype: StoreDtype = "float32",
    overwrite: bool = False,
) -> Store:
    """Write a store of synthetic recordings.

    The arguments from ``sequences`` to ``seed`` are those of ``synthetic_sequences``, those from
    ``normalization`` to ``overwrite`` those of ``prepare``.

    Raises:
        ValueError: If ``out`` exists or an argument is out of range.
    """
    recordings = synthetic_sequences(
        sequences=sequences,
        classes=classes,
        subjects=subjects,
        views=views,
        persons=persons,
        skeleton=skeleton,
        frames=frames,
        noise=noise,
        missing=missing,
        seed=seed,
    )
    with StoreWriter(
        out,
        skeleton,
        class_names=recordings.class_names,
        dtype=dtype,
        fps=recordings.fps,
        source=recordings.about,
        licence=recordings.licence,
        normalization=normalization,
        overwrite=overwrite,
    ) as writer:
        for recording in recordings:
            coordinates = normalize(recording.frames, skeleton, normalization)
            writer.add(coordinates, recording.label, name=recording.name, **recording.columns)
    return Store(out)


def synthetic_sequences(
    *,
    sequences: int = 480,
    classes: int = 12,
    subjects: int = 8,
    views: int = 3,
    persons: int = 1,
    skeleton: Skeleton = NTU25,
    frames: tuple[int, int] = (40, 120),
    noise: float = 0.01,
    missing: float = 0.05,
    seed: int = 0,
) -> Source:
    """Generate recordings of a puppet one by one; equal seeds give equal recordings.

    Each subject has its own bone lengths, posture and style, each sequence its own speed,
    amplitude, timing and facing, each view its own camera. Classes are taken in the order of a
    fixed list. Columns: ``subjects`` from 1, ``views`` from 1, ``fold`` from 1 (up to five, by
    subject).

    Args:
        sequences: Number of sequences; classes, subjects and views are spread evenly over them.
        classes: Number of classes, up to 16; with two persons up to 22, of which the last third
            are interactions.
        subjects: Number of subjects.
        views: Number of cameras, from -45 to 45 degrees.
        persons: 1 or 2. The second person appears, facing the first, in interactions only.
        skeleton: Any human skeleton with the five parts.
        frames: Range of the lengths, both included, at 30 frames per second.
        noise: Standard deviation of every coordinate, metres.
        missing: Share of the joints that are lost (set to 0) in any frame, in [0, 1).
        seed: Seed of all randomness.

    Raises:
        ValueError: If an argument is out of range or the skeleton lacks a part.
    """
    counts = {"sequences": sequences, "classes": classes, "subjects": subjects, "views": views}
    for name, value in {**counts, "frames": frames[0]}.items():
        if value < 1:
            raise ValueError(f"expected {name} >= 1, got {value}")
    if frames[0] > frames[1]:
        raise ValueError(f"expected frames (shortest, longest), got {frames}")
    if noise < 0 or not 0 <= missing < 1:
        raise ValueError(f"expected noise >= 0 and missing in [0, 1), got {noise} and {missing}")
    check_seed(seed)
    scripts = _scripts(classes, persons)
    puppet = make_puppet(skeleton)

    def make() -> Iterator[Recording]:
        order = np.random.default_rng([seed, 0])
        columns = {
            "subjects": 1 + order.permutation(np.arange(sequences) % subjects),
            "views": 1 + order.permutation(np.arange(sequences) % views),
        }
        people = [_person(puppet, np.random.default_rng([seed, 1, s])) for s in range(subjects)]
        yaws = np.linspace(-_VIEW_ANGLE, _VIEW_ANGLE, views) if views > 1 else np.zeros(1)
        for index in range(sequences):
            rng = np.random.default_rng([seed, 2, index])
            label = index % classes
            subject, view = (int(columns[name][index]) for name in ("subjects", "views"))
            script = list(scripts.values())[label]
            cast = [subject - 1, subject % subjects][: len(script)]
            length = int(rng.integers(frames[0], frames[1] + 1))
            scene = _play(puppet, [people[who] for who in cast], script, length, rng)
            seen = _film(scene, float(yaws[view - 1]), noise, missing, rng)
            clip = np.zeros((length, persons, *seen.shape[2:]), dtype=np.float32)
            clip[:, : len(script)] = seen
            fold = 1 + (subject - 1) % min(5, subjects)
            yield Recording(clip, label, {"subjects": subject, "views": view, "fold": fold})

    return Source(
        format="synthetic",
        skeleton=skeleton,
        class_names=tuple(scripts),
        units=(seed,),
        read=lambda _: make(),
        persons=persons,
        fps=_FPS,
        about=f"pcm3 synthetic, seed {seed}",
        licence="CC0-1.0",
    )


Script = tuple[tuple[Term, ...], ...]


def _scripts(classes: int, persons: int) -> dict[str, Script]:
    """Return, for each class, one tuple of terms for each person in the scene."""
    if persons not in (1, 2):
        raise ValueError(f"expected 1 or 2 persons, got {persons}")
    together = min(-(-classes // 3), len(INTERACTIONS)) if persons == 2 else 0
    if classes - together > len(ACTIONS):
        most = len(ACTIONS) + (len(INTERACTIONS) if persons == 2 else 0)
        raise ValueError(f"expected at most {most} classes, got {classes}")
    alone = list(ACTIONS)[: classes - together]
    scripts: dict[str, Script] = {name: (ACTIONS[name],) for name in alone}
    return scripts | {name: INTERACTIONS[name] for name in list(INTERACTIONS)[:together]}


@dataclass(frozen=True)
class _Person:
    offsets: Floats  # (V, 3)
    style: Floats  # (roles, 1) factor of the amplitude
    posture: Floats  # (roles, axes) radians


def _person(puppet: Puppet, rng: np.random.Generator) -> _Person:
    size = np.clip(rng.normal(1.0, 0.08), 0.75, 1.25)
    bones = np.clip(rng.normal(1.0, 0.06, len(puppet.parents)), 0.8, 1.2)
    bones = (bones + bones[puppet.mirror]) / 2
    posture = rng.normal(0.0, _POSTURE, (len(ROLES), len(AXES)))
    posture[-1] = 0.0
    style = np.exp(rng.normal(0.0, _STYLE, (len(ROLES), 1)))
    return _Person(puppet.offsets * size * bones[:, None], style, posture)


def _play(
    puppet: Puppet, cast: list[_Person], script: Script, length: int, rng: np.random.Generator
) -> Floats:
    """Return world coordinates (T, M, V, 3): y up from the floor, person 0 around the origin."""
    facing = rng.normal(0.0, 0.2)
    scene = []
    for place, (person, terms) in enumerate(zip(cast, script, strict=True)):
        angles = _angles(terms, person, length, rng)
        joints = pose(puppet, person.offsets, angles)
        if place == 1:  # one metre ahead, turned round
            joints = joints * (-1.0, 1.0, -1.0) + (0.0, 0.0, -1.0)
        scene.append(joints @ rotations(about_y(facing)).T)
    return np.stack(scene, axis=1)


def _angles(
    terms: tuple[Term, ...], person: _Person, length: int, rng: np.random.Generator
) -> Floats:
    """Draw the angles (T, roles, axes) of one performance of a script by a person."""
    time = np.linspace(0.0, 1.0, length)
    time = time + rng.uniform(-0.1, 0.1) * np.sin(2 * np.pi * time)  # uneven pace
    begin, end = rng.uniform(0.0, 0.25), rng.uniform(0.75, 1.0)
    doing = np.clip(np.minimum(time - begin, end - time) / 0.15, 0.0, 1.0)
    doing = doing * doing * (3.0 - 2.0 * doing)
    speed, shift, strength = rng.uniform(0.7, 1.4), rng.uniform(-0.1, 0.1), rng.uniform(0.6, 1.25)
    moves = np.zeros((length, len(ROLES), len(AXES)))
    for term in terms:
        turn = 2 * np.pi * (term.cycles * speed * (time - begin) + term.phase + shift)
        overtone = rng.uniform(-0.25, 0.25) * np.sin(2 * turn + rng.uniform(0, 2 * np.pi))
        curve = doing * (term.offset + term.amplitude * (np.sin(turn) + overtone))
        for role, sign in term.moved:
            moves[:, role, AXES.index(term.axis)] += sign * curve
    waves = rng.uniform(0.3, 1.5, moves.shape[1:])
    sway = np.sin(2 * np.pi * (waves * time[:, None, None] + rng.uniform(size=waves.shape)))
    sway *= rng.normal(0.0, _SWAY, waves.shape)
    sway[:, -1] = 0.0
    return person.posture + sway + moves * person.style * strength


def _film(
    scene: Floats, yaw: float, noise: float, missing: float, rng: np.random.Generator
) -> Floats:
    """Return the scene as seen by a camera at this angle, with noise and lost joints."""
    tilt = np.array([rng.normal(0.0, 0.05), rng.normal(0.0, 0.02), yaw + rng.normal(0.0, 0.05)])
    seen = (scene - (0.0, _CAMERA_HEIGHT, 0.0)) @ rotations(tilt).T
    seen += (rng.normal(0.0, 0.2), 0.0, _DISTANCE + rng.normal(0.0, 0.2))
    seen += noise * rng.standard_normal(seen.shape)
    length, persons, joints, _ = seen.shape
    gap = max(1, length // 5)  # joints are lost for a fifth of the sequence at a time
    start = rng.integers(-gap, length, (persons, joints))
    when = np.arange(length)[:, None, None]
    share = min(1.0, missing * (length + gap) / gap)
    lost = (when >= start) & (when < start + gap) & (rng.random((persons, joints)) < share)
    seen[lost] = 0.0
    return seen
