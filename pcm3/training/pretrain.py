"""Pretraining on stores or synthetic motion with the settings of a run."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias, TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from pcm3._torch import find_device
from pcm3.checks import check_not_empty
from pcm3.data.body import BODY, Form
from pcm3.data.dataset import (
    LONGEST,
    ClipDataset,
    SkeletonDataset,
    describe_left_out,
    describe_windows,
)
from pcm3.data.hybrid import HybridDataset
from pcm3.data.splits import describe_training, note_on_words, part_protocols, split
from pcm3.data.store import Store
from pcm3.data.synthetic.motion import SyntheticMotion
from pcm3.evaluation.monitor import feature_monitor
from pcm3.methods.catalog import RunSettings
from pcm3.runs.folder import Run
from pcm3.runs.seen import count_seen, describe_data, describe_seen
from pcm3.skeleton import COMMON15, Skeleton
from pcm3.terminal import tell
from pcm3.training.costs import count, estimate
from pcm3.training.devices import is_first, suitable_threads
from pcm3.training.order import used_sequences
from pcm3.training.start import begin, is_run
from pcm3.training.trainer import fit

Data: TypeAlias = Store | Sequence[Store] | SyntheticMotion
"""What a model is pretrained on."""


def pretrain(
    config: RunSettings,
    data: Data,
    out: str | Path,
    *,
    start: str | Path | None = None,
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Pretrain on the training part of stores, or on motion that is generated meanwhile.

    A run that was stopped is continued.

    On a CPU a recurrent model of less than a million parameters trains with one thread, unless the
    number of threads was chosen by ``OMP_NUM_THREADS`` or ``torch.set_num_threads``.

    Args:
        config: All settings.
        data: One or more stores, of which only the training part is used, or synthetic motion.
            Untrimmed recordings are cut into windows of twice the frames of a view. Other
            recordings of more than 300 frames are cut into windows of 300, unless
            ``config.max_frames`` truncates them. Checks of the features during training, see
            ``feature_monitor``, use the first store; with synthetic motion there are none, and the
            protocol only becomes the default of later evaluations.
        out: The run folder.
        start: A run folder whose last checkpoint gives the initial weights, or the file of an
            encoder, or ``"pretrained"``, which gives those of the encoder alone; the optimiser
            starts afresh. If a run was trained on test sequences of these stores, a warning is
            printed on standard error.
        quiet: Show no progress.

    Returns:
        One record of metrics for each epoch, after one of epoch 0 if the features are checked.

    Raises:
        ValueError: If the folder holds a run with other settings or other data, the stores do
            not fit together, or the initial weights belong to another model, stream, joint order
            or normalization.
    """
    quiet = quiet or not is_first()
    stores, dataset, protocols, parts = _training_data(config, data)
    for store, protocol in zip(stores, protocols, strict=True):
        notes = [*note_on_words(store, protocol), *_note_on_frames(store, config, dataset)]
        for note in [] if quiet else notes:
            tell(f"note: {store.path}: {note}", file=sys.stderr)
    torch.manual_seed(config.train.seed)
    settings = _settings(config, stores, protocols)
    model, origin = begin(config, dataset, settings["seen"], start, out)
    settings |= origin
    monitor = None
    if config.train.knn_every and stores:
        layout = _layout(config, stores)
        monitor = feature_monitor(
            stores[0],
            parts[0][0],
            protocols[0],
            lambda part, limit: SkeletonDataset(stores[0], part, max_frames=limit, **layout),
            config.max_frames,
            quiet,
        )
    if start is not None and is_run(start):
        for store, protocol, (_, test) in zip(stores, protocols, parts, strict=True):
            seen = count_seen(Run(start), store, test) if protocol != "all" else 0
            if seen and not quiet:
                tell(
                    f"warning: {start} was trained on {seen} of the {len(test)} test sequences of "
                    f"{store.path} under protocol {protocol}, without labels",
                    file=sys.stderr,
                )
    with suitable_threads(model, config.train):
        return fit(
            model,
            dataset,
            config.train,
            out,
            settings=settings,
            monitor=monitor,
            about=_about_training(stores, protocols),
            quiet=quiet,
        )


def plan(
    config: RunSettings,
    data: Data,
    out: str | Path | None = None,
    *,
    start: str | Path | None = None,
) -> dict[str, float]:
    """Describe what ``pretrain`` would do, and estimate its cost, without training.

    Says on standard error who trains, and on which device steps are measured. If there are fewer
    sequences than a step needs, it warns, and counts one step an epoch.

    Args:
        config: All settings.
        data: Stores, or synthetic motion.
        out: The run folder, which is checked but not written; None skips the check.
        start: What gives the initial weights, as in ``pretrain``.

    Returns:
        The number of ``sequences`` in the training part, ``epochs``, optimiser ``steps`` in total,
        sequences in a ``batch`` and ``parameters``; the multiply-accumulates of one sequence in
        the ``forward`` pass and in a whole ``step``; and estimates, from a few measured steps, of
        the ``seconds`` of the run and the ``bytes`` of memory on each device.

    Raises:
        ValueError: For the same reasons as ``pretrain``, but for too few sequences.
    """
    stores, dataset, protocols, _ = _training_data(config, data)
    train = config.train
    batch = train.batch_size * train.accumulate * train.devices * train.nodes
    settings = _settings(config, stores, protocols)
    model, origin = begin(config, dataset, settings["seen"], start, out)
    settings |= origin
    if out is not None:
        Run(out).check(settings | {"data": describe_data(dataset)})
    device = find_device(train.accelerator)
    for line in _about_training(stores, protocols):
        tell(line, file=sys.stderr)
    try:
        used = used_sequences(len(dataset), train, train.devices * train.nodes)
    except ValueError as few:
        tell(f"warning: {few}; estimated for one step an epoch", file=sys.stderr)
        used = batch
    steps = train.epochs * used // batch
    tell(f"measures a few steps on {device}", file=sys.stderr, flush=True)
    costs = estimate(model, train)
    return {
        "sequences": len(dataset),
        "epochs": train.epochs,
        "steps": steps,
        "batch": batch,
        **count(model)._asdict(),
        "seconds": steps * train.accumulate * costs.seconds,
        "bytes": costs.bytes,
    }


def run_settings(config: RunSettings, data: Data) -> dict[str, Any]:
    """Return what ``config.json`` of a run would hold, see ``Run.check``, without training.

    A run that starts from other weights also has ``start``, the name of their folder or file.

    Args:
        config: All settings.
        data: Stores, or synthetic motion.

    Raises:
        ValueError: If the stores do not fit together or the protocol, or have too few sequences.
    """
    stores, dataset, protocols, _ = _training_data(config, data)
    used_sequences(len(dataset), config.train, config.train.devices * config.train.nodes)
    return _settings(config, stores, protocols) | {"data": describe_data(dataset)}


def _about_training(stores: Sequence[Store], protocols: Sequence[str]) -> list[str]:
    return [
        f"{store.path}: {describe_training(store, protocol)}"
        for store, protocol in zip(stores, protocols, strict=True)
    ]


class _Training(NamedTuple):
    """The data of a run: its stores, the items, and the protocol and the parts of each store."""

    stores: list[Store]
    dataset: HybridDataset | SyntheticMotion
    protocols: list[str]
    parts: list[tuple[NDArray[np.int64], NDArray[np.int64]]]


def _training_data(config: RunSettings, data: Data) -> _Training:
    if isinstance(data, SyntheticMotion):
        if config.any_layout and data.normalization != BODY:
            raise ValueError(
                f"expected synthetic motion in the form {BODY!r} for an encoder of any layout, got "
                f"{data.normalization!r} (--motion.normalization {BODY})"
            )
        return _Training([], data, [], [])
    stores = [data] if isinstance(data, Store) else list(data)
    check_not_empty("stores", stores)
    paths = [str(store.path) for store in stores]
    if len({store.path.resolve() for store in stores}) < len(stores):
        raise ValueError(f"expected different stores, got {', '.join(paths)}")
    protocols = part_protocols(config.protocol)
    if len(protocols) not in (1, len(stores)):
        raise ValueError(
            f"expected one protocol, or one for each of {len(stores)} stores, got "
            f"{config.protocol!r}; a protocol with spaces needs quotes"
        )
    protocols *= len(stores) // len(protocols)
    parts = [split(store, protocol) for store, protocol in zip(stores, protocols, strict=True)]
    datasets = [
        SkeletonDataset(
            store,
            training,
            max_frames=config.max_frames if store.frame_labels is None else None,
            window=_window(store, config),
            **_layout(config, stores),
        )
        for store, (training, _) in zip(stores, parts, strict=True)
    ]
    return _Training(stores, HybridDataset(datasets), protocols, parts)


class _Layout(TypedDict):
    persons: int
    skeleton: Skeleton
    normalization: Form | None


_ROOM = 2
"""Persons that an encoder for all layouts has room for, at least."""


def _layout(config: RunSettings, stores: Sequence[Store]) -> _Layout:
    """What the recordings of all stores have in common."""
    persons = max(store.persons for store in stores)
    if config.any_layout:
        return {"persons": max(persons, _ROOM), "skeleton": COMMON15, "normalization": BODY}
    return {"persons": persons, "skeleton": stores[0].skeleton, "normalization": None}


def _window(store: Store, config: RunSettings) -> int | None:
    """Number of frames in the windows that recordings are cut into; None if they are not."""
    if store.frame_labels is not None:
        return 2 * config.model.frames
    return LONGEST if config.max_frames is None else None


def _note_on_frames(store: Store, config: RunSettings, data: ClipDataset) -> list[str]:
    assert isinstance(data, HybridDataset)  # as there is a store
    part = next(dataset for dataset in data.datasets if dataset.store is store)
    notes = describe_left_out(part.left_out, config.max_frames)
    if store.frame_labels is None:
        notes += describe_windows(part, f"trained on in windows of {LONGEST}")
    return notes


def _settings(
    config: RunSettings, stores: Sequence[Store], protocols: Sequence[str]
) -> dict[str, Any]:
    """Content of ``config.json`` for a run that does not start from another one."""
    settings: dict[str, Any] = json.loads(config.to_json())
    settings["seen"] = [describe_seen(*pair) for pair in zip(stores, protocols, strict=True)]
    return settings
