"""Files of sweeps: what they mean, what is refused and where, and the examples."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest

from pcm3.errors import SkeletonFormatError
from pcm3.evaluation.tasks.linear import LinearSettings
from pcm3.methods.catalog import METHODS, get_preset, post_distillation
from pcm3.methods.pcm3.tables import TABLES
from pcm3.sweep.file import Sweep, read_sweep, shown_settings

EXAMPLES = Path(__file__).parents[2] / "examples" / "sweeps"


def read(folder: Path, text: str) -> Sweep:
    file = folder / "sweep.toml"
    file.write_text(text)
    return read_sweep(file)


def test_variations_are_combined_with_the_grid(tmp_path: Path) -> None:
    sweep = read(
        tmp_path,
        """
        baseline = "short_mask_ratio-0.2_masking-random"
        seeds = [3, 1]
        common.data = "store"
        common.model.hidden = 8
        axes.model.mask_ratio = [0.2, 0.4]
        axes.model.masking = ["topology", "random"]
        [[variations]]
        name = "short"
        train.epochs = 5
        [[variations]]
        name = "wide"
        model.hidden = 16
        """,
    )
    small = get_preset("small")
    rows = itertools.product(("short", "wide"), (0.2, 0.4), ("topology", "random"))
    expected = {}
    for name, ratio, masking in rows:
        model = replace(small.model, hidden=16 if name == "wide" else 8)
        model = replace(model, mask_ratio=ratio, masking=masking)
        train = small.train.scaled_to(5) if name == "short" else small.train
        full = f"{name}_mask_ratio-{ratio}_masking-{masking}"
        expected[full] = replace(small, model=model, train=train)
    assert {name: row.config for name, row in sweep.variations.items()} == expected
    assert [*sweep.variations] == [*expected]
    cells = [(cell.seed, cell.variation.name) for cell in sweep.cells]
    assert cells == [*itertools.product((3, 1), expected)]
    assert [cell.number for cell in sweep.cells] == [*range(16)]
    assert {cell.config.train.seed for cell in sweep.cells} == {1, 3}


def test_a_schedule_that_is_given_is_not_scaled(tmp_path: Path) -> None:
    sweep = read(
        tmp_path,
        """
        common.data = ["a", "b"]
        common.protocol = ["xsub", "labels:wave, bow"]
        common.max_frames = "none"
        common.preset = "ntu60-xsub"
        [[variations]]
        name = "a"
        train.epochs = 100
        train.drop_epoch = 90
        """,
    )
    (row,) = sweep.variations.values()
    preset = get_preset("ntu60-xsub")
    assert preset.max_frames is not None
    assert row.config.max_frames is None
    assert row.config.protocol == "xsub 'labels:wave, bow'"
    assert row.config.train == replace(preset.train, epochs=100, drop_epoch=90)
    assert row.data == (Path("a"), Path("b"))


def test_runs_that_start_from_others(tmp_path: Path) -> None:
    sweep = read(
        tmp_path,
        """
        seeds = [0, 1]
        common = {data = "store", preset = "small-pp", train.epochs = 9}
        axes.model.frames = [16, 32]
        [[variations]]
        name = "first"
        [[variations]]
        name = "second"
        from = "first"
        phase = "post-distill"
        train.lr = 0.5
        [[variations]]
        name = "longer"
        from = "first"
        """,
    )
    rows = sweep.variations
    first, second = rows["first_frames-32"].config, rows["second_frames-32"]
    distilled = post_distillation(first)
    assert second.config == replace(distilled, train=replace(distilled.train, lr=0.5))
    assert (second.start, second.data) == ("first_frames-32", (Path("store"),))
    assert rows["longer_frames-16"].config == rows["first_frames-16"].config
    starts = {cell.name: cell.start for cell in sweep.cells}
    assert starts["second_frames-32-seed1"] == [*starts].index("first_frames-32-seed1")
    assert starts["first_frames-32-seed1"] is None


def test_evaluations(tmp_path: Path) -> None:
    sweep = read(
        tmp_path,
        """
        common.data = "store"
        axes.method = ["pcm3", "simclr"]
        [[evaluations]]
        task = "linear"
        settings = {solver = "pcm3", probe = {epochs = 3, drops = [1, 2]}}
        [[evaluations]]
        task = "knn"
        data = "other"
        protocol = "xview"
        max_frames = 20
        """,
    )
    linear, knn = sweep.evaluations
    probe = replace(LinearSettings().probe, epochs=3, drops=(1, 2))
    assert linear.settings == LinearSettings(solver="pcm3", probe=probe)
    assert knn[1:3] == (Path("other"), "xview")
    assert knn.max_frames == 20
    methods = [row.config.model.method for row in sweep.variations.values()]
    assert methods == [METHODS["pcm3"], METHODS["simclr"]]


def test_settings_that_differ_are_shown(tmp_path: Path) -> None:
    sweep = read(
        tmp_path,
        """
        common = {data = "store", model.hidden = 8}
        [[variations]]
        name = "plain"
        [[variations]]
        name = "changed"
        model.hidden = 8
        model.positives = ["intra", "predict"]
        model.semantic_guidance = false
        """,
    )
    assert shown_settings(sweep) == {
        "plain": {"positives": "intra, inter, mask, predict", "semantic_guidance": "true"},
        "changed": {"positives": "intra, predict", "semantic_guidance": "false"},
    }


ROW = '[[variations]]\nname = "a"\n'
DATA = 'common.data = "store"\n'
WRONG = {
    "variations = ": "TOML",
    DATA: "axes or variations",
    "seed = [1]\n" + DATA + ROW: "seed.*seeds",
    "seeds = [1, 1]\n" + DATA + ROW: "seeds",
    "seeds = [-1]\n" + DATA + ROW: "seed",
    "seeds = 3\n" + DATA + ROW: "seeds",
    ROW: r"variations\[0\] \(a\).*data",
    DATA + ROW + ROW: r"variations\[1\] \(a\).*names",
    DATA + '[[variations]]\npreset = "small"': r"variations\[0\].*name",
    DATA + '[[variations]]\nname = "../a"': r"variations\[0\].*name",
    DATA + ROW + 'preset = "smal"': r"variations\[0\] \(a\).*small",
    DATA + ROW + 'method = "pcm4"': r"variations\[0\] \(a\).*pcm4",
    DATA + ROW + "model.hiden = 4": r"variations\[0\] \(a\).*model.hiden.*hidden",
    DATA + ROW + 'model.hidden = "wide"': r"variations\[0\] \(a\).*model.hidden",
    DATA + ROW + "train.lr = -1.0": r"variations\[0\] \(a\).*train.*lr",
    DATA + ROW + "train.seed = 1": "train.seed.*seeds",
    DATA + ROW + "train.devices = 2": "train.devices",
    DATA + ROW + 'from = "b"': r"variations\[0\] \(a\).*from",
    DATA + ROW + 'phase = "post-distill"': r"variations\[0\] \(a\).*from",
    DATA + ROW + 'phase = "distill"': r"variations\[0\] \(a\).*phase",
    DATA + 'common.from = "a"\n' + ROW: "common",
    DATA + "common.lr = 1\n" + ROW: "common.*lr",
    DATA + "axes.model.hidden = []": "axes.*model.hidden",
    DATA + "axes.model.hidden = 4": "axes.*model.hidden",
    DATA + "axes.model.hidden = [4, 4]": "axes.*model.hidden",
    DATA + "axes.hidden = [4, 8]": "axes.*hidden",
    DATA + 'axes.preset = ["small", 1]': "axes.*preset",
    'baseline = "b"\n' + DATA + ROW: "baseline.*'b'",
    DATA + ROW + '[[evaluations]]\ntask = "lineal"': r"evaluations.*\[0\].*linear",
    DATA + ROW + '[[evaluations]]\ndata = "a"': r"evaluations.*\[0\].*task",
    DATA + ROW + '[[evaluations]]\ntask = "knn"\nk = 1': r"evaluations.*\[0\].*settings\.k",
    DATA + ROW + '[[evaluations]]\ntask = "knn"\nsettings.n = 1': r"evaluations.*settings.n",
    DATA + ROW + '[[evaluations]]\ntask = "knn"\nsettings.k = 0.5': r"evaluations.*settings.k",
}
"""Text to what the message names."""


@pytest.mark.parametrize("text", WRONG)
def test_the_message_says_where(text: str, tmp_path: Path) -> None:
    with pytest.raises(SkeletonFormatError) as caught:
        read(tmp_path, text)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path}/sweep.toml: ")
    assert re.search(WRONG[text], message), message


def stem(number: str) -> str:
    return f"survey-table-{number[7:]}" if number.startswith("survey") else f"table-{number}"


@pytest.mark.parametrize("number", TABLES)
def test_examples_are_the_papers_tables(number: str) -> None:
    sweep, table = read_sweep(EXAMPLES / f"{stem(number)}.toml"), TABLES[number]
    configs = [row.config for row in sweep.variations.values()]
    assert configs == [table.config(name) for name in table.rows]
    starts = [row.start or "" for row in sweep.variations.values()]
    assert starts == [row.start for row in table.rows.values()]
    tasks = dict.fromkeys(task for row in table.rows.values() for task in row.published)
    assert [evaluation.task for evaluation in sweep.evaluations] == [*tasks]
    assert sweep.baseline in sweep.variations


def test_every_example_is_tested() -> None:
    tested = {*map(stem, TABLES), "small", "benchmark"}  # the last with its tables
    assert {file.stem for file in EXAMPLES.iterdir()} == tested
    assert {"random", "contrastive", "pcm3"} == set(read_sweep(EXAMPLES / "small.toml").variations)
