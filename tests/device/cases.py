"""What has to be the same on every device; ``python cases.py CASE ...`` checks it."""

from __future__ import annotations

import copy
import math
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from elsewhere import DEVICE, Elsewhere, register
from lightning_fabric import Fabric
from lightning_fabric.accelerators import CPUAccelerator
from lightning_fabric.strategies import SingleDeviceStrategy
from torch import nn

from pcm3.cli import main as command
from pcm3.data.dataset import SkeletonDataset
from pcm3.data.splits import split
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic import generate
from pcm3.encoders import Encoder, GRUEncoder, STGCNEncoder, TransformerEncoder
from pcm3.evaluation.evaluate import evaluate_runs
from pcm3.evaluation.features import extract_features
from pcm3.evaluation.neighbours import nearest_labels
from pcm3.evaluation.probes import ProbeSettings
from pcm3.evaluation.supervised import train
from pcm3.evaluation.tasks.detection.detection import DetectionSettings
from pcm3.evaluation.tasks.fewshot import FewShotSettings
from pcm3.evaluation.tasks.finetune import FinetuneSettings
from pcm3.evaluation.tasks.linear import LinearSettings
from pcm3.evaluation.tasks.prediction.prediction import PredictionSettings
from pcm3.evaluation.tasks.registry import TASKS
from pcm3.evaluation.tasks.semi import SemiSettings
from pcm3.hub import Pretrained, save_encoder
from pcm3.methods import (
    CMD,
    MAMP,
    MS2L,
    PCM3,
    AimCLR,
    AutoEncoder,
    Decorrelation,
    Displacement,
    LatentPrediction,
    Method,
)
from pcm3.methods.settings import TrainSettings
from pcm3.skeleton import NTU25
from pcm3.training import devices
from pcm3.training.trainer import fit

FRAMES = 12
POSITIVES = ("intra", "inter", "mask", "predict", "clip")
SHORT = {"epochs": 1, "batch_size": 8}
WINDOWS = {"observed": 6, "predicted": 5, "horizons": (1, 5), "hidden": 8}
SETTINGS = {
    "linear": [
        LinearSettings(),
        LinearSettings("pcm3", probe=ProbeSettings(epochs=2)),
        LinearSettings("mamp", probe=ProbeSettings(epochs=2)),
    ],
    "finetune": [
        FinetuneSettings(**SHORT),
        FinetuneSettings(**SHORT, layer_decay=0.8, drop_path=0.5),
    ],
    "semi": [SemiSettings(**SHORT, fractions=(0.5,), draws=2)],
    "fewshot": [FewShotSettings(ways=2, shots=(1,), queries=3, episodes=5)],
    "detection": [
        DetectionSettings(epochs=2),
        *(DetectionSettings(each, epochs=2) for each in ("pcm3", "survey")),
    ],
    "prediction": [PredictionSettings(**SHORT, **WINDOWS)],
}
"""The settings that each task is evaluated with, by default its own."""


def encoders() -> list[Encoder]:
    """One of each kind, small, for one person."""
    torch.manual_seed(0)
    return [
        GRUEncoder(NTU25, persons=1, hidden=8, layers=1),
        GRUEncoder(NTU25, persons=1, hidden=8, layers=2, direction="bidirectional"),
        STGCNEncoder(NTU25, persons=1, channels=4, layers=(1, 1), out_features=8),
        TransformerEncoder(NTU25, persons=1, frames=FRAMES, depth=1, width=16, heads=2),
    ]


def methods() -> list[Method]:
    """PCM3++ of each encoder, both kinds of MAMP, and the other methods."""
    small: dict[str, Any] = {"frames": FRAMES, "queue_size": 32, "decoder_hidden": 8}
    found: list[Method] = [PCM3(each, NTU25, positives=POSITIVES, **small) for each in encoders()]
    found += [PCM3(encoders()[0], NTU25, prompt_position="post_norm", stream="bone", **small)]
    for changes in ({}, {"target": "coordinates"}, {"stream": "motion", "skip_absent": True}):
        transformer = encoders()[-1]
        assert isinstance(transformer, TransformerEncoder)
        found.append(MAMP(transformer, NTU25, **changes))
    for number, encoder in enumerate(encoders()):
        has_maps = encoder.has_maps
        found.append(AimCLR(encoder, NTU25, frames=FRAMES, queue_size=32, drop=has_maps))
        loss = ("barlow", "vicreg")[number % 2]
        halves: dict[str, Any] = {"fastest": 0.25, "others": 0.42, "frames": FRAMES, "loss": loss}
        found.append(Decorrelation(encoders()[number], NTU25, expander=8, **halves))
    found.append(CMD(encoders()[0], NTU25, frames=FRAMES, queue_size=32, topk=8))
    found += [Displacement(each, NTU25, frames=FRAMES, mask_ratio=0.4) for each in encoders()]
    found += [MS2L(each, NTU25, frames=FRAMES, decoder_hidden=8) for each in encoders()[:3]]
    for mode in ("fixed_state", "fixed_weights"):
        found += [AutoEncoder(encoders()[0], NTU25, frames=FRAMES, decoder=mode, view_weight=0.5)]
    for masking in ("tube", "motion"):
        transformer = encoders()[-1]
        assert isinstance(transformer, TransformerEncoder)
        options: dict[str, Any] = {"masking": masking, "top_blocks": 1, "mask_ratio": 0.6}
        found.append(LatentPrediction(transformer, NTU25, **options))
    return found


def same(found: Any, expected: Any, what: object) -> None:
    """Require figures to be equal but for rounding, whatever they are in."""
    if isinstance(expected, dict):
        assert found.keys() == expected.keys(), (what, found.keys(), expected.keys())
        for name, each in expected.items():
            same(found[name], each, f"{what}: {name}")
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected), what
        for index, each in enumerate(expected):
            same(found[index], each, f"{what}: {index}")
    elif isinstance(expected, float):
        assert math.isclose(found, expected, rel_tol=1e-3, abs_tol=1e-6), (what, found, expected)
    else:
        assert found == expected, (what, found, expected)


def check_device() -> None:
    """The device finds the faults that it is there for."""

    def refused(use: Callable[[], Any]) -> None:
        try:
            use()
        except (RuntimeError, TypeError):
            return
        raise AssertionError("not refused")

    here = torch.randn(3, 4)
    with Elsewhere():
        away = here.to(DEVICE)
        assert away.device == DEVICE
        assert Elsewhere.waits == 0
        assert torch.equal((away @ away.T).cpu(), here @ here.T)
        assert Elsewhere.waits == 1
        assert bool((away > -100).all())
        assert Elsewhere.waits == 2
        refused(lambda: away + here)
        refused(lambda: torch.cat([away, here]))
        refused(away.numpy)
        refused(lambda: torch.rand(3, device=DEVICE, generator=torch.Generator()))
        refused(lambda: torch.rand(3, generator=torch.Generator(DEVICE)))


def check_steps() -> None:
    """Losses and gradients are those of the CPU, and the host does not wait for any value."""
    for number, model in enumerate(methods()):
        twin = copy.deepcopy(model)
        clips, lengths = torch.randn(4, 3, 30, 25, 1), torch.tensor([30, 12, 25, 8])
        clips[1, ..., 0] = 0  # absent
        for _ in range(2):
            expected = twin(clips, lengths, torch.Generator().manual_seed(1))
            expected.total.backward()
        with Elsewhere():
            model.to(DEVICE)
            there, its = clips.to(DEVICE), lengths.to(DEVICE)
            generator = torch.Generator(DEVICE)
            for _ in range(2):
                found = model(there, its, generator.manual_seed(1))
                found.total.backward()
            skips = isinstance(model, MAMP) and model.skip_absent  # has to know how many
            assert Elsewhere.waits == (2 if skips else 0), (number, Elsewhere.waits)
            for name, term in expected.terms.items():
                torch.testing.assert_close(found.terms[name].cpu(), term)
            pairs = zip(model.named_parameters(), twin.parameters(), strict=True)
            for (name, parameter), its_twin in pairs:
                assert (parameter.grad is None) == (its_twin.grad is None), (number, name)
                if its_twin.grad is not None:
                    assert parameter.grad is not None
                    gradient = parameter.grad.cpu()
                    # before the norm, which subtracts them, prompts have gradients of rounding
                    beyond = 1e-4 if "domain_prompts" in name else 1e-5
                    torch.testing.assert_close(gradient, its_twin.grad, rtol=1e-3, atol=beyond)


def check_training() -> None:
    """Epochs, nearest-neighbour checks in between among them, are those of the CPU."""
    dataset = SkeletonDataset(store(24))
    halves = [SkeletonDataset(dataset.store, part) for part in split(dataset.store, "xsub")]

    def nearest(model: Method) -> dict[str, float]:
        view = Pretrained(model.trained_encoder, NTU25, "joint", FRAMES)
        known, asked = (extract_features(view, half) for half in halves)
        nearest = nearest_labels(known.values, known.labels, asked.values)
        return {"knn": float((nearest == asked.labels).float().mean())}

    # a model that moves keeps its parameters, which the optimiser has, as on the way to a GPU
    torch.__future__.set_swap_module_params_on_conversion(True)
    config = TrainSettings(
        epochs=2, batch_size=8, accumulate=2, knn_every=1, clip_norm=1.0, accelerator="cpu"
    )
    for model, twin in list(zip(methods(), methods(), strict=True))[::3]:
        expected = fit(twin, dataset, config, monitor=nearest, quiet=True)
        with Elsewhere():
            devices.Fabric = _fabric  # type: ignore[assignment,misc]
            found = fit(model, dataset, config, monitor=nearest, quiet=True)
            devices.Fabric = Fabric  # type: ignore[misc]
            assert next(model.parameters()).device == DEVICE
        for each in (*found, *expected):
            each.pop("samples_per_second")
        same(found, expected, type(model.encoder).__name__)


def check_waits() -> None:
    """The host waits for the device as often in an epoch of many steps as in one of few."""
    dataset = SkeletonDataset(store(24))
    for number in (1, 6):
        waits = []
        for batch_size in (4, 12):
            config = TrainSettings(epochs=1, batch_size=batch_size, clip_norm=1.0)
            with Elsewhere():
                devices.Fabric = _fabric  # type: ignore[assignment,misc]
                fit(methods()[number], dataset, config, quiet=True)
                devices.Fabric = Fabric  # type: ignore[misc]
                waits.append(Elsewhere.waits)
        assert waits[0] == waits[1], waits
    with Elsewhere():
        waits = []
        for size in (2, 8):
            before, layer = Elsewhere.waits, nn.Linear(4, 2).to(DEVICE)
            optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
            batches = torch.randn(16, 4).to(DEVICE).split(size)
            epoch = (batches, lambda rows, layer=layer: layer(rows).square().mean())
            train("probe", optimizer, 2, lambda epoch=epoch: epoch, lambda _: 1.0, clip_norm=1.0)
            waits.append(Elsewhere.waits - before)
        assert waits[0] == waits[1] > 0, waits
    for encoder in encoders()[:4:3]:
        view = Pretrained(encoder, NTU25, "joint", FRAMES)
        with Elsewhere():
            encoder.to(DEVICE)
            waits = [0]
            for batch_size in (3, 12):
                extract_features(view, dataset, batch_size)
                waits.append(Elsewhere.waits)
            assert 2 * waits[1] == waits[2] > 0, waits


def _fabric(**arguments: Any) -> Fabric:
    """A Fabric of the device, which Lightning does not know."""
    strategy = SingleDeviceStrategy(DEVICE, accelerator=_Accelerator())
    return Fabric(**{**arguments, "accelerator": "auto", "strategy": strategy})


class _Accelerator(CPUAccelerator):
    def setup_device(self, device: torch.device) -> None:
        assert device == DEVICE


def check_tasks() -> None:
    """Every task of the first encoder and of the last, and the training of all of them."""
    compare_tasks(lambda number, task: number in (0, 3) or task == "finetune")


def check_all_tasks() -> None:
    """Every task of every encoder."""
    compare_tasks(lambda *_: True)


def compare_tasks(chosen: Callable[[int, str], bool]) -> None:
    """Require the tasks chosen by encoder and name to give the figures of the CPU."""
    trimmed, untrimmed, folder = store(36), untrimmed_store(), Path(tempfile.mkdtemp())
    for number, encoder in enumerate(encoders()):
        file = folder / f"{number}.safetensors"
        save_encoder(file, Pretrained(encoder, NTU25, "joint", FRAMES))
        for task, declared in TASKS.items():
            data = untrimmed if declared.needs == "frame labels" else trimmed
            for settings in SETTINGS.get(task, [None]) if chosen(number, task) else []:
                what = f"{task} of {type(encoder).__name__}"
                if getattr(settings, "layer_decay", None) and number < 3:
                    continue  # the transformer alone has it
                arguments = (task, [file], data, "subjects:1,3", settings)
                expected = evaluate_runs(*arguments)
                assert expected.device == "cpu"
                with Elsewhere():
                    found = evaluate_runs(*arguments)
                    assert found.device == "elsewhere"
                    assert Elsewhere.waits > 0, what
                same(found.metrics, expected.metrics, what)
    check_features(file, trimmed)


def check_features(file: Path, data: Store) -> None:
    """The command computes there where it is told so."""
    rows = []
    for accelerator in ("cpu", "elsewhere"):
        out = file.with_name(f"{accelerator}.npz")
        arguments = ["features", "--run", str(file), "--data", str(data.path), "--out", str(out)]
        with Elsewhere():
            assert command([*arguments, "--accelerator", accelerator]) == 0
            assert (Elsewhere.waits > 0) == (accelerator == "elsewhere")
        rows.append(np.load(out)["features"])
    np.testing.assert_allclose(rows[1], rows[0], rtol=1e-4, atol=1e-6)


def store(sequences: int) -> Store:
    """Recordings of three actions."""
    folder = Path(tempfile.mkdtemp())
    return generate(folder / "store", sequences=sequences, classes=3, subjects=4, frames=(14, 24))


def untrimmed_store() -> Store:
    """Recordings with several actions each."""
    random, folder = np.random.default_rng(0), Path(tempfile.mkdtemp())
    labels = np.repeat([-1, 0, -1, 1, -1], (5, 15, 8, 20, 2))
    segments = np.array([[5, 20, 0], [28, 48, 1]])
    with StoreWriter(folder / "store", NTU25, class_names=["a", "b"]) as writer:
        for number in range(8):
            frames = random.normal(size=(len(labels), 1, 25, 3)) + labels[:, None, None, None]
            subject = {"subjects": 1 + number % 4}
            writer.add(frames, name=str(number), frame_labels=labels, segments=segments, **subject)
    return Store(folder / "store")


CASES: dict[str, Callable[[], None]] = {
    "device": check_device,
    "steps": check_steps,
    "tasks": check_tasks,
    "all tasks": check_all_tasks,
    "waits": check_waits,
    "training": check_training,  # which changes how models move, and so comes last
}


if __name__ == "__main__":
    torch.set_num_threads(1)
    register()
    for name in sys.argv[1:]:
        try:
            CASES[name]()
            print(f"{name}: holds", flush=True)
        except Exception:
            traceback.print_exc()
