"""Presets and the papers' tables against lists typed from the papers."""

from __future__ import annotations

import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pcm3 import MAMP, PCM3
from pcm3.cli import main
from pcm3.data.splits import split
from pcm3.data.synthetic import generate
from pcm3.methods import (
    CMD,
    MS2L,
    AimCLR,
    AutoEncoder,
    Decorrelation,
    Displacement,
    LatentPrediction,
    SimCLR,
)
from pcm3.methods.catalog import PRESETS, RunSettings, get_preset, post_distillation
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.methods.pcm3.tables import TABLES, command
from pcm3.methods.recordings import DATA
from pcm3.runs.folder import Run
from pcm3.skeleton import NTU25
from pcm3.training.pretrain import pretrain

Capture = pytest.CaptureFixture[str]

# PCM3, Table 1 (single stream and three streams); the survey, Tables 2 and 4; MAMP's README
PCM3_LINEAR = {
    "ntu60-xsub": (83.9, 87.4),
    "ntu60-xview": (90.4, 93.1),
    "ntu120-xsub": (76.5, 80.0),
    "ntu120-xset": (77.5, 81.2),
    "pku2-xsub": (51.5, 58.2),
}
PCM3PP_LINEAR = {
    "ntu60-xsub-pp": (84.1, 84.8),  # and after post-distillation
    "ntu60-xview-pp": (90.8, 91.0),
    "ntu120-xsub-pp": (76.7,),
}
MAMP_LINEAR = {
    "ntu60-xsub-mamp": (85.0,),
    "ntu60-xview-mamp": (89.0,),
    "ntu120-xsub-mamp": (78.1,),
    "ntu120-xset-mamp": (79.5,),
}
SKELETONCLR_LINEAR = {"ntu60-xsub-skeletonclr": (68.3,), "ntu60-xview-skeletonclr": (76.4,)}
CMD_LINEAR = {"ntu60-xsub-cmd": (79.8, 84.1), "ntu60-xview-cmd": (86.9, 90.9)}
AIMCLR_LINEAR = {"ntu60-xsub-aimclr": (74.3, 79.2), "ntu60-xview-aimclr": (79.7, 84.0)}
PSTL_LINEAR = {"ntu60-xsub-pstl": (77.3,), "ntu60-xview-pstl": (81.8,)}
PLACES = ("ntu60-xsub", "ntu60-xview", "ntu120-xsub", "ntu120-xset", "pku1-xsub", "pku2-xsub")
METHODS = ("", "-bone", "-motion", "-pp", "-pp-bone", "-pp-motion", "-mamp", "-mae")

ON_NTU60 = ("skeletonclr", "pstl", "aimclr", "cmd")
"""Methods whose recipe is published for NTU RGB+D 60 alone."""

# PCM3, Tables 7 to 10: by column, top to bottom
TABLE_7 = {
    "linear": (14.7, 87.3, 87.5, 90.4),
    "knn": (64.4, 84.5, 85.1, 88.8),
    "occlusion": (11.7, 76.6, 77.4, 87.0),
    "detection": (47.0, 58.4, 59.7, 61.8),
    "prediction": (102.8, 147.3, 103.9, 101.7),
}
TABLE_8 = {"linear": (84.7, 87.5, 88.2, 89.7, 89.3, 90.0)}
TABLE_9 = {"linear": (90.0, 90.3, 90.4), "detection": (60.8, 61.0, 61.3)}
TABLE_10 = {"linear": (89.8, 90.2, 90.4, 90.1, 89.0, 89.5, 89.7, 89.5)}  # topology, then random
SURVEY_3 = {"linear": (88.2, 89.3, 90.0, 90.5)}
SURVEY_4 = {
    "linear": (83.9, 90.4, 84.1, 90.8, 84.8, 91.0),  # by subject, by view
    "detection": (73.3, None, 75.5, None, 75.5, None),
}
OTHERS = {"simclr": SimCLR}
OTHERS |= dict.fromkeys(("pstl", "skeletonbt", "vicreg"), Decorrelation)
OTHERS |= {"aimclr": AimCLR, "cmd": CMD, "displacement": Displacement, "ms2l": MS2L}
OTHERS |= {"jigsaw": MS2L, "autoencoder": AutoEncoder, "latent": LatentPrediction}
"""Methods whose presets have one name each."""
COLUMNS: dict[str, dict[str, tuple[float | None, ...]]] = {
    "7": TABLE_7,
    "8": TABLE_8,
    "9": TABLE_9,
    "10": TABLE_10,
    "survey-3": SURVEY_3,
    "survey-4": SURVEY_4,
}
ALL = ("intra", "inter", "mask", "predict")
NO_PROMPTS = {"domain_prompts": False, "task_prompts": False}
BY_VIEW, PP_SUB, PP_VIEW = "ntu60-xview", "ntu60-xsub-pp", "ntu60-xview-pp"

# what every row has otherwise than its preset
DIFFERENCES: dict[str, list[tuple[str, dict[str, Any]]]] = {
    "7": [
        (BY_VIEW, {"positives": ()}),
        (BY_VIEW, {"positives": ALL[:2], "mask_weight": 0}),
        (BY_VIEW, {"positives": ALL[:2]}),
        (BY_VIEW, {}),
    ],
    "8": [
        (BY_VIEW, {"positives": ("intra",), "kl_weight": 0, **NO_PROMPTS}),
        (BY_VIEW, {"positives": ALL[:2], "kl_weight": 0, **NO_PROMPTS}),
        (BY_VIEW, {"positives": ALL[:2], **NO_PROMPTS}),
        (BY_VIEW, {"positives": (*ALL[:2], "predict"), **NO_PROMPTS}),
        (BY_VIEW, {"positives": ALL[:3], **NO_PROMPTS}),
        (BY_VIEW, NO_PROMPTS),
    ],
    "9": [(BY_VIEW, NO_PROMPTS), (BY_VIEW, {"task_prompts": False}), (BY_VIEW, {})],
    "10": [
        (BY_VIEW, {"mask_ratio": 0.2}),
        (BY_VIEW, {"mask_ratio": 0.4}),
        (BY_VIEW, {}),
        (BY_VIEW, {"mask_ratio": 0.8}),
        (BY_VIEW, {"masking": "random", "mask_ratio": 0.2}),
        (BY_VIEW, {"masking": "random", "mask_ratio": 0.4}),
        (BY_VIEW, {"masking": "random"}),
        (BY_VIEW, {"masking": "random", "mask_ratio": 0.8}),
    ],
    "survey-3": [
        (BY_VIEW, {"positives": ALL[:2], **NO_PROMPTS}),
        (BY_VIEW, {"positives": ALL[:3], **NO_PROMPTS}),
        (BY_VIEW, {"semantic_guidance": False, **NO_PROMPTS}),
        (BY_VIEW, NO_PROMPTS),
    ],
    "survey-4": [
        (PP_SUB, {"positives": ALL}),
        (PP_VIEW, {"positives": ALL}),
        (PP_SUB, {}),
        (PP_VIEW, {}),
        (PP_SUB, {"info_nce_weight": 0, "mask_weight": 0, "result": "key"}),
        (PP_VIEW, {"info_nce_weight": 0, "mask_weight": 0, "result": "key"}),
    ],
}


# --- presets --------------------------------------------------------------------------------------


def test_every_published_combination_has_a_preset() -> None:
    full_size = [
        *(f"{place}{method}" for place in PLACES for method in METHODS),
        *(f"ntu60-{protocol}-{name}" for protocol in ("xsub", "xview") for name in ON_NTU60),
        "ntu60-xsub-nat",
    ]
    assert sorted(name for name in PRESETS if not name.startswith("small")) == sorted(full_size)
    assert {each.data for each in PRESETS.values()} == set(DATA)


def test_published_figures_of_presets() -> None:
    published = PCM3_LINEAR | PCM3PP_LINEAR | MAMP_LINEAR | SKELETONCLR_LINEAR
    published |= PSTL_LINEAR | AIMCLR_LINEAR | CMD_LINEAR
    for name, about in PRESETS.items():
        words = about.published.replace(",", "").split()
        figures = [float(word) for word in words if word[0].isdigit()]
        assert figures == list(published.get(name, ())), name
        assert about.published.count("%") == len(figures)


@pytest.mark.parametrize("name", PRESETS)
def test_presets_build_what_their_name_says(name: str) -> None:
    config = get_preset(name)
    with torch.device("meta"):
        model = config.model.build(NTU25, persons=2)
    place, _, protocol = name.partition("-")
    protocol, *method = (protocol if place != "small" else f"xsub-{protocol}").split("-")
    method = [word for word in method if word]
    assert config.protocol == protocol
    if method and method[0] in OTHERS:
        assert type(model) is OTHERS[method[0]]
        return
    assert type(model) is (MAMP if {"mamp", "mae", "nat"} & set(method) else PCM3)
    stream = method[-1] if method and method[-1] in ("bone", "motion") else "joint"
    assert model.stream == stream
    if isinstance(model, MAMP):
        assert model.target == ("motion" if method == ["mamp"] else "coordinates")
        assert model.normalize_target == ("time" if method == ["nat"] else "patch")
        return
    assert isinstance(model, PCM3)
    if method == ["skeletonclr"]:
        assert model.positives == ("intra",)
        assert (model.decoder, len(model.domain_prompts), len(model.task_prompts)) == (None, 0, 0)
        return
    assert ("clip" in model.positives) == ("pp" in method)
    assert set(ALL) <= set(model.positives)
    assert bool(model.task_prompts) == (method == [])
    assert bool(model.domain_prompts) == (stream == "joint")
    assert (model.kl_weight, model.semantic_guidance) == (
        (1, True) if stream == "joint" else (0, False)
    )


@pytest.mark.parametrize(
    "name", [name for name in PRESETS if isinstance(PRESETS[name].model, PCM3Settings)]
)
def test_every_run_of_pcm3_can_be_distilled(name: str) -> None:
    second = post_distillation(get_preset(name))
    with torch.device("meta"):
        model = second.model.build(NTU25, persons=2)
    assert isinstance(model, PCM3)
    assert (model.info_nce_weight, model.mask_weight, model.kl_weight) == (0, 0, 1)


def test_presets_are_listed_by_their_data(capsys: Capture) -> None:
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    texts = lines[2].index("PCM3", len("  ntu60-xsub"))
    for name, about in PRESETS.items():
        (row,) = [number for number, line in enumerate(lines) if line.split()[:1] == [name]]
        train = about.train
        assert lines[row].split()[1:3] == [str(train.epochs), str(train.batch_size)]
        assert lines[row].endswith(about.published or about.text)
        assert lines[row].index(about.text, len(name) + 2) == texts
        heads = [number for number, line in enumerate(lines[:row]) if line in DATA]
        assert lines[heads[-1]] == about.data
    assert max(map(len, lines)) <= 110


# --- tables ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", COLUMNS)
def test_published_figures_of_tables(number: str) -> None:
    rows = list(TABLES[number].rows.values())
    columns = COLUMNS[number]
    assert {task for row in rows for task in row.published} == set(columns)
    for task, figures in columns.items():
        assert tuple(row.published.get(task) for row in rows) == figures


def test_all_tables_are_checked() -> None:
    assert list(TABLES) == list(COLUMNS) == list(DIFFERENCES)


@pytest.mark.parametrize("number", DIFFERENCES)
def test_rows_differ_from_their_preset_as_the_paper_says(number: str) -> None:
    table = TABLES[number]
    assert len(table.rows) == len(DIFFERENCES[number])
    for (name, row), (preset, wanted) in zip(table.rows.items(), DIFFERENCES[number], strict=True):
        config, base = table.config(name), get_preset(preset)
        assert row.preset == preset
        assert config.protocol == base.protocol
        assert config.train == (post_distillation(base).train if row.start else base.train)
        assert config.model == replace(base.model, **wanted), name
        with torch.device("meta"):
            config.model.build(NTU25, persons=2)


def test_random_masking_is_drawn_anew_in_every_frame() -> None:
    table, clips = TABLES["10"], torch.randn(3, 3, 64, 25, 2)
    for name in table.rows:
        kind, percent = name.split("-")
        model: Any = replace(table.config(name).model, hidden=4, decoder_hidden=4, queue_size=8)
        hidden = model.build(NTU25, persons=2).masking(clips)[0, :, :, 0]  # (T, V)
        changes = (hidden[1:] != hidden[:-1]).any(dim=1).nonzero().flatten() + 1
        assert (len(changes) > 40) == (kind == "random"), name
        if kind == "random":
            assert hidden.sum(dim=1).unique().tolist() == [25 * int(percent) // 100]
        else:
            assert set((changes % 8).tolist()) <= {0}


@pytest.mark.parametrize("number", TABLES)
def test_listed_commands_train_the_rows(
    number: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Typed into a shell, each asks for exactly the settings of its row."""
    monkeypatch.chdir(tmp_path)
    store = generate("ntu60", sequences=8, subjects=4, views=2, classes=2, frames=(8, 10))
    assert all(len(part) for protocol in ("xsub", "xview") for part in split(store, protocol))
    asked: list[RunSettings] = []
    monkeypatch.setattr(
        "pcm3.training.pretrain.pretrain", lambda config, *_, **__: asked.append(config) or []
    )
    assert main(["presets", "--table", number, "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    listed = json.loads(last)["metrics"]
    table = TABLES[number]
    assert list(listed) == list(table.rows)
    shown = [line.strip() for line in lines if line.startswith("  pcm3 pretrain ")]
    assert shown == [shlex.join(command(number, name)) for name in table.rows]
    for name, line in zip(table.rows, shown, strict=True):
        assert listed[name]["published"] == table.rows[name].published
        assert listed[name]["command"] == shlex.split(line)
        out = Path(line.split()[-1])
        assert not out.exists()
        assert main(shlex.split(line)[1:]) == 0
        assert asked[-1] == table.config(name), name
        out.mkdir()  # what a later row may go on from
        settings = {"method": "pcm3", **asdict(asked[-1])}
        (out / "config.json").write_text(json.dumps(settings))


def test_recordings_are_taken_whole_with_the_preset_of_a_paper(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = generate(tmp_path / "store", sequences=8, subjects=4, views=2, classes=2)
    asked: list[RunSettings] = []
    monkeypatch.setattr(
        "pcm3.training.pretrain.pretrain", lambda config, *_, **__: asked.append(config) or []
    )
    command = ["pretrain", "--preset", "ntu60-xsub", "--data", str(store.path), "--out", "run"]
    for options in ([], ["--max-frames", "none"], ["--max-frames", "None"], ["--max-frames", "7"]):
        assert main([*command, *options]) == 0
    assert [settings.max_frames for settings in asked] == [300, None, None, 7]


# --- weights that the second run does not need ----------------------------------------------------


def test_a_run_without_a_decoder_starts_from_one_with(tmp_path: Path) -> None:
    store = generate(tmp_path / "store", sequences=8, subjects=4, views=1, classes=2)
    small = {"hidden": 4, "decoder_hidden": 4, "embedding": 4, "queue_size": 8, "frames": 8}
    train = replace(get_preset("small").train, epochs=1, batch_size=4, accelerator="cpu")
    first = get_preset("small")
    model = first.model.changed({**small, "positives": ("intra", "inter")})
    first = replace(first, model=model, train=replace(train, knn_every=0), protocol="all")
    second = post_distillation(first)
    pretrain(first, store, tmp_path / "first", quiet=True)
    pretrain(second, store, tmp_path / "second", start=tmp_path / "first", quiet=True)
    weights = [Run(tmp_path / name).load_checkpoint()["model"] for name in ("first", "second")]
    assert {name.split(".")[0] for name in weights[0].keys() - weights[1].keys()} == {"decoder"}
