"""What an encoder that never saw a recording is worth on real ones.

Pretrains `small` (15 joints of `common15`, 30 frames a second) for a number of steps on synthetic
recordings, and prints the accuracy of a logistic regression and of the nearest neighbour on its
features of real ones. Every choice is made with held-out *training* subjects (views, styles) of the
data sets; `--final` uses the true test parts, and chooses nothing.

    python benchmarks/shipped.py --data FOLDER --cache FOLDER --on untrained scripts motion
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import numpy as np
import torch
from environment import environment

from pcm3.data import generate, prepare
from pcm3.data.dataset import Batch, ClipDataset, SkeletonDataset
from pcm3.data.normalize import normalize
from pcm3.data.store import Store
from pcm3.data.synthetic.motion import SyntheticMotion, motion, programme
from pcm3.data.synthetic.motion.body import Bodies, draw_bodies
from pcm3.data.synthetic.motion.draws import Draws
from pcm3.data.synthetic.motion.kinematics import rotation
from pcm3.data.synthetic.motion.sensor import Cameras
from pcm3.encoders.files import Pretrained, save_encoder
from pcm3.evaluation.features import Features, extract_features
from pcm3.evaluation.metrics import accuracy
from pcm3.evaluation.neighbours import nearest_labels
from pcm3.evaluation.probes import fit_logistic
from pcm3.methods.catalog import get_preset
from pcm3.skeleton import COMMON15
from pcm3.training.trainer import fit

Indices = np.ndarray
_STEPS = 100  # in an epoch


class Parts(NamedTuple):
    """Labelled sequences and those to recognise."""

    training: Indices
    test: Indices


class _OneByOne(ClipDataset):
    """One person of each sequence of a store, as if nobody else were there."""

    def __init__(self, store: Store, person: int) -> None:
        self._all, self._person = SkeletonDataset(store), person
        self.skeleton, self.normalization = store.skeleton, store.meta["normalization"]
        self.labels, self.lengths = self._all.labels, self._all.lengths
        self.persons, self.class_names = 1, store.class_names

    def batch(self, indices: Sequence[int]) -> Batch:
        batch = self._all.batch(indices)
        clips = torch.zeros_like(batch.clips[..., :1])
        for row, clip, length in zip(clips, batch.clips, batch.lengths.tolist(), strict=True):
            frames = clip[:, :length, :, self._person].permute(1, 2, 0)[:, None].numpy()
            normal = normalize(frames, self.skeleton, self.normalization)
            row[:, : len(normal)] = torch.from_numpy(normal).permute(3, 0, 2, 1)
        return batch._replace(clips=clips)


@dataclass(frozen=True)
class Trial:
    """How a data set is divided, for choices and for the final figure.

    Attributes:
        file: Name of the packed file.
        column: Column of the store by which it is divided.
        training: Values of the column in the official training part; None for half of the
            sequences by chance.
        chosen: Those of them that are labelled when something is chosen; None for a data set
            that chooses nothing.
        labels: Share of the labels that is used.
        persons: Number of persons, whose features are put side by side.
    """

    file: str
    column: str
    training: tuple[int, ...] | None
    chosen: tuple[int, ...] | None = None
    labels: float = 1.0
    persons: int = 1

    def parts(self, store: Store, final: bool) -> Parts:
        """Divide the sequences of a store."""
        if self.training is None:
            training, test = np.array_split(np.random.default_rng(0).permutation(len(store)), 2)
            return Parts(_stratified(training, store.labels, self.labels), test)
        values = store.columns[self.column]
        inside = np.isin(values, self.training)
        labelled = inside if final else np.isin(values, self.chosen or ())
        test = ~inside if final else inside & ~labelled
        training = np.flatnonzero(labelled)
        if self.labels < 1:
            training = _stratified(training, store.labels, self.labels)
        return Parts(training, _new(store, training, np.flatnonzero(test)))


_ODD = tuple(range(1, 60, 2))
_EVERY_OTHER = tuple(range(1, 60, 4))
TRIALS = {
    "utd_mhad": Trial("utd_mhad", "subjects", (1, 3, 5, 7), (1, 5)),
    "nw_ucla": Trial("nw_ucla", "views", (1, 2), (1,)),
    "kard": Trial("kard", "subjects", _ODD, _EVERY_OTHER),
    "uiprmd": Trial("uiprmd_kinect", "subjects", _ODD, _EVERY_OTHER),
    "bandai": Trial("bandai_namco", "styles", tuple(range(0, 19, 2)), tuple(range(0, 19, 4))),
    "msrc12, 1 %": Trial("msrc12", "subjects", _ODD, _EVERY_OTHER, 0.01),
    "msrc12, 5 %": Trial("msrc12", "subjects", _ODD, _EVERY_OTHER, 0.05),
    "msrc12, 10 %": Trial("msrc12", "subjects", _ODD, _EVERY_OTHER, 0.10),
    "gtu, 5 %": Trial("gtu_action3d", "", None, labels=0.05),
}
FINAL = {name: trial for name, trial in TRIALS.items() if trial.training is not None} | {
    f"sbu, fold {fold}": Trial(
        "sbu_interaction", "fold", tuple(f for f in range(1, 6) if f != fold), persons=2
    )
    for fold in range(1, 6)
}
"""With the data set whose every sequence is in a test part, and without the one for pretraining."""


def _stratified(training: Indices, labels: Indices, share: float) -> Indices:
    """Keep a share of the sequences of each class, at least one."""
    order = np.random.default_rng(0).permutation(training)
    kept = []
    for label in np.unique(labels[order]):
        own = order[labels[order] == label]
        kept.append(own[: max(1, round(share * len(own)))])
    return np.sort(np.concatenate(kept))


def _new(store: Store, training: Indices, test: Indices) -> Indices:
    """Leave out test recordings that are bit-identical to a training recording."""
    known = {store.sequence(int(index)).tobytes() for index in training}
    return np.array([i for i in test if store.sequence(int(i)).tobytes() not in known])


def open_store(trial: Trial, data: Path, cache: Path, normalization: str) -> Store:
    """Open the data set in the common layout; prepare it first if it is not in the cache."""
    out = cache / f"{trial.file}-{normalization}"
    if not out.exists():
        with tempfile.TemporaryDirectory() as folder:
            source = data / f"{trial.file}.npz"
            if trial.file == "msrc12":
                source = Path(folder) / "msrc12.npz"
                _cut(data / "msrc12_untrimmed.npz", source)
            prepare(
                source,
                out,
                format="packed",
                to="common15",
                persons=trial.persons,
                fps=30,
                normalization=normalization,
            )
    return Store(out)


def _cut(source: Path, out: Path) -> None:
    """Cut untrimmed recordings at their intervals."""
    with np.load(source) as file:
        packed = {name: file[name] for name in file.files if name != "frame_labels"}
    segments = packed.pop("segments")
    starts = np.cumsum(packed["lengths"]) - packed["lengths"]
    sequence, first, last, label = segments.T
    joints = packed["joints"]
    packed["joints"] = np.concatenate(
        [joints[starts[s] + a : starts[s] + b] for s, a, b, _ in segments]
    )
    packed["lengths"], packed["labels"] = last - first, label
    for column in ("subjects", "views", "instructions"):
        if column in packed:
            packed[column] = packed[column][sequence]
    np.savez(out, **packed)


def judge(encoder: Pretrained, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Accuracy of the probe and of the nearest neighbour on each data set."""
    figures: dict[str, dict[str, float]] = {}
    features: dict[str, Features] = {}
    trials = FINAL if options.final else TRIALS
    for name in options.sets or trials:
        trial = trials[name]
        store = open_store(trial, options.data, options.cache, options.normalization)
        if trial.file not in features:
            each = [extract_features(encoder, data) for data in _single(store)]
            joined = torch.cat([features.values for features in each], dim=1)
            features = {trial.file: Features(joined, each[0].labels)}
        values, labels = features[trial.file]
        training, test = (torch.from_numpy(part) for part in trial.parts(store, options.final))
        classes = len(store.class_names)
        known = Features(values[training], labels[training])
        scores = fit_logistic(known, classes)(values[test])
        nearest = nearest_labels(known.values, known.labels, values[test])
        figures[name] = {
            "linear": accuracy(scores.argmax(dim=1), labels[test]),
            "knn": accuracy(nearest, labels[test]),
        }
    return figures


def _single(store: Store) -> list[ClipDataset]:
    """Each person of a store on its own."""
    if store.persons == 1:
        return [SkeletonDataset(store)]
    return [_OneByOne(store, person) for person in range(store.persons)]


def _scripts(options: argparse.Namespace) -> ClipDataset:
    """9,800 sequences of the 16 scripted actions."""
    out = options.cache / f"scripts-{options.normalization}"
    if not out.exists():
        generate(
            out,
            sequences=9800,
            classes=16,
            subjects=40,
            views=5,
            skeleton=COMMON15,
            normalization=options.normalization,
            seed=1,
        )
    return SkeletonDataset(Store(out))


def _motion(options: argparse.Namespace) -> ClipDataset:
    sequences, form = options.batch * _STEPS, options.normalization
    return SyntheticMotion(sequences, seed=options.seed, normalization=form)


def _pairs(options: argparse.Namespace) -> ClipDataset:
    sequences, form = options.batch * _STEPS, options.normalization
    return SyntheticMotion(sequences, seed=options.seed, normalization=form, pairs=True)


class _Both(SyntheticMotion):
    """Unscripted motion, in which every other item is a sequence of a scripted action."""

    def __init__(self, scripts: ClipDataset, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._scripts = scripts

    def batch(self, indices: Sequence[int]) -> Batch:
        other = super().batch(indices)
        items = torch.tensor(indices)
        rows = torch.arange(len(items)) % 2 == 0
        acted = self._scripts.batch((items[rows] % len(self._scripts)).tolist())
        longest = max(other.clips.shape[2], acted.clips.shape[2])
        clips = other.clips.new_zeros(*other.clips.shape[:2], longest, *other.clips.shape[3:])
        clips[:, :, : other.clips.shape[2]] = other.clips
        clips[rows] = 0.0
        clips[rows, :, : acted.clips.shape[2]] = acted.clips
        lengths = other.lengths.clone()
        lengths[rows] = acted.lengths
        return Batch(clips, lengths, other.labels, other.indices)


def _both(options: argparse.Namespace) -> ClipDataset:
    arguments = {"seed": options.seed, "normalization": options.normalization}
    return _Both(_scripts(options), sequences=options.batch * _STEPS, **arguments)


DATA: dict[str, Callable[[argparse.Namespace], ClipDataset]] = {
    "untrained": _motion,
    "scripts": _scripts,
    "motion": _motion,
    "both": _both,
    "pairs": _pairs,
}


def _front(draws: Draws, _turned_round: Indices) -> Cameras:
    """One camera in front of the person."""
    one = np.zeros((len(draws), 1), np.float32)
    shift = np.stack([one, one, one + 3])
    return Cameras(rotation(one, one, one), one + 1, shift)


def _same_body(draws: Draws) -> Bodies:
    return draw_bodies(Draws(0, [0] * len(draws)))


WITHOUT: dict[str, tuple[Any, str, Any]] = {
    "cameras": (motion, "draw_cameras", _front),
    "bodies": (motion, "draw_bodies", _same_body),
    "sensors": (motion, "sense", lambda _draws, seen, *_: seen),
    "goals": (programme, "_draw_hands", lambda *_: None),
    "postures": (programme, "POSTURES", {name: (1.0, {}) for name in programme.POSTURES}),
    "oscillations": (programme, "_oscillate", lambda *_: 0.0),
}
"""Parts of the generator that can be taken out: where they are, and what takes their place."""


def train(what: str, options: argparse.Namespace) -> Pretrained:
    """Pretrain on one kind of data for the given number of steps."""
    small = get_preset("small")
    torch.manual_seed(options.seed)
    settings = replace(small.model, pairs=what.startswith("pairs"))
    model = settings.build(COMMON15, 1)
    steps = 0 if what == "untrained" else options.steps
    dataset = DATA[what.split(" without ", maxsplit=1)[0]](options)
    epochs = round(steps / (len(dataset) // options.batch))
    config = replace(
        small.train,
        batch_size=options.batch,
        epochs=epochs,
        drop_epoch=round(0.8 * epochs),
        knn_every=0,
        seed=options.seed,
        workers=options.workers,
    )
    patches = [WITHOUT[part] for part in what.split(" without ")[1:]]
    with ExitStack() as patched:
        for patch in patches:
            patched.enter_context(mock.patch.object(*patch))
        records = fit(model, dataset, config, quiet=True) if epochs else []
    if records:
        print({k: round(v, 3) for k, v in records[-1].items()}, file=sys.stderr)
    encoder = model.trained_encoder.eval()
    return Pretrained(encoder, COMMON15, model.stream, model.frames, options.normalization)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--on",
        nargs="+",
        default=list(DATA),
        help=f"what to learn on: {', '.join(DATA)}; motion and pairs also without a part, or "
        f'several, as in "motion without cameras without bodies": {", ".join(WITHOUT)}',
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of packed .npz files")
    parser.add_argument("--cache", type=Path, required=True, help="folder for prepared stores")
    parser.add_argument("--sets", nargs="+", choices=TRIALS | FINAL, help="by default all")
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch", type=int, default=128, help="sequences in a step")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0, help="processes that generate sequences")
    parser.add_argument("--normalization", choices=("center", "isc"), default="center")
    parser.add_argument("--final", action="store_true", help="judge on the true test parts")
    parser.add_argument("--name", default="shipped", help="name of the file of the figures")
    parser.add_argument("--encoders", type=Path, help="folder for the trained encoders")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()

    results: dict[str, Any] = {}
    for what in options.on:
        began = time.perf_counter()
        encoder = train(what, options)
        seconds = time.perf_counter() - began
        results[what] = {"seconds": seconds, "figures": judge(encoder, options)}
        if options.encoders:
            options.encoders.mkdir(parents=True, exist_ok=True)
            name = f"{options.name}-{what.replace(' ', '-')}.safetensors"
            save_encoder(options.encoders / name, encoder)
        print(describe(what, results[what]), flush=True)
        record(results, options)


def record(results: dict[str, Any], options: argparse.Namespace) -> None:
    """Write what was measured so far."""
    settings = ("steps", "batch", "seed", "normalization")
    parts = "test parts" if options.final else "held-out training subjects"
    result = {
        "benchmark": options.name,
        "command": f"python benchmarks/{' '.join([Path(__file__).name, *sys.argv[1:]])}",
        "parts": parts,
        **{name: getattr(options, name) for name in settings},
        "results": results,
        "environment": environment(),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{options.name}.json").write_text(json.dumps(result, indent=2) + "\n")


def describe(what: str, result: dict[str, Any]) -> str:
    """One line: linear / nearest neighbour in percent, and their means over the data sets."""
    by_file: dict[str, list[tuple[float, float]]] = {}
    for name, f in result["figures"].items():
        by_file.setdefault(name.partition(",")[0], []).append((f["linear"], f["knn"]))
    pairs = [np.mean(figures, axis=0) for figures in by_file.values()]
    cells = [
        f"{name} {100 * f['linear']:.1f}/{100 * f['knn']:.1f}"
        for name, f in result["figures"].items()
    ]
    linear, knn = (100 * np.mean(column) for column in zip(*pairs, strict=True))
    cells.append(f"MEAN {linear:.1f}/{knn:.1f}")
    return f"{what:<12} {'  '.join(cells)}  ({result['seconds']:.0f} s)"


if __name__ == "__main__":
    main()
