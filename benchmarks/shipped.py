"""What an encoder that never saw a recording is worth on real ones.

Pretrains `small` (in the body form, 30 frames a second) for a number of steps, and prints the
accuracy, on features of real recordings, of a logistic regression, of the nearest neighbour, and of
a logistic regression on 5 labels of each class, the mean of five draws. Every choice is made with
held-out *training* subjects (views, styles) of the data sets; `--final` uses the true test parts,
and chooses nothing. `own` learns on the training part of each set without its labels, `pool` on
those of all sets together; `continued` is `own` that begins with the shipped encoder. `--flat`
leaves out the depth of all recordings; its figures have files of their own.

    python benchmarks/shipped.py --data FOLDER --cache FOLDER --on untrained scripts motion pairs
    python benchmarks/shipped.py --data FOLDER --cache FOLDER --on shipped own pool --final
"""

from __future__ import annotations

import argparse
import json
import shlex
import statistics
import sys
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
from open_data import open_store
from spread import averaged

from pcm3.data import generate
from pcm3.data.body import BODY
from pcm3.data.dataset import ClipDataset, SkeletonDataset
from pcm3.data.hybrid import HybridDataset
from pcm3.data.store import Store
from pcm3.data.synthetic.motion import SyntheticMotion, motion, programme
from pcm3.data.synthetic.motion.body import Bodies, draw_bodies
from pcm3.data.synthetic.motion.draws import Draws
from pcm3.data.synthetic.motion.kinematics import Floats, rotation
from pcm3.data.synthetic.motion.sensor import Cameras
from pcm3.encoders.files import Pretrained, load_encoder, load_pretrained, save_encoder
from pcm3.evaluation.features import Features, dataset_for, extract_features
from pcm3.evaluation.metrics import accuracy
from pcm3.evaluation.neighbours import nearest_labels
from pcm3.evaluation.probes import fit_logistic
from pcm3.methods.catalog import get_preset
from pcm3.skeleton import COMMON15
from pcm3.training.trainer import fit

Indices = np.ndarray
Figures = dict[str, dict[str, float]]
_STEPS = 100  # in an epoch
_PERSONS = 2
_FEW, _DRAWS = 5, 5


class Parts(NamedTuple):
    """Sequences of known subjects, those of them that are labelled, and those to recognise."""

    known: Indices
    training: Indices
    test: Indices


@dataclass(frozen=True)
class Trial:
    """How a data set is divided, for choices and for the final figure.

    Attributes:
        file: Name of the packed file.
        column: Column of the store by which it is divided.
        training: Values of the column in the official training part.
        chosen: Those of them that are labelled when something is chosen.
        labels: Share of the labels that is used.
    """

    file: str
    column: str
    training: tuple[int, ...]
    chosen: tuple[int, ...] = ()
    labels: float = 1.0

    def official(self, store: Store) -> Indices:
        """All sequences of the official training part."""
        return np.flatnonzero(np.isin(store.columns[self.column], self.training))

    def parts(self, store: Store, final: bool) -> Parts:
        """Divide the sequences of a store."""
        values = store.columns[self.column]
        inside = np.isin(values, self.training)
        labelled = inside if final else np.isin(values, self.chosen)
        test = ~inside if final else inside & ~labelled
        training = known = np.flatnonzero(labelled)
        if self.labels < 1:
            training = _stratified(known, store.labels, self.labels)
        return Parts(known, training, _new(store, known, np.flatnonzero(test)))


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
}
FINAL = TRIALS | {
    f"sbu, fold {fold}": Trial(
        "sbu_interaction", "fold", tuple(f for f in range(1, 6) if f != fold)
    )
    for fold in range(1, 6)
}
"""With the data set whose every sequence is in a test part."""
FLAT = {"penn": Trial("penn_action", "train", (1,))}
"""Data sets of 2D recordings, for the final figure."""
UNTRIMMED = {"precog": Trial("precog2016", "subjects", _ODD)}
"""Data sets for shipped_tasks.py, with `--encoders` and `--sets`: encoders are only kept."""


def _stratified(training: Indices, labels: Indices, share: float, seed: int = 0) -> Indices:
    """Keep a share of the sequences of each class, or a number above 1; at least one."""
    order = np.random.default_rng(seed).permutation(training)
    kept = []
    for label in np.unique(labels[order]):
        own = order[labels[order] == label]
        kept.append(own[: int(share) if share > 1 else max(1, round(share * len(own)))])
    return np.sort(np.concatenate(kept))


def _new(store: Store, training: Indices, test: Indices) -> Indices:
    """Leave out test recordings that are bit-identical to a training recording."""
    known = {store.sequence(int(index)).tobytes() for index in training}
    return np.array([i for i in test if store.sequence(int(i)).tobytes() not in known])


def judge(encoder_of: Callable[[Trial], Pretrained], options: argparse.Namespace) -> Figures:
    """Accuracy on each data set, of the encoder that a trial is judged with."""
    figures: Figures = {}
    features: dict[tuple[str, int], Features] = {}
    trials = FINAL if options.final else TRIALS
    if options.final and options.flat:
        trials = trials | FLAT
    for name in options.sets or trials:
        trial = (trials | UNTRIMMED)[name]
        store, encoder = _store(trial.file, options), encoder_of(trial)
        if name in UNTRIMMED:
            continue
        key = trial.file, id(encoder)
        if key not in features:
            everything = dataset_for(encoder, store, np.arange(len(store)))
            features = {key: extract_features(encoder, everything)}
        values, labels = features[key]
        parts = trial.parts(store, options.final)
        figures[name] = _accuracies(values, labels, parts, len(store.class_names))
    return figures


def _accuracies(
    values: torch.Tensor, labels: torch.Tensor, parts: Parts, classes: int
) -> dict[str, float]:
    known, training, test = parts

    def linear(labelled: Indices) -> float:
        probe = fit_logistic(Features(values[labelled], labels[labelled]), classes)
        return accuracy(probe(values[test]).argmax(dim=1), labels[test])

    nearest = nearest_labels(values[training], labels[training], values[test])
    few = [linear(_stratified(known, labels.numpy(), _FEW, seed)) for seed in range(_DRAWS)]
    return {
        "linear": linear(training),
        "knn": accuracy(nearest, labels[test]),
        "five": statistics.mean(few),
    }


def _store(file: str, options: argparse.Namespace) -> Store:
    return open_store(file, options.data, options.cache, flat=options.flat)


def _scripts(options: argparse.Namespace) -> ClipDataset:
    """9,800 sequences of the 16 scripted actions."""
    out = options.cache / "scripts"
    if not out.exists():
        generate(out, sequences=9800, classes=16, subjects=40, views=5, skeleton=COMMON15, seed=1)
    return _in_body_form(Store(out))


def _in_body_form(store: Store, indices: Indices | None = None) -> SkeletonDataset:
    return SkeletonDataset(
        store, indices, persons=_PERSONS, skeleton=COMMON15, normalization=BODY, window=300
    )


def _motion(options: argparse.Namespace, pairs: bool = False) -> SyntheticMotion:
    return SyntheticMotion(
        options.batch * _STEPS,
        persons=_PERSONS,
        seed=options.seed,
        normalization=BODY,
        pairs=pairs,
    )


def _pairs(options: argparse.Namespace) -> ClipDataset:
    return _motion(options, pairs=True)


class _Seen(SyntheticMotion):
    """Motion as it is seen in pictures: each sequence, or every second one, has no depth."""

    every = 1

    def _generate(self, numbers: Sequence[int], lengths: Indices, look: int) -> Floats:
        frames = super()._generate(numbers, lengths, look)
        flat = np.asarray(numbers) % self.every == 0
        frames[flat, ..., :2] /= np.maximum(frames[flat, ..., 2:], _NEAREST)
        frames[flat, ..., 2] = 0.0
        return frames


_NEAREST = 0.5
"""Metres from the camera; joints that are nearer are not enlarged further."""


def _flat(options: argparse.Namespace, every: int = 1) -> ClipDataset:
    motion = _Seen(options.batch * _STEPS, persons=_PERSONS, seed=options.seed, normalization=BODY)
    motion.every = every
    return motion


def _both(options: argparse.Namespace) -> ClipDataset:
    return _flat(options, every=2)


def _own(options: argparse.Namespace, trial: Trial) -> ClipDataset:
    """The training part of a data set."""
    store = _store(trial.file, options)
    return HybridDataset([_in_body_form(store, trial.official(store))])


def _pool(options: argparse.Namespace) -> ClipDataset:
    """The training parts of all data sets but that whose every sequence is tested, and one more."""
    trials = {trial.file: trial for trial in TRIALS.values()}
    stores = {file: _store(file, options) for file in (*trials, _UNTESTED)}
    return HybridDataset(
        [
            _in_body_form(store, trials[file].official(store) if file in trials else None)
            for file, store in stores.items()
        ]
    )


_UNTESTED = "gtu_action3d"
CONTRASTIVE = "small-contrastive"
"""`small` without its masked part, in place of a preset."""
_EACH = ("own", "continued")  # an encoder for each data set
_REAL = (*_EACH, "pool")  # on real recordings
_2D = "_2d"


DATA: dict[str, Callable[[argparse.Namespace], ClipDataset]] = {
    "untrained": _motion,
    "scripts": _scripts,
    "motion": _motion,
    "pairs": _pairs,
    "flat": _flat,
    "both": _both,
    "pool": _pool,
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


def train(
    dataset: ClipDataset,
    steps: int,
    options: argparse.Namespace,
    start: Pretrained | None = None,
) -> Pretrained:
    """Pretrain for a number of steps, from new weights or from those of an encoder."""
    preset = get_preset("small" if options.preset == CONTRASTIVE else options.preset)
    changes: dict[str, Any] = {"pairs": True} if dataset.pairs else {}
    if options.preset == CONTRASTIVE:
        changes |= {"positives": ("intra", "inter"), "mask_weight": 0.0}
    if options.mild and hasattr(preset.model, "crop_scale"):
        changes |= {"crop_scale": (0.8, 1.0), "shear": 0.2}
    torch.manual_seed(options.seed)
    model = replace(preset.model, **changes).build(COMMON15, _PERSONS)
    if start is not None:
        model = type(model)(start.encoder.train(), COMMON15, model.settings)
    batch = min(options.batch, len(dataset))
    epochs = round(steps / (len(dataset) // batch))
    train = preset.train.scaled_to(max(1, epochs))
    train = replace(train, batch_size=batch, knn_every=0, seed=options.seed)
    train = replace(train, workers=options.workers)
    if steps:
        records = fit(model, dataset, train, quiet=True)
        print({k: round(v, 3) for k, v in records[-1].items()}, file=sys.stderr)
    encoder = model.trained_encoder.eval()
    return Pretrained(encoder, COMMON15, model.stream, model.frames, BODY, "body lengths")


def measure(what: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train on one kind of data, and judge the encoder.

    The CPU time of training is None if a trained encoder was used again.
    """
    trained: dict[str, Pretrained] = {}
    seconds: list[float] = []

    def encoder_of(trial: Trial) -> Pretrained:
        own = f" {trial.file} {trial.column} {trial.training}" if what in _EACH else ""
        name = what + own
        if name not in trained:
            prefix = options.name + _2D * (options.flat and what in _REAL)
            kept = f"{prefix} {name} {options.steps} {options.seed}".replace(" ", "-")
            encoder = options.encoders / f"{kept}.safetensors" if options.encoders else None
            if encoder and encoder.exists():
                trained[name] = load_encoder(encoder)
                return trained[name]
            began = time.process_time()
            if what == "shipped":
                trained[name] = load_pretrained()
            elif own:
                start = load_pretrained() if what == "continued" else None
                trained[name] = train(_own(options, trial), options.steps, options, start)
            else:
                trained[name] = _train(what, options)
            seconds.append(time.process_time() - began)
            if encoder:
                options.encoders.mkdir(parents=True, exist_ok=True)
                save_encoder(encoder, trained[name])
        return trained[name]

    figures = judge(encoder_of, options)
    spent = sum(seconds) if len(seconds) == len(trained) else None
    return {"seed": options.seed, "cpu_seconds": spent, "figures": figures}


def _train(what: str, options: argparse.Namespace) -> Pretrained:
    kind, *parts = what.split(" without ")
    with ExitStack() as patched:
        for part in parts:
            patched.enter_context(mock.patch.object(*WITHOUT[part]))
        return train(DATA[kind](options), 0 if kind == "untrained" else options.steps, options)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "--on",
        nargs="+",
        default=list(DATA),
        help=f"what to learn on: {', '.join(DATA)}, own, continued, shipped; motion and pairs "
        f'also without a part, as in "motion without cameras": {", ".join(WITHOUT)}; flat is '
        "motion seen in 2D, of both every second sequence is",
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of packed .npz files")
    parser.add_argument("--cache", type=Path, required=True, help="folder for prepared stores")
    parser.add_argument("--flat", action="store_true", help="leave out the depth of recordings")
    parser.add_argument(
        "--sets", nargs="+", choices=FINAL | FLAT | UNTRIMMED, help="by default all"
    )
    parser.add_argument("--preset", default="small")
    parser.add_argument("--mild", action="store_true", help="crop and shear as the shipped encoder")
    parser.add_argument("--steps", type=int, default=1200)
    parser.add_argument("--batch", type=int, default=64, help="sequences in a step")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--workers", type=int, default=0, help="processes that generate sequences")
    parser.add_argument("--final", action="store_true", help="judge on the true test parts")
    parser.add_argument("--name", default="shipped", help="name of the file of the figures")
    parser.add_argument(
        "--encoders", type=Path, help="folder of trained encoders; those in it are used again"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()

    file = options.out / f"{options.name}{_2D * options.flat}.json"
    results = json.loads(file.read_text())["results"] if file.exists() else []
    for what in options.on:
        for seed in options.seeds:
            now = argparse.Namespace(**vars(options), seed=seed)
            measured = measure(what, now)
            if not measured["figures"]:
                continue
            row = {"what": what, "preset": options.preset, "mild": options.mild}
            row |= {"steps": options.steps, "batch": options.batch, **measured}
            row |= {"command": _command(), "environment": environment()}
            same = ("what", "preset", "mild", "steps", "batch", "seed")
            results = [r for r in results if any(r[key] != row[key] for key in same)]
            results.append(row)
            print(describe(row), flush=True)
            record(results, file, options.final)


def _command() -> str:
    """The command as typed, less the folders of this machine."""
    words = [word if not Path(word).is_absolute() else "FOLDER" for word in sys.argv[1:]]
    return f"python benchmarks/{shlex.join([Path(__file__).name, *words])}"


def record(results: Sequence[dict[str, Any]], file: Path, final: bool) -> None:
    """Write what was measured so far, beside what was measured earlier."""
    parts = "test parts" if final else "held-out training subjects"
    result = {"benchmark": file.stem, "parts": parts, "results": results}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=2) + "\n")


def means(figures: Figures) -> dict[str, float]:
    """Mean of each figure over the data sets; parts and folds of one count together."""
    sets = averaged(figures).values()
    return {kind: statistics.mean(each[kind] for each in sets) for kind in next(iter(sets))}


def describe(row: dict[str, Any]) -> str:
    """One line: linear / nearest neighbour / five labels in percent, and their means."""
    cells = [
        f"{name} {'/'.join(f'{100 * value:.1f}' for value in figures.values())}"
        for name, figures in [*row["figures"].items(), ("MEAN", means(row["figures"]))]
    ]
    return f"{row['what']:<12} {'  '.join(cells)}"


if __name__ == "__main__":
    main()
