"""Words for units of coordinates: one name for each unit, and no others."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from pcm3.cli import main
from pcm3.data import prepare
from pcm3.data.store import Store
from pcm3.data.units import UNITS, full_name, metres_in, read_unit
from pcm3.skeleton import SBU15


@pytest.mark.parametrize(
    ("words", "unit", "metres"),
    [
        ("m M meter metres Meters", "metres", 1.0),
        ("cm centimeters", "centimetres", 0.01),
        ("mm MM millimetre Millimeters", "millimetres", 0.001),
        ("in inch inches", "inches", 0.0254),
        ("ft foot feet", "feet", 0.3048),
        ("px pixel pixels", "pixels", None),
        ("heights image_heights", "image heights", None),
        ("body_lengths", "body lengths", None),
    ],
)
def test_words_of_a_unit(words: str, unit: str, metres: float | None) -> None:
    for word in words.split():
        assert read_unit(word) == full_name(word) == unit
        assert metres_in(word) == metres
    assert unit in UNITS


def test_unknown_words_are_kept_only_where_old_stores_have_them() -> None:
    for word in ("banana", "", "mmm", "metres/s"):
        with pytest.raises(ValueError, match="millimetres"):
            read_unit(word)
        assert full_name(word) == word
        assert metres_in(word) is None


def write(folder: Path, scale: float) -> None:
    folder.mkdir()
    points = np.random.default_rng(0).uniform(-0.8, 0.8, size=(9, 15, 3)) * scale
    np.save(folder / "a.npy", points.astype(np.float32))
    with (folder / "a.csv").open("w", newline="") as stream:
        head = [f"{joint}_{axis}" for joint in SBU15.joints for axis in "xyz"]
        csv.writer(stream).writerows([head, *points.reshape(9, 45).tolist()])


@pytest.mark.parametrize("format", ["folder", "csv"])
def test_a_store_has_the_full_name_and_the_same_values(tmp_path: Path, format: str) -> None:
    write(tmp_path / "files", 1000)
    for name, unit in (("short", "mm"), ("long", "millimetres")):
        command = ["prepare", format, f"{tmp_path}/files", f"{tmp_path}/{name}", "--unit", unit]
        assert main([*command, "--skeleton", "sbu15"]) == 0
    short, long = (Store(tmp_path / name) for name in ("short", "long"))
    assert short.meta["unit"] == long.meta["unit"] == "millimetres"
    np.testing.assert_array_equal(short.bodies, long.bodies)
    raw = np.load(tmp_path / "files" / "a.npy")
    np.testing.assert_allclose(short.stored(0)[:, 0], raw - raw[:, [SBU15.center]], rtol=1e-3)
    command = ["prepare", format, f"{tmp_path}/files", f"{tmp_path}/no", "--skeleton", "sbu15"]
    assert main([*command, "--unit", "banana"]) == 2
    assert not (tmp_path / "no").exists()


def test_other_units_of_packed_files_are_reported(tmp_path: Path) -> None:
    points = np.random.default_rng(0).uniform(-0.8, 0.8, size=(9, 1, 15, 3)).astype(np.float32)
    names, parents = SBU15.joints, SBU15.parents
    for unit in ("m", "bananas"):
        file = tmp_path / f"{unit}.npz"
        np.savez(file, joints=points, lengths=[9], joint_names=names, parents=parents, unit=unit)
    prepare(tmp_path / "m.npz", tmp_path / "store", workers=1)
    assert Store(tmp_path / "store").meta["unit"] == "metres"
    report = prepare(tmp_path / "bananas.npz", tmp_path / "other", workers=1)
    assert any("bananas" in note for note in report["notes"])
    assert Store(tmp_path / "other").meta["unit"] == "bananas"


@pytest.mark.parametrize(("unit", "said"), [("mm", False), ("cm", True), ("ft", True)])
def test_sizes_of_bodies_are_judged_in_any_unit_of_length(
    tmp_path: Path, unit: str, said: bool
) -> None:
    write(tmp_path / "files", 1470)
    report = prepare(
        tmp_path / "files",
        tmp_path / "store",
        format="folder",
        skeleton="sbu15",
        unit=unit,
        workers=1,
    )
    notes = [note for note in report["warnings"] if "bodies measure" in note]
    assert len(notes) == said
    if said:
        size = notes[0].split()[2]
        assert size.isdecimal()
        frames = np.load(tmp_path / "files" / "a.npy")
        expected = np.median((frames.max(axis=1) - frames.min(axis=1)).max(axis=-1))
        assert float(size) == pytest.approx(expected, rel=0.005)


@pytest.mark.parametrize(
    ("scale", "unit"), [(0.001, "metres"), (0.1, "centimetres"), (1, "millimetres")]
)
def test_the_remedy_for_wrong_names_of_columns_works(
    tmp_path: Path, scale: float, unit: str
) -> None:
    write(tmp_path / "files", 1470 * scale)
    (tmp_path / "files" / "a.npy").unlink()
    file = tmp_path / "files" / "a.csv"
    head, rest = file.read_text().split("\n", 1)
    wrong = {"metres": "mm", "centimetres": "m", "millimetres": "cm"}[unit]
    file.write_text(",".join(f"{name} ({wrong})" for name in head.split(",")) + "\n" + rest)
    report = prepare(tmp_path / "files", tmp_path / "store", workers=1)
    (note,) = report["warnings"]
    assert "than the files say" in note
    given = note.split("such as ")[1].split()[:2]
    assert given == ["--unit", unit]
    command = ["prepare", f"{tmp_path}/files", f"{tmp_path}/better", *given]
    assert main(command) == 0
    better = Store(tmp_path / "better")
    assert better.meta["unit"] == unit
    np.testing.assert_array_equal(better.bodies, Store(tmp_path / "store").bodies)


def test_the_help_lists_the_units(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["prepare", "--help-all"])
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    for unit in UNITS:
        assert unit in said
    assert "read_unit" not in said
