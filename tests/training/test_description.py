"""What a run records of a model that was built in Python, and what a report makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytest
from torch import Tensor
from written_results import result, table_of, write_run

from pcm3 import PCM3
from pcm3.augment import GaussianNoise, Shear
from pcm3.data.dataset import SkeletonDataset
from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.encoders import GRUEncoder
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.report.entries import read_entries
from pcm3.report.page import write_report
from pcm3.report.table import run_table

SIZES: dict[str, Any] = {"queue_size": 8, "decoder_hidden": 4, "embedding": 4, "frames": 8}
TRAIN: dict[str, Any] = {"epochs": 0, "batch_size": 4, "quiet": True}


@dataclass(frozen=True)
class ScaledSettings(PCM3Settings):
    """What Scaled trains."""

    scale: float = 1.0
    """Factor of the loss."""


class Scaled(PCM3):
    """A method with a setting, and an argument that is none."""

    Settings = ScaledSettings

    def __init__(self, *given: Any, power: int = 1, **changes: Any) -> None:
        super().__init__(*given, **changes)
        self.power = power


class Forgets(PCM3):
    """A method that does not keep an argument."""

    def __init__(self, *given: Any, power: int = 1, **changes: Any) -> None:
        super().__init__(*given, **changes)


class Silent:
    """A transform without a repr of its own."""

    def __call__(self, clips: Tensor, lengths: Any = None, generator: Any = None) -> Tensor:
        return clips


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return generate(
        tmp_path_factory.mktemp("data") / "store",
        sequences=8,
        classes=2,
        subjects=4,
        views=1,
        frames=(10, 12),
    )


def build(store: Store, kind: type[PCM3] = PCM3, pool: str = "mean", **changes: Any) -> PCM3:
    encoder = GRUEncoder(store.skeleton, persons=1, hidden=4, layers=1, pool=pool)  # type: ignore[arg-type]
    return kind(encoder, store.skeleton, **SIZES, **changes)


def train(store: Store, out: Path, model: PCM3, seed: int) -> Path:
    model.fit(SkeletonDataset(store), out, seed=seed, **TRAIN)
    (out / "results").mkdir()
    (out / "results" / "linear.json").write_text(
        json.dumps(result("linear", {"top1": 0.5 + seed / 10}, out.name))
    )
    return out


def columns(*runs: Path) -> list[str]:
    by_run = {entry.run: entry.column for entry in read_entries(runs).entries}
    return [by_run[run.name] for run in runs]


def test_the_settings_are_recorded_except_those_of_an_encoder_built_apart(
    store: Store, tmp_path: Path
) -> None:
    model = build(store, Scaled, scale=2.0, mask_weight=3.0)
    config = json.loads((train(store, tmp_path / "a", model, 0) / "config.json").read_text())
    recorded = config["model"]
    for name, value in asdict(model.settings).items():
        if name not in model.settings.of_encoder():
            assert recorded[name] == (list(value) if isinstance(value, tuple) else value), name
    assert (recorded["scale"], recorded["mask_weight"]) == (2.0, 3.0)
    assert (recorded["hidden"], recorded["layers"], recorded["pool"]) == (4, 1, "mean")
    assert recorded["encoder"] == "GRUEncoder"
    assert recorded["name"] == f"{__name__}:Scaled"
    assert config["parts"]["spatial"] == repr(model.spatial)
    assert config["parts"]["power"] == "1"
    assert config["train"]["epochs"] == 0


@pytest.mark.parametrize(
    ("first", "second", "together"),
    [
        ({}, {}, True),
        ({"mask_weight": 40.0}, {"mask_weight": 40.0}, True),
        ({"mask_weight": 40.0}, {"mask_weight": 1.0}, False),
        ({"pool": "mean"}, {"pool": "last"}, False),
        ({"spatial": Shear(0.5)}, {"spatial": Shear(0.5)}, True),
        ({"spatial": Shear(0.5)}, {"spatial": GaussianNoise()}, False),
        ({"spatial": Silent()}, {"spatial": Silent()}, False),
        ({"kind": Scaled, "power": 2}, {"kind": Scaled, "power": 2}, True),
        ({"kind": Scaled, "power": 2}, {"kind": Scaled, "power": 3}, False),
        ({"kind": Scaled, "scale": 2.0}, {"kind": Scaled, "scale": 3.0}, False),
        ({"kind": Forgets}, {"kind": Forgets}, False),
    ],
)
def test_only_runs_that_differ_in_the_seed_are_seeds(
    store: Store, tmp_path: Path, first: dict[str, Any], second: dict[str, Any], together: bool
) -> None:
    runs = [
        train(store, tmp_path / f"run-{seed}", build(store, **changes), seed)
        for seed, changes in enumerate((first, second))
    ]
    assert len(set(columns(*runs))) == (1 if together else 2)


def older(run: Path) -> None:
    """Make the settings those that earlier versions recorded."""
    config = json.loads((run / "config.json").read_text())
    known = ("method", "encoder", "parameters", "stream", "frames")
    config["model"] = {name: config["model"][name] for name in known}
    del config["parts"]
    (run / "config.json").write_text(json.dumps(config))


def test_runs_of_unknown_settings_are_never_seeds_but_go_on(store: Store, tmp_path: Path) -> None:
    runs = [train(store, tmp_path / f"run-{seed}", build(store), seed) for seed in (0, 1)]
    assert len(set(columns(*runs))) == 1
    for run in runs:
        older(run)
        (run / "checkpoint.pt").unlink(missing_ok=True)
    assert columns(*runs) == ["run-0", "run-1"]
    build(store, mask_weight=7.0).fit(SkeletonDataset(store), runs[0], seed=0, **TRAIN)
    with pytest.raises(ValueError, match=r"train\.seed"):
        build(store).fit(SkeletonDataset(store), runs[0], seed=1, **TRAIN)


@pytest.mark.parametrize("age", [lambda _: None, older])
def test_the_method_of_a_run_beside_one_of_the_command(
    store: Store, tmp_path: Path, age: Callable[[Path], None]
) -> None:
    built = train(store, tmp_path / "built", build(store, mask_weight=5.0), 0)
    age(built)
    config = json.loads((built / "config.json").read_text())
    model = asdict(PCM3Settings(**SIZES, hidden=4, layers=1, pool="mean"))
    (tmp_path / "run" / "results").mkdir(parents=True)
    (tmp_path / "run" / "config.json").write_text(
        json.dumps(config | {"method": "pcm3", "model": model})
    )
    (tmp_path / "run" / "results" / "linear.json").write_text(
        json.dumps(result("linear", {"top1": 0.5}, "run"))
    )
    entries = read_entries([built, tmp_path / "run"]).entries
    head, *lines = run_table(entries)
    methods = {line[0]: line[head.index("method")] for line in lines}
    known = age is not older
    assert methods["built"] == ("pcm3 (mask_weight 5.0)" if known else "pcm3")
    assert methods["run"] == (
        f"pcm3 (mask_weight {PCM3Settings().mask_weight})" if known else "pcm3"
    )


def test_a_scaled_schedule_is_no_difference(tmp_path: Path) -> None:
    def shown(**trains: dict[str, Any]) -> list[str]:
        folder = tmp_path / str(len([*tmp_path.iterdir()]))
        runs = [
            write_run(
                folder / name,
                result("linear", {"top1": 0.5}, name),
                seed=0,
                train={"seed": 0, "schedule": "step", **train},
            )
            for name, train in trains.items()
        ]
        entries = sorted(read_entries(runs).entries, key=lambda entry: entry.place)
        return [entry.varied for entry in entries]

    preset = {"epochs": 200, "drop_epoch": 160}
    assert shown(a=preset, b={"epochs": 5, "drop_epoch": 4}) == ["", ""]
    assert shown(a=preset, b={"epochs": 0, "drop_epoch": 160}) == ["", ""]
    cosine = {"epochs": 200, "drop_epoch": 200, "schedule": "cosine"}
    assert shown(a=preset, b=cosine) == ["schedule step", "schedule cosine"]
    assert shown(a=preset, b={"epochs": 200, "drop_epoch": 100}) == [
        "drop_epoch 160",
        "drop_epoch 100",
    ]


def test_the_heading_of_a_single_store(store: Store, tmp_path: Path) -> None:
    run = train(store, tmp_path / "run", build(store), 0)
    report = write_report([run], tmp_path / "report", baseline="run")
    assert table_of(report.table.read_text(), "## Comparison: data, xsub")
    latex = report.latex.read_text()
    assert latex.splitlines()[0] == "% Comparison: data, xsub"
    assert "run (baseline) & 50.0" in latex
