"""The demo: answers of the encoder that comes with the package, then pretraining, in minutes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pcm3.checks import check_at_least, check_seed
from pcm3.data.dataset import SkeletonDataset
from pcm3.data.splits import split
from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.encoders.files import PRETRAINED, Pretrained, load_encoder, load_pretrained
from pcm3.errors import explain_missing
from pcm3.evaluation.features import dataset_for
from pcm3.evaluation.tasks.knn import evaluate_knn
from pcm3.evaluation.tasks.linear import evaluate_linear
from pcm3.inference.fit import fit_classifier
from pcm3.methods.catalog import RunSettings, get_preset
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.runs.folder import Run
from pcm3.terminal import tell
from pcm3.training.pretrain import pretrain
from pcm3.viz import loss_curves, reconstruction_figure, save

with explain_missing():
    from rich.console import Console
    from rich.table import Table

_FEW = 60  # epochs
_SHOWN = 6  # recordings


def demo(out: Path, epochs: int, seed: int = 0) -> dict[str, Any]:
    """Label synthetic recordings without training, then pretrain on them and compare encoders.

    Args:
        out: Folder for store, runs and pictures. Existing runs in it are continued.
        epochs: Pretraining epochs of each method.
        seed: Random seed of data and training.

    Returns:
        For each encoder, its ``linear`` and ``knn`` accuracy on unseen subjects.
    """
    check_seed(seed)
    check_at_least("epochs", epochs, 1)
    data = out / "store"
    store = Store(data) if data.exists() else generate(data, seed=seed)
    shipped = load_pretrained()
    _answer(shipped, store)
    results: dict[str, Any] = {"shipped with pcm3": _evaluate(shipped, store)}
    small = get_preset("small")
    model = small.model
    assert isinstance(model, PCM3Settings)
    model = replace(model, queue_size=1024)
    full = RunSettings(
        model=model,
        train=replace(
            small.train, epochs=epochs, drop_epoch=round(0.8 * epochs), seed=seed, knn_every=0
        ),
    )
    shorter = replace(full.train.scaled_to(max(1, epochs // 2)), lr=full.train.lr / 2)
    gentle = replace(model, crop_scale=(0.8, 1.0), shear=0.2)  # as the shipped encoder was trained
    methods: dict[str, tuple[RunSettings, str | None]] = {
        "untrained encoder": (replace(full, train=replace(full.train, epochs=0)), None),
        "PCM3": (full, None),
        "shipped, then PCM3": (RunSettings(gentle, shorter, any_layout=True), PRETRAINED),
    }
    for name, (config, start) in methods.items():
        run = out / name.replace(",", "").replace(" ", "-").lower()
        pretrain(config, store, run, start=start)
        results[name] = _evaluate(load_encoder(run), store)
    _print_table(results, len(store.class_names))
    if epochs < _FEW:
        tell(
            f"After {epochs} epochs, fewer than the default, an untrained encoder may still be as "
            "good. Losses rise at first, while the queue fills with keys of other sequences."
        )
    pictures = [
        save(loss_curves(Run(out / "pcm3").read_metrics()), out / "loss-curves.png"),
        _draw_prediction(model, store, out / "pcm3", out / "masked-prediction.png"),
    ]
    tell("pictures: " + ", ".join(str(picture) for picture in pictures))
    return results


def _answer(encoder: Pretrained, store: Store) -> None:
    """Label a few recordings of unseen subjects with an encoder that is not trained here."""
    train, test = split(store, "xsub")
    some = test[:: len(test) // _SHOWN + 1]
    classifier = fit_classifier(encoder, store, train)
    probabilities = classifier.predict_proba(dataset_for(encoder, store, some))
    tell("Labels for unseen subjects, by the encoder that comes with pcm3, which saw none of this:")
    for index, row in zip(some, probabilities, strict=True):
        truth = store.class_names[store.labels[index]]
        name, sure = classifier.name(row), f"{row.max():.0%}"
        tell(f"  sequence {index:<6} {name:<18} {sure:>4}   it is: {truth}")


def _evaluate(encoder: Pretrained, store: Store) -> dict[str, float]:
    train, test = (dataset_for(encoder, store, indices) for indices in split(store, "xsub"))
    return {
        "linear": evaluate_linear(encoder, train, test)["top1"],
        "knn": evaluate_knn(encoder, train, test)["top1"],
    }


def _print_table(results: dict[str, Any], classes: int) -> None:
    table = Table(title=f"Synthetic actions, {classes} classes, unseen subjects: top-1 accuracy")
    table.add_column("encoder")
    for column in ("linear probe", "nearest neighbour"):
        table.add_column(column, justify="right")
    for name, accuracy in results.items():
        table.add_row(name, f"{accuracy['linear']:.1%}", f"{accuracy['knn']:.1%}")
    Console().print(table)


@torch.no_grad()
def _draw_prediction(config: PCM3Settings, store: Store, run: Path, file: Path) -> Path:
    """Draw the input and the prediction of the trained model for test sequences."""
    model = config.build(store.skeleton, store.persons)
    checkpoint = Run(run).load_checkpoint()
    assert checkpoint is not None
    model.load_state_dict(checkpoint["model"])
    test = SkeletonDataset(store, split(store, "xsub")[1])
    batch = test.batch(range(0, len(test), max(len(test) // 16, 1)))
    views = model.train().make_views(
        batch.clips, batch.lengths, generator=torch.Generator().manual_seed(0)
    )
    prediction = model.eval().loss(views).prediction
    assert prediction is not None
    source, mask = views.hidden
    figure = reconstruction_figure(source, views.masked, prediction, mask, store.skeleton)
    return save(figure, file)
