"""The training and the test part of an evaluation: the protocol, and the sequences that count."""

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
"""The result of ``own_protocol``: protocols of the training, and whether it used this store."""


def choose_parts(
    task: Task, paths: Sequence[Path], store: Store, given: str | None
) -> tuple[list[Own], str, tuple[Indices, Indices]]:
    """Choose the protocol of an evaluation, and with it the training and the test part.

    Returns:
        The result of ``own_protocol`` for each run, the protocol, and the two parts.

    Raises:
        ValueError: If the protocol does not exist, or none is given and the runs do not share one.
    """
    own = []
    for path in paths:
        run, _ = find_run(path)
        is_run = run is not None and run.config.is_file()
        own.append(own_protocol(run, store) if run and is_run else ([], False))
    protocol = given or _default_protocol(task, paths, store, own)
    if protocol == "all":
        why = "" if given else f", under which {paths[0]} was trained,"
        raise ValueError(
            f"protocol 'all'{why} would test on training data; give another --protocol"
        )
    try:
        return own, protocol, split(store, protocol)
    except ValueError as error:
        run, _ = find_run(paths[0])
        hint = "" if given or run is None else f"; {run.config} has this protocol: give --protocol"
        raise ValueError(f"{error}{hint}") from None


def _default_protocol(task: Task, paths: Sequence[Path], store: Store, own: Sequence[Own]) -> str:
    """Choose the protocol if none is given.

    Raises:
        ValueError: If a run does not know its protocol, or the runs have different ones.
    """
    new = task.protocol(store)
    if new is not None and not any(trained_here for _, trained_here in own):
        return new
    for path, (protocols, _) in zip(paths, own, strict=True):
        if not protocols:
            raise ValueError(
                f"{path} does not record the protocol of its training part; give one, such as "
                "--protocol xsub"
            )
        if len(protocols) > 1:
            raise ValueError(
                f"{path} was trained under the protocols {' '.join(protocols)}, one for each "
                f"store, and not on {store.path}; give a --protocol"
            )
    if len({protocols[0] for protocols, _ in own}) > 1:
        pairs = zip(own, paths, strict=True)
        raise ValueError(
            "expected runs that were trained under one protocol, got "
            f"{', '.join(f'{protocols[0]} ({path})' for (protocols, _), path in pairs)}: a run may "
            "have seen test sequences of another; --protocol chooses one for all"
        )
    return own[0][0][0]


def keep_labelled(
    store: Store, parts: tuple[Indices, Indices], task: Task
) -> tuple[tuple[Indices, Indices], list[str]]:
    """Keep the labelled sequences of both parts; notes count the others.

    Raises:
        ValueError: If a part that needs labels has none.
    """
    training, test = (part[store.labels[part] >= 0] for part in parts)
    notes = []
    for name, part, kept in (("training", parts[0], training), ("test", parts[1], test)):
        if len(kept) == 0 and (kept is test or task.learns_classes):
            raise ValueError(f"{store.path}: none of the {len(part)} {name} sequences has a label")
        if without := len(part) - len(kept):
            notes.append(f"{without} of {len(part)} {name} sequences have no label: left out")
    return (training, test), notes
