"""The training and the test part of an evaluation: by which protocol, and what has a label."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from pcm3.data.splits import Indices, split
from pcm3.data.store import Store
from pcm3.evaluation.tasks.base import Task
from pcm3.runs.folder import find_run
from pcm3.runs.seen import own_protocol

Own: TypeAlias = tuple[list[str], bool]
"""Of an encoder, see ``own_protocol``."""


def choose_parts(
    task: Task, paths: Sequence[Path], store: Store, given: str | None
) -> tuple[list[Own], str, tuple[Indices, Indices]]:
    """The protocols of each run, that of the evaluation, and its training and test part.

    Raises:
        ValueError: If there is no such protocol, or none is given and runs know none in common.
    """
    own = []
    for path in paths:
        run, _ = find_run(path)
        is_run = run is not None and run.config.is_file()
        own.append(own_protocol(run, store) if run and is_run else ([], False))
    protocol = given or _default_protocol(task, paths, store, own)
    if protocol == "all":
        own_one = "" if given else f", under which {paths[0]} was trained,"
        raise ValueError(
            f"protocol 'all'{own_one} would test on training data; give another --protocol"
        )
    try:
        return own, protocol, split(store, protocol)
    except ValueError as error:
        run, _ = find_run(paths[0])
        said = "" if given or run is None else f"; {run.config} says this protocol: give --protocol"
        raise ValueError(f"{error}{said}") from None


def _default_protocol(task: Task, paths: Sequence[Path], store: Store, own: Sequence[Own]) -> str:
    """What to evaluate by where nothing is said.

    Raises:
        ValueError: If the runs do not say, or not the same.
    """
    new = task.protocol(store)
    if new is not None and not any(trained_here for _, trained_here in own):
        return new
    for path, (protocols, _) in zip(paths, own, strict=True):
        if not protocols:
            raise ValueError(
                f"{path} does not say which protocol its training part came from; give one, "
                "--protocol xsub say"
            )
        if len(protocols) > 1:
            raise ValueError(
                f"{path} was trained under the protocols {' '.join(protocols)}, one for each "
                f"store, and {store.path} is none of them; give a --protocol"
            )
    if len({protocols[0] for protocols, _ in own}) > 1:
        pairs = zip(own, paths, strict=True)
        raise ValueError(
            "expected runs that were trained under one protocol, got "
            f"{', '.join(f'{protocols[0]} ({path})' for (protocols, _), path in pairs)}: some have "
            "seen others' test sequences; --protocol says by which to evaluate them all the same"
        )
    return own[0][0][0]


def keep_labelled(
    store: Store, parts: tuple[Indices, Indices], task: Task
) -> tuple[tuple[Indices, Indices], list[str]]:
    """What of the training and the test part has a label, and what to say of the rest.

    Raises:
        ValueError: If no sequence has a label of a part that needs them.
    """
    training, test = (part[store.labels[part] >= 0] for part in parts)
    notes = []
    for name, part, kept in (("training", parts[0], training), ("test", parts[1], test)):
        if len(kept) == 0 and (kept is test or task.learns_classes):
            raise ValueError(f"{store.path}: none of the {len(part)} {name} sequences has a label")
        if without := len(part) - len(kept):
            notes.append(f"{without} of {len(part)} {name} sequences have no label: left out")
    return (training, test), notes
