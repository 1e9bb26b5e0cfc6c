"""The ``pcm3`` command from a packed file to features, and what it says when something is wrong."""

from __future__ import annotations

import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import redirect_stdout
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcm3 import __version__
from pcm3.cli import COMMANDS, main
from pcm3.data.dataset import SkeletonDataset
from pcm3.data.prepare import prepare
from pcm3.data.protocols import Protocol
from pcm3.data.readers import READERS
from pcm3.data.splits import split
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic import generate, synthetic_sequences
from pcm3.encoders import GRUEncoder
from pcm3.evaluation.features import Features, extract_features
from pcm3.evaluation.probes import fit_logistic
from pcm3.evaluation.tasks.knn import evaluate_knn
from pcm3.evaluation.tasks.prediction.prediction import PredictionSettings, evaluate_prediction
from pcm3.evaluation.tasks.registry import TASKS
from pcm3.hub import Pretrained, fingerprint, load_encoder, save_encoder
from pcm3.methods.catalog import PRESETS, RunSettings, get_preset
from pcm3.runs.folder import Run
from pcm3.skeleton import KINECT20, NTU25, Skeleton

Capture = pytest.CaptureFixture[str]

SMALL = [
    *("--model.hidden", "8", "--model.frames", "16", "--model.queue-size", "16"),
    *("--model.decoder-hidden", "8", "--model.embedding", "8", "--train.batch-size", "4"),
    *("--train.knn-every", "0", "--train.accelerator", "cpu"),
]


def packed(file: Path, skeleton: Skeleton = NTU25, **changes: Any) -> Path:
    recordings = synthetic_sequences(
        sequences=18, classes=3, subjects=4, views=2, skeleton=skeleton, frames=(12, 30)
    )
    rows = list(recordings)
    arrays = {
        "joints": np.concatenate([row.frames for row in rows]),
        "lengths": np.array([len(row.frames) for row in rows]),
        "labels": np.array([row.label for row in rows]),
        "class_names": np.array(recordings.class_names),
        "joint_names": np.array(skeleton.joints),
        "parents": np.array(skeleton.parents),
        "subjects": np.array([row.columns["subjects"] for row in rows]),
        "views": np.array([row.columns["views"] for row in rows]),
    }
    np.savez(file, **{name: v for name, v in {**arrays, **changes}.items() if v is not None})
    return file


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed file, its store and a run of two epochs, all made by the command."""
    folder = tmp_path_factory.mktemp("cli")
    packed(folder / "packed.npz")
    assert main(["prepare", "packed", str(folder / "packed.npz"), str(folder / "store")]) == 0
    assert main(pretrain(folder / "store", folder / "run", "--train.epochs", "2")) == 0
    return folder


def pretrain(store: Path, run: Path, *more: str) -> list[str]:
    return ["pretrain", "--data", str(store), "--out", str(run), *SMALL, *more]


def evaluate(task: str, folder: Path, *more: str) -> list[str]:
    return ["evaluate", task, "--run", f"{folder}/run", "--data", f"{folder}/store", *more]


def run_json(capsys: Capture, arguments: list[str]) -> dict[str, Any]:
    """Run a command with ``--json``; what its last line on standard output says."""
    assert main([*arguments, "--json"]) == 0
    result: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["command"] == " ".join(arguments[: 2 if arguments[0] == "evaluate" else 1])
    return result


def unboxed(shown: str) -> str:
    """What stands in the frames of tyro, without breaks of lines."""
    return " ".join(shown.replace("│", " ").split())


def one_error(capsys: Capture, arguments: list[str]) -> str:
    """Run a command that must fail; the one line that it says."""
    assert main(arguments) == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    (line,) = shown.err.splitlines()
    assert line.startswith("pcm3: error: ")
    return line


# --- the way through ------------------------------------------------------------------------------


def test_prepare_reports_what_it_kept(tmp_path: Path, capsys: Capture) -> None:
    joints = np.load(packed(tmp_path / "all.npz"))["joints"]
    lengths = np.load(tmp_path / "all.npz")["lengths"]
    joints[: lengths[0]] = 0  # nobody there
    short = int((lengths[1:] < 15).sum())
    assert short > 0
    source = packed(tmp_path / "packed.npz", joints=joints)
    arguments = ["prepare", "packed", str(source), str(tmp_path / "store"), "--min-frames", "15"]
    result = run_json(capsys, arguments)
    counts = {"units": 1, "read": 18, "kept": 17 - short, "dropped": 1 + short, "bad": 0}
    assert result["metrics"] == counts
    store = Store(tmp_path / "store")
    assert len(store) == 17 - short
    assert store.lengths.tolist() == [n for n in lengths[1:] if n >= 15]
    centers = np.concatenate([store.sequence(i)[:, 0, NTU25.center] for i in range(len(store))])
    assert np.abs(centers).max() < 1e-6


@pytest.mark.parametrize("source", ["missing", "./pykl", "missing.npz"])
def test_prepare_of_what_is_not_there(
    source: str, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert f"{Path(source)}: no such file or folder" in one_error(
        capsys, ["prepare", source, "out"]
    )
    options = ["--normalization", "isc", "--workers", "1", "packed", source, "out"]
    assert f"{Path(source)}: no such file or folder" in one_error(capsys, ["prepare", *options])
    line = one_error(capsys, ["prepare", "pykl", "missing", "out"])
    assert line.endswith("got 'pykl'; did you mean pyskl?")
    assert "expected coco SOURCE STORE" in one_error(capsys, ["prepare", "coco", "out"])
    generate(tmp_path / "coco", sequences=4, classes=2, subjects=2)  # a folder of this name
    assert "coco: is already a store" in one_error(capsys, ["prepare", "coco", "out"])


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (
            "keypoints folder store",
            "got 'keypoints'; .* first: pcm3 prepare folder keypoints store",
        ),
        (
            "files folder store",
            "got 'files'; the format comes first: pcm3 prepare folder files store",
        ),
        (
            "files store folder",
            "got 'files'; the format comes first: pcm3 prepare folder files store",
        ),
        ("--persons 2 files --skip-bad folder --fps=30 store", "pcm3 prepare folder files store"),
        ("keypoints files store", "expected FORMAT SOURCE STORE, .* got 'keypoints'"),
        ("files store more", "expected FORMAT SOURCE STORE, .* got 'files'"),
    ],
)
def test_prepare_of_words_in_another_order(words: str, advice: str, capsys: Capture) -> None:
    assert re.search(advice, one_error(capsys, ["prepare", *words.split()]))


@pytest.mark.parametrize("option", ["--fps", "--source-fps"])
@pytest.mark.parametrize("value", ["0", "-5", "nan", "inf"])
def test_prepare_takes_no_such_rate(option: str, value: str, capsys: Capture) -> None:
    line = one_error(capsys, ["prepare", "folder", "nowhere", "store", option, value])
    assert re.search(rf"expected {option[2:].replace('-', '_')} above 0, .*, got {value}", line)


def test_prepare_finds_the_format(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    source = str(folder / "packed.npz")
    for name, arguments in (("a", []), ("b", ["auto"]), ("c", ["packed"])):
        result = run_json(capsys, ["prepare", *arguments, source, str(tmp_path / name)])
        assert result["report"]["format"] == "packed"
    assert "format 'packed' has the options skeleton, coordinates; got untrimmed" in one_error(
        capsys, ["prepare", source, f"{tmp_path}/d", "--untrimmed"]
    )
    (tmp_path / "text.txt").write_text("hello")
    line = one_error(capsys, ["prepare", f"{tmp_path}/text.txt", f"{tmp_path}/e"])
    assert re.search("text.txt: .*give the format if it is pku or msr", line)


def test_prepare_passes_options_to_the_reader(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "files").mkdir()
    np.save(tmp_path / "files" / "wave.npy", np.random.default_rng(0).normal(size=(4, 17, 2)))
    arguments = ["prepare", "folder", f"{tmp_path}/files", f"{tmp_path}/store"]
    more = ["--skeleton", "coco17", "--fps", "25", "--unit", "heights", "--persons", "2"]
    summary = run_json(capsys, [*arguments, *more])["report"]["summary"]
    assert (summary["skeleton"], summary["persons"]) == ("coco17", 2)
    assert (summary["fps"], summary["unit"]) == (25, "image heights")


def test_prepare_has_every_option_of_the_readers(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["prepare", "--help-all"])
    page = " ".join(re.sub(r"[│\n]", " ", capsys.readouterr().out).split())
    for option in {option for reader in READERS.values() for option in reader.options}:
        formats = ", ".join(name for name, reader in READERS.items() if option in reader.options)
        about = "Joint layout" if option == "skeleton" else f"{formats}: \\w"
        flag = f"--{option.replace('_', '-')} "
        assert re.search(rf"{flag}(([A-Z]+ )*|{{[\w,]+}} ){about}", page), option


def test_help_of_prepare_is_the_same_with_a_format(capsys: Capture) -> None:
    pages = []
    for words in (["prepare", "--help"], ["prepare", "folder", "--help"]):
        with pytest.raises(SystemExit):
            main(words)
        pages.append(capsys.readouterr().out)
    assert "[FORMAT] SOURCE STORE" in pages[0]
    assert pages[1] == pages[0]


def test_prepare_gives_a_reader_what_was_said_alone(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "files").mkdir()
    np.save(tmp_path / "files" / "wave.npy", np.random.default_rng(0).normal(size=(4, 17, 2)))
    arguments = ["prepare", "folder", f"{tmp_path}/files", f"{tmp_path}/store"]
    arguments += ["--skeleton", "coco17"]
    line = one_error(capsys, [*arguments, "--unit-scale", "0.01"])  # though it is the default
    assert "'folder'" in line
    assert "unit_scale" in line
    assert run_json(capsys, arguments)["report"]["options"] == {"skeleton": "coco17"}


def test_prepare_counts_bad_files(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "files").mkdir()
    np.save(tmp_path / "files" / "good.npy", np.random.default_rng(0).normal(size=(4, 17, 2)))
    np.save(tmp_path / "files" / "nan.npy", np.full((4, 17, 2), np.nan))
    arguments = ["prepare", "folder", f"{tmp_path}/files", f"{tmp_path}/store"]
    arguments += ["--skeleton", "coco17", "--workers", "1"]
    line = one_error(capsys, arguments)
    assert "nan.npy: frame 0, person 0, joint 0: NaN" in line
    assert "--skip-bad" in line
    result = run_json(capsys, [*arguments, "--skip-bad"])
    assert result["metrics"] == {"units": 2, "read": 1, "kept": 1, "dropped": 0, "bad": 1}


def test_show_says_what_prepare_said(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    store = str(tmp_path / "store")
    assert main(["prepare", str(folder / "packed.npz"), store]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{store}\n  18 sequences, ")
    assert "read from packed.npz (packed): " in said
    assert main(["show", store]) == 0
    assert capsys.readouterr().out == said
    assert run_json(capsys, ["show", store])["metrics"] == Store(store).summary()


def test_show_describes_a_sequence(folder: Path, capsys: Capture) -> None:
    store = Store(folder / "store")
    arguments = ["show", str(store.path), "--index", "4"]
    summary = run_json(capsys, arguments)
    assert summary["out"] is None
    label, length = int(store.labels[4]), int(store.lengths[4])
    assert summary["metrics"] == {
        "index": 4,
        "name": store.names[4],
        "label": label,
        "class": store.class_names[label],
        "frames": length,
        "seconds": None,
        "persons": 1,
        "duplicate_of": None,
        "columns": {name: int(store.columns[name][4]) for name in ("subjects", "views")},
        "segments": None,
    }
    assert run_json(capsys, [*arguments[:-1], store.names[4]]) == summary
    assert main(arguments) == 0
    title, *lines = capsys.readouterr().out.splitlines()
    assert title == f"{store.path}, sequence 4: {store.names[4]}"
    assert lines[:2] == [
        f"  {length} frames, 1 person",
        f"  class {label}: {store.class_names[label]}",
    ]
    assert all(f"{name} {store.columns[name][4]}" in lines[2] for name in ("subjects", "views"))


def test_show_finds_a_recording_by_its_name(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "files").mkdir()
    for name in ("1.npy", "walk.npy"):
        np.save(tmp_path / "files" / name, np.random.default_rng(0).normal(size=(4, 17, 2)))
    prepare = ["prepare", "folder", f"{tmp_path}/files", f"{tmp_path}/store"]
    assert main([*prepare, "--skeleton", "coco17", "--workers", "1"]) == 0
    capsys.readouterr()
    line = one_error(capsys, ["show", f"{tmp_path}/store", "--index", "wal"])
    assert line.endswith("', got 'wal'")
    for name, index in (("walk.npy", 1), ("walk", 1), ("1.npy", 0), ("1", 1)):
        summary = run_json(capsys, ["show", f"{tmp_path}/store", "--index", name])
        assert summary["metrics"]["index"] == index


def test_show_asks_which_of_several(tmp_path: Path, capsys: Capture) -> None:
    with StoreWriter(tmp_path / "store", NTU25, class_names=[]) as writer:
        for number, name in enumerate(("walk.npy", "walk.mat", "run", "run", "run.npy")):
            writer.add(np.full((2, 1, 25, 3), number + 1.0), -1, name=name)
    show = ["show", f"{tmp_path}/store", "--index"]
    assert "2 sequences are named 'walk': 0, 1" in one_error(capsys, [*show, "walk"])
    assert "2 sequences are named 'run': 2, 3" in one_error(capsys, [*show, "run"])
    assert run_json(capsys, [*show, "run.npy"])["metrics"]["index"] == 4


def test_show_describes_an_untrimmed_recording(tmp_path: Path, capsys: Capture) -> None:
    joints = np.ones((12, 2, 25, 3), np.float32)
    joints[:, 1] = 0
    with StoreWriter(tmp_path / "store", NTU25, class_names=("wave", "kick"), fps=10.0) as writer:
        for name, subject, segments in (
            ("video", 3, [(2, 5, 1), (7, 12, 0)]),
            ("again", 4, [(0, 2, 0)]),
        ):
            labels = np.full(12, -1)
            for start, end, label in segments:
                labels[start:end] = label
            rest = {"frame_labels": labels, "segments": np.array(segments)}
            writer.add(joints, -1, name=name, subjects=subject, **rest)
    arguments = ["show", f"{tmp_path}/store", "--index", "1"]
    found = run_json(capsys, arguments)["metrics"]
    assert (found["class"], found["seconds"], found["persons"]) == (None, 1.2, 1)
    assert found["segments"] == [[0, 2, "wave"]]
    assert found["duplicate_of"] == 0
    assert main(["show", f"{tmp_path}/store", "--index", "0"]) == 0
    assert capsys.readouterr().out.splitlines()[1:] == [
        "  12 frames, 1.20 s, 1 person",
        "  subjects 3",
        "  frames 2 to 5: kick",
        "  frames 7 to 12: wave",
    ]


@pytest.mark.parametrize(
    ("name", "begins"),
    [
        ("a.png", b"\x89PNG"),
        ("a.pdf", b"%PDF"),
        ("a.svg", b"<?xml"),
        ("a.GIF", b"GIF89a"),
        ("new/a.html", b"<!DOCTYPE html>"),
    ],
)
def test_show_pictures_a_sequence(
    name: str, begins: bytes, folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    file = tmp_path / name
    arguments = ["show", f"{folder}/store", "--out", str(file)]
    result = run_json(capsys, [*arguments, "--index", "2"])
    assert result["out"] == str(file)
    assert result["metrics"]["index"] == 2
    assert file.read_bytes().startswith(begins)
    assert list(file.parent.iterdir()) == [file]


def test_show_pictures_the_first_sequence_by_default(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    arguments = ["show", f"{folder}/store", "--out", f"{tmp_path}/a.png"]
    assert run_json(capsys, arguments)["metrics"]["index"] == 0


def test_show_animates_the_sequence_that_was_asked_for(folder: Path, tmp_path: Path) -> None:
    from PIL import Image

    store = Store(folder / "store")
    for index in (3, 5):
        file = str(tmp_path / f"{index}.gif")
        assert main(["show", str(store.path), "--index", str(index), "--out", file]) == 0
        with Image.open(file) as gif:
            assert getattr(gif, "n_frames", 1) == store.lengths[index]


@pytest.mark.parametrize(
    ("recipe", "down", "channels"),
    [
        ("isc", False, 3),
        *(("center", down, channels) for down in (False, True) for channels in (2, 3)),
    ],
)
def test_show_stands_people_up(
    recipe: str,
    down: bool,
    channels: int,
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import pcm3.viz.stores

    drawn: list[Any] = []
    film_strip = pcm3.viz.film_strip

    def note(clips: Any, skeleton: Skeleton) -> Any:
        drawn.append(np.asarray(clips))
        return film_strip(clips, skeleton)

    monkeypatch.setattr(pcm3.viz.stores, "film_strip", note)
    joints = np.load(folder / "packed.npz")["joints"][..., :channels]
    if down:
        joints[..., 1:] *= -1  # as images count, y down and z away from the camera
    source, store = str(packed(tmp_path / "packed.npz", joints=joints)), f"{tmp_path}/store"
    assert main(["prepare", source, store, "--normalization", recipe]) == 0
    assert main(["show", store, "--index", "1", "--out", f"{tmp_path}/a.png"]) == 0
    (clips,) = drawn
    head, foot = (NTU25.joints.index(name) for name in ("head", "left_foot"))
    assert (clips[0, 1, :, head, 0] - clips[0, 1, :, foot, 0]).mean() > 0.8
    stored = Store(store).sequence(1)[:, :1].transpose(3, 0, 2, 1).copy()
    assert clips[0].shape == stored.shape  # without the second person, who is never there
    if recipe == "isc":  # turned, not mirrored
        np.testing.assert_array_equal(clips[0], [stored[0], stored[2], -stored[1]])
    else:
        stored[1:] *= -1 if down else 1
        np.testing.assert_array_equal(clips[0], stored)


@pytest.mark.parametrize(
    ("recipe", "down", "channels"),
    [("isc", False, 3), ("isc", True, 3), ("center", True, 3), ("center", True, 2)],
)
def test_results_stand_people_up(
    recipe: str, down: bool, channels: int, folder: Path, tmp_path: Path
) -> None:
    """What the report draws of single sequences has its second coordinate pointing up."""
    joints = np.load(folder / "packed.npz")["joints"][..., :channels]
    if down:
        joints[..., 1:] *= -1
    source = packed(tmp_path / "packed.npz", joints=joints, unit=np.array("metres"))
    prepare(source, tmp_path / "store", normalization=recipe, workers=1)
    store = Store(tmp_path / "store")
    encoder = GRUEncoder(25, channels, persons=1, hidden=4, layers=1, pool="mean").eval()
    pretrained = Pretrained(encoder, store.skeleton, "joint", 8)
    parts = [SkeletonDataset(store, part) for part in split(store, "xsub")]
    found = evaluate_knn(pretrained, *parts)["details"]["examples"]
    people = [np.array(each)[:, 0] for example in found for each in example["frames"]]
    settings = PredictionSettings(observed=4, predicted=3, horizons=(2,), epochs=1)
    found = evaluate_prediction(pretrained, *parts, settings)["details"]["examples"]
    people += [np.array(example[name]) for example in found for name in ("observed", "true")]
    head, foot = (NTU25.joints.index(name) for name in ("head", "left_foot"))
    heights = [(each[:, head, 1] - each[:, foot, 1]).mean() for each in people]
    assert np.median(heights) > 0.8
    assert np.median(heights[-6:]) > 0.8  # of motion prediction


def test_show_says_what_it_cannot_do(
    folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = ["show", f"{folder}/store"]
    for index in ("-1", "18", "nobody.npy"):
        line = one_error(capsys, [*show, f"--index={index}", "--out", f"{tmp_path}/a.gif"])
        assert f"[0, 18) of {folder}/store" in line
        assert line.endswith(f"', got {index!r}")
    for name in ("a.docx", "a"):
        line = one_error(capsys, [*show, "--out", f"{tmp_path}/{name}"])
        assert line.endswith(f".gif, .mp4, .html or .rrd, got {name}")
    line = one_error(capsys, ["show", f"{tmp_path}/nowhere", "--out", f"{tmp_path}/a.gif"])
    assert "nowhere: no such store" in line
    (tmp_path / "file").write_text("")
    line = one_error(capsys, [*show, "--out", f"{tmp_path}/file/a.png"])
    assert f"expected a folder, got the file {tmp_path}/file" in line
    monkeypatch.setitem(sys.modules, "rerun", None)
    line = one_error(capsys, [*show, "--out", f"{tmp_path}/a.rrd"])
    assert line.endswith("needs rerun-sdk; install it with pip install 'pcm3[rerun]'")
    assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_pretrain_on_two_stores(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    turned = NTU25.reordered(NTU25.joints[::-1])
    source = packed(tmp_path / "packed.npz", turned)
    assert main(["prepare", str(source), f"{tmp_path}/other"]) == 0
    stores = [str(folder / "store"), str(tmp_path / "other")]
    arguments = ["pretrain", "--data", *stores, "--out", f"{tmp_path}/run", *SMALL]
    result = run_json(capsys, [*arguments, "--train.epochs", "1"])
    data = json.loads(Run(tmp_path / "run").config.read_text())["data"]
    assert data["sequences"] == sum(len(split(Store(path), "xsub")[0]) for path in stores)
    assert result["metrics"]["step"] == data["sequences"] // 4
    for path in stores:  # either can be evaluated, whatever the order of its joints
        assert main(["evaluate", "knn", "--run", f"{tmp_path}/run", "--data", path]) == 0


def test_a_protocol_for_each_store(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    arrays = {"lengths": np.array([20] * 18)}
    joints = np.load(folder / "packed.npz")["joints"][:360]
    source = packed(tmp_path / "packed.npz", joints=joints, **arrays)
    assert main(["prepare", str(source), f"{tmp_path}/other"]) == 0
    stores = [str(folder / "store"), str(tmp_path / "other")]
    arguments = ["pretrain", "--data", *stores, "--out", f"{tmp_path}/run", *SMALL]
    arguments += ["--train.epochs", "1", "--protocol"]
    assert main([*arguments, "xsub", "xview"]) == 0
    data = json.loads(Run(tmp_path / "run").config.read_text())["data"]
    wanted = [
        split(Store(path), name)[0] for path, name in zip(stores, ("xsub", "xview"), strict=True)
    ]
    assert data["sequences"] == sum(map(len, wanted))
    capsys.readouterr()
    for path, protocol in zip(stores, ("xsub", "xview"), strict=True):
        knn = ["evaluate", "knn", "--run", f"{tmp_path}/run", "--data", path]
        assert run_json(capsys, knn)["protocol"] == protocol
    generate(tmp_path / "third", sequences=12, classes=2, subjects=2, views=1)
    third = ["evaluate", "knn", "--run", f"{tmp_path}/run", "--data", f"{tmp_path}/third"]
    assert "protocols xsub xview, one for each store" in one_error(capsys, third)
    assert run_json(capsys, [*third, "--protocol", "xsub"])["protocol"] == "xsub"
    line = one_error(capsys, [*arguments, "xsub", "xview", "all"])
    assert "expected one protocol, or one for each of 2 stores, got 'xsub xview all'" in line


def test_recipes_must_agree(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    other = str(tmp_path / "other")
    assert main(["prepare", str(folder / "packed.npz"), other, "--normalization", "isc"]) == 0
    capsys.readouterr()
    wanted = "expected a store prepared with normalization 'center'"
    run = ["--run", f"{folder}/run", "--data", other]
    assert wanted in one_error(capsys, ["evaluate", "linear", *run])
    assert wanted in one_error(capsys, ["features", *run, "--out", f"{tmp_path}/f.npz"])
    more = ["--train.epochs", "2"]
    line = one_error(capsys, pretrain(Path(other), folder / "run", *more))
    assert "data.normalization is 'center' there and 'isc' here" in line
    stores = ["--data", f"{folder}/store", other]
    line = one_error(capsys, ["pretrain", *stores, "--out", f"{tmp_path}/run", *SMALL])
    assert "same normalization, got center in" in line


def test_pretrain_leaves_a_run(folder: Path) -> None:
    run = Run(folder / "run")
    assert [record["epoch"] for record in run.read_metrics()] == [1, 2]
    config = json.loads(run.config.read_text())
    assert config["model"]["hidden"] == 8
    assert config["model"]["pool"] == "mean"  # the rest is the preset's
    assert config["train"]["optimizer"] == "adamw"
    assert load_encoder(run.encoder).encoder.out_features == 16


def test_pretrain_takes_a_preset_by_name(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    arguments = pretrain(folder / "store", tmp_path, "--preset", "ntu60-xview", "--train.epochs=0")
    assert run_json(capsys, arguments)["metrics"] == {"epoch": 0}
    config = json.loads(Run(tmp_path).config.read_text())
    assert (config["protocol"], config["model"]["pool"]) == ("xview", "last")


def test_epochs_alone_keep_the_shape_of_the_schedule(folder: Path, tmp_path: Path) -> None:
    for name, more, wanted in (
        ("a", ["--train.epochs", "5"], (5, 4)),
        ("b", ["--train.epochs=5", "--train.drop_epoch", "3"], (5, 3)),
        ("c", ["--train.epochs", "0"], (0, 160)),
    ):
        assert main(pretrain(folder / "store", tmp_path / name, *more)) == 0
        train = Run(tmp_path / name).load_config().train
        assert (train.epochs, train.drop_epoch) == wanted
    for name, more, warm in (("e", [], 0.025), ("f", ["--train.warmup_epochs=10"], 10)):
        out = ["--data", f"{folder}/store", "--out", f"{tmp_path}/{name}"]
        assert main(["pretrain", *MAMP_SMALL, *out, *more]) == 0
        assert Run(tmp_path / name).load_config().train.warmup_epochs == pytest.approx(warm)
    go_on = ["pretrain", "--from", f"{tmp_path}/a", "--data", f"{folder}/store"]
    assert main([*go_on, "--out", f"{tmp_path}/d", "--train.epochs", "10"]) == 0
    assert Run(tmp_path / "d").load_config().train.drop_epoch == 8


def test_pretrain_again_changes_nothing(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    before = Run(folder / "run").read_metrics()
    weights = load_encoder(folder / "run" / "encoder.safetensors").encoder.state_dict()
    result = run_json(capsys, pretrain(folder / "store", folder / "run", "--train.epochs", "2"))
    assert result["metrics"] == before[-1]
    assert result["run"] == str(folder / "run")
    assert main(pretrain(folder / "store", folder / "run", "--train.epochs", "2")) == 0
    assert "run: 2 epochs trained, 2 of them" in capsys.readouterr().out
    assert Run(folder / "run").read_metrics() == before
    moved = tmp_path / "moved"
    shutil.copytree(folder / "store", moved)
    assert main(pretrain(moved, folder / "run", "--train.epochs", "2")) == 0
    again = load_encoder(folder / "run" / "encoder.safetensors").encoder.state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in weights.items())


@pytest.mark.parametrize("protocol", ["xsub", "views:1"])
def test_evaluate_linear(folder: Path, capsys: Capture, protocol: str) -> None:
    more = [] if protocol == "xsub" else ["--protocol", protocol]  # the run's own by default
    result = run_json(capsys, evaluate("linear", folder, *more))
    assert result["protocol"] == protocol
    store, pretrained = Store(folder / "store"), load_encoder(folder / "run/encoder.safetensors")
    training, test = (
        extract_features(pretrained, SkeletonDataset(store, part))
        for part in split(store, protocol)
    )
    scores = fit_logistic(training, len(store.class_names))(test.values)
    right = scores.argmax(dim=1) == test.labels
    assert result["metrics"]["top1"] == pytest.approx(float(right.float().mean()))
    file = folder / "run/results" / f"linear_store_{protocol.replace(':', '_')}.json"
    written = json.loads(file.read_text())
    assert written["metrics"] == result["metrics"]
    assert written["train_sequences"] == len(training.labels)
    assert written["test_sequences"] == len(test.labels)


@pytest.mark.parametrize("solver", ["pcm3", "cmd", "mamp", "mamp-pku1", "mamp-pku2"])
def test_evaluate_linear_as_published(solver: str, folder: Path, capsys: Capture) -> None:
    more = ["--solver", solver, "--probe.epochs", "2", "--probe.batch-size", "4"]
    first, again = (run_json(capsys, evaluate("linear", folder, *more)) for _ in range(2))
    assert first == again
    assert 0 <= first["metrics"]["top1"] <= 1
    name = f"linear_solver-{solver}_probe.epochs-2_probe.batch_size-4_store_xsub.json"
    written = json.loads((folder / "run/results" / name).read_text())
    assert written["settings"]["solver"] == solver
    (note,) = written["notes"]
    assert "2 epochs, batch 4" in note
    assert main(evaluate("linear", folder, *more)) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith(f"linear xsub (solver {solver}): top1 ")
    assert note in shown.err


def test_headlines_name_the_solver(
    folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(evaluate("linear", folder)) == 0
    assert main(evaluate("occlusion", folder, "--train", "clean")) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("linear xsub (solver logistic): top1 ")
    assert lines[1].startswith("occlusion xsub (solver logistic): spatial_top1 ")
    some = {name: TASKS[name] for name in ("linear", "knn")}
    monkeypatch.setattr("pcm3.evaluation.evaluate.TASKS", some)
    assert main(evaluate("all", folder)) == 0
    linear, knn = capsys.readouterr().out.splitlines()
    assert "(solver logistic)" in linear
    assert "solver" not in knn
    store = Store(folder / "store")
    tests = split(store, "xsub")[1]
    few = f"; {int((store.labels[tests] >= 0).sum())} test sequences"
    assert all(few in line for line in (*lines, linear, knn))
    monkeypatch.setattr("pcm3.evaluation.evaluate._FEW", int(few.split()[1]))
    assert main(evaluate("linear", folder)) == 0
    assert "test sequences" not in capsys.readouterr().out


def test_evaluate_knn(folder: Path, capsys: Capture) -> None:
    result = run_json(capsys, evaluate("knn", folder))
    store, pretrained = Store(folder / "store"), load_encoder(folder / "run/encoder.safetensors")
    gallery, queries = (
        extract_features(pretrained, SkeletonDataset(store, part)) for part in split(store, "xsub")
    )
    likeness = torch.nn.functional.cosine_similarity(
        queries.values[:, None], gallery.values[None], dim=2
    )
    right = gallery.labels[likeness.argmax(dim=1)] == queries.labels
    assert result["metrics"]["top1"] == pytest.approx(float(right.float().mean()))
    assert main(evaluate("knn", folder, "--k", "2", "--recall-at", "1", "3")) == 0
    assert "knn xsub: top1 " in capsys.readouterr().out
    results = {file.name for file in (folder / "run/results").glob("knn*")}
    assert results == {"knn_store_xsub.json", "knn_k-2_recall_at-1-3_store_xsub.json"}


def test_evaluate_all(
    folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder / "run", run)
    shutil.rmtree(run / "results", ignore_errors=True)
    some = {name: TASKS[name] for name in ("linear", "knn", "detection", "fewshot")}
    monkeypatch.setattr("pcm3.evaluation.evaluate.TASKS", some)
    command = ["evaluate", "all", "--run", str(run), "--data", f"{folder}/store"]
    assert main([*command, "--json"]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    metrics = json.loads(last)["metrics"]
    assert list(metrics) == ["linear", "knn"]
    assert [line.split()[0] for line in lines] == list(some)
    assert "left out: " in lines[2]
    assert "no label for every frame" in lines[2]
    assert "expected at least 5 classes" in lines[3]
    for name in ("linear", "knn"):
        written = json.loads((run / f"results/{name}_store_xsub.json").read_text())
        assert written["metrics"] == metrics[name]
        assert run_json(capsys, evaluate(name, folder))["metrics"] == metrics[name]
        confusion = np.array(written["details"]["confusion"])
        assert confusion.trace() / confusion.sum() == pytest.approx(metrics[name]["top1"])
        assert written["settings"] == TASKS[name].defaults

    kept = run / "results/knn_store_xsub.json"
    kept.write_text(kept.read_text().replace('"top1": ', '"top1": 0.123, "once": '))
    assert run_json(capsys, command)["metrics"]["knn"]["top1"] == 0.123  # not evaluated again
    assert main(command) == 0
    assert "(kept)" in capsys.readouterr().out.splitlines()[1]
    changed = json.loads(kept.read_text())
    changed["data"]["frames"] += 1
    kept.write_text(json.dumps(changed))
    assert run_json(capsys, command)["metrics"] == metrics  # of other data
    assert json.loads(kept.read_text()) == changed  # which is not lost
    data = json.loads((run / "results/linear_store_xsub.json").read_text())["data"]
    kept = run / f"results/knn_store_xsub-{data['sequences']}-{data['frames']}.json"
    for other in ("store_fingerprint", "encoder"):
        content = kept.read_text().replace('"top1": ', '"top1": 0.123, "once": ')
        kept.write_text(content)
        assert run_json(capsys, command)["metrics"]["knn"]["top1"] == 0.123
        kept.write_text(re.sub(rf'"{other}": "\w+"', f'"{other}": "another"', content))
        assert run_json(capsys, command)["metrics"] == metrics  # of another store or encoder


def test_a_report_leaves_out_results_of_another_encoder(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "results", ignore_errors=True)
    data = ["--data", f"{folder}/store"]
    report = ["report", f"{tmp_path}/run", "--out", f"{tmp_path}/report"]
    for task in ("linear", "knn"):
        run_json(capsys, ["evaluate", task, "--run", f"{tmp_path}/run", *data])
    assert run_json(capsys, report)["left_out"] == []
    pretrained = load_encoder(tmp_path / "run")
    with torch.no_grad():
        next(pretrained.encoder.parameters()).mul_(0.5)
    save_encoder(tmp_path / "run/encoder.safetensors", pretrained)
    run_json(capsys, ["evaluate", "knn", "--run", f"{tmp_path}/run", *data])
    (left_out,) = run_json(capsys, report)["left_out"]
    assert "linear_store_xsub.json: made with another encoder" in left_out


def test_a_result_of_corrected_labels_is_made_anew(
    folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder / "run", tmp_path / "run")
    shutil.rmtree(tmp_path / "run" / "results", ignore_errors=True)
    monkeypatch.setattr(
        "pcm3.evaluation.evaluate.TASKS", {name: TASKS[name] for name in ("linear", "knn")}
    )
    command = ["evaluate", "all", "--run", f"{tmp_path}/run", "--data", f"{tmp_path}/store"]
    found = []
    for labels in (np.arange(18) % 3, np.arange(18) // 2 % 3):
        source = packed(tmp_path / "packed.npz", labels=labels)
        assert main(["prepare", "packed", str(source), f"{tmp_path}/store", "--overwrite"]) == 0
        assert main(command) == 0
        assert "(kept)" not in capsys.readouterr().out
        file = tmp_path / "run/results/knn_store_xsub.json"
        found.append(json.loads(file.read_text())["details"]["labels"])
        assert main(command) == 0
        assert capsys.readouterr().out.count("(kept)") == 2
    assert found[0] != found[1]


def test_untrimmed_recordings(tmp_path: Path, capsys: Capture) -> None:
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "store", NTU25, class_names=["raise", "bend"]) as writer:
        for number in range(6):
            labels = np.repeat([-1, 0, -1, 1, -1, 0, -1], 20)
            frames = rng.normal(size=(3, 25, 3))[labels] + rng.normal(0, 0.1, (140, 25, 3))
            segments = [(20, 40, 0), (60, 80, 1), (100, 120, 0)]
            annotated = {"frame_labels": labels, "segments": segments}
            writer.add(frames[:, None], name=f"v{number}", subjects=number % 3, **annotated)
    command = pretrain(tmp_path / "store", tmp_path / "run", "--train.epochs", "1")
    assert main(command) == 0
    trained = json.loads(Run(tmp_path / "run").config.read_text())["data"]
    # 2 recordings of 140 frames in windows of twice 16, from 0, 16, 32, ... and from 108
    assert (trained["sequences"], trained["frames"]) == (2 * 8, 2 * 8 * 32)
    capsys.readouterr()
    few = ["--epochs", "2", "--drops", "1", "--pku-files", f"{tmp_path}/pku"]
    result = run_json(capsys, evaluate("detection", tmp_path, *few))
    (file,) = (tmp_path / "run/results").iterdir()
    assert file.name == "detection_epochs-2_drops-1_store_xsub.json"
    assert "pku_files" not in json.loads(file.read_text())["settings"]
    assert {each.name for each in (tmp_path / "pku").iterdir()} == {
        "v0.txt",
        "v2.txt",
        "v3.txt",
        "v5.txt",
    }
    assert 0 <= result["metrics"]["map_action_voc_0.5"] <= 1
    line = one_error(capsys, evaluate("linear", tmp_path))
    assert "recordings are untrimmed, without a label of their own, which linear needs" in line


MAMP_SMALL = [
    *("--preset", "small-mamp", "--model.frames", "16", "--model.width", "8"),
    *("--model.depth", "1", "--model.heads", "2", "--train.batch-size", "4"),
    *("--train.knn-every", "0", "--train.accelerator", "cpu", "--train.epochs", "1"),
]


def test_mamp(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    data = ["--data", f"{folder}/store", "--out", f"{tmp_path}/run"]
    result = run_json(capsys, ["pretrain", *MAMP_SMALL, *data])
    assert result["metrics"]["total"] == result["metrics"]["masked_mse"] > 0
    assert json.loads(Run(tmp_path / "run").config.read_text())["method"] == "mamp"
    encoder = load_encoder(tmp_path / "run/encoder.safetensors").encoder
    assert (type(encoder).__name__, encoder.out_features) == ("TransformerEncoder", 8)
    assert main(evaluate("knn", tmp_path, "--data", f"{folder}/store")[:4] + data[:2]) == 0
    capsys.readouterr()
    distil = ["pretrain", "--phase", "post-distill", "--from", f"{tmp_path}/run", *data[:2]]
    line = one_error(capsys, [*distil, "--out", f"{tmp_path}/second"])
    assert "expected a run of PCM3 or PCM3++ to distil, got one of mamp" in line


@pytest.mark.parametrize("encoder", ["stgcn", "transformer"])
def test_other_encoders(folder: Path, tmp_path: Path, encoder: str) -> None:
    more = ["--train.epochs", "1", "--model.encoder", encoder]
    assert main(pretrain(folder / "store", tmp_path / "run", *more)) == 0
    assert load_encoder(tmp_path / "run/encoder.safetensors").encoder.out_features == 8
    assert main(["evaluate", "knn", "--run", f"{tmp_path}/run", "--data", f"{folder}/store"]) == 0


def test_several_runs_are_fused(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    other = tmp_path / "bone"
    more = ["--train.epochs", "1", "--model.stream", "bone"]
    assert main(pretrain(folder / "store", other, *more)) == 0
    capsys.readouterr()
    store, scores = Store(folder / "store"), []
    runs = [folder / "run", other]
    for run in runs:
        pretrained = load_encoder(run / "encoder.safetensors")
        training, test = (
            extract_features(pretrained, SkeletonDataset(store, part))
            for part in split(store, "xsub")
        )
        scores.append(fit_logistic(training, len(store.class_names))(test.values))
    fused = (0.3 * scores[0] + 0.7 * scores[1]).argmax(1) == test.labels
    arguments = ["evaluate", "linear", "--data", f"{folder}/store", "--run", *map(str, runs)]
    result = run_json(capsys, [*arguments, "--weights", "0.3", "0.7"])
    assert result["metrics"]["top1"] == pytest.approx(float(fused.float().mean()))
    (file,) = (runs[0] / "results").glob("linear_fused_*bone_0.3_0.7_store_xsub.json")
    written = json.loads(file.read_text())
    assert result["weights"] == written["weights"] == [0.3, 0.7]
    assert result["runs"] == written["runs"]
    assert [each["run"] for each in written["runs"]] == ["run", "bone"]
    for each, score in zip(written["runs"], scores, strict=True):
        right = score.argmax(1) == test.labels
        assert each["top1"] == pytest.approx(float(right.float().mean()))
        assert (each["protocol"], each["test_sequences_seen"]) == ("xsub", 0)
    assert main(arguments) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    lines = shown.out.splitlines()
    assert [line.split(": top1")[0] for line in lines] == [f"  {run}" for run in runs] + [
        "linear xsub (solver logistic)"
    ]
    assert [line.split(", ")[-1] for line in lines[:2]] == ["weight 0.5"] * 2
    twin = tmp_path / "elsewhere" / "bone"
    shutil.copytree(other, twin)
    before = set((runs[0] / "results").iterdir())
    assert main([*arguments[:-1], str(twin)]) == 0  # does not take the other bone's place
    assert len(set((runs[0] / "results").iterdir()) - before) == 1
    capsys.readouterr()
    same = [*arguments, f"{other}/encoder.safetensors"]
    assert "expected different runs, got" in one_error(capsys, same)
    assert "expected a weight for each of 2" in one_error(capsys, [*arguments, "--weights", "1"])
    for task in ("knn", "all"):
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", task, *arguments[2:]])
        assert ended.value.code == 2
        assert f"Unrecognized options: {other}" in unboxed(capsys.readouterr().err)


def test_runs_that_have_seen_test_sequences(
    folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = tmp_path / "whole"
    more = ["--train.epochs", "1", "--protocol", "all"]
    assert main(pretrain(folder / "store", whole, *more)) == 0
    capsys.readouterr()
    test = len(split(Store(folder / "store"), "xsub")[1])
    data = ["--data", f"{folder}/store"]
    both = ["evaluate", "linear", "--run", f"{folder}/run", str(whole), *data]
    line = one_error(capsys, both)
    assert f"under one protocol, got xsub ({folder}/run), all ({whole}):" in line
    for arguments, own in (
        (["evaluate", "knn", "--run", str(whole), *data], ["all"]),
        (both, ["xsub", "all"]),
    ):
        assert main([*arguments, "--protocol", "xsub", "--json"]) == 0
        shown = capsys.readouterr()
        (line,) = shown.err.splitlines()
        assert line == (
            f"pcm3: warning: {whole} was pretrained (protocol all), without labels, on {test} of "
            f"the {test} test sequences"
        )
        runs = json.loads(shown.out.splitlines()[-1])["runs"]
        assert [each["protocol"] for each in runs] == own
        assert [each["test_sequences_seen"] for each in runs] == [0, test][-len(own) :]
    few = {name: TASKS[name] for name in ("linear", "knn")}
    monkeypatch.setattr("pcm3.evaluation.evaluate.TASKS", few)
    assert main(["evaluate", "all", "--run", str(whole), *data, "--protocol", "xsub"]) == 0
    assert capsys.readouterr().err == f"{line}\n"  # once for all tasks
    # fewer were seen, though the protocol is another one
    assert main(evaluate("knn", folder, "--protocol", "subjects:1,2,3")) == 0
    assert capsys.readouterr().err == ""
    # another store: transfer
    generate(tmp_path / "other", sequences=12, classes=2, subjects=2, views=1)
    transfer = ["evaluate", "knn", "--run", str(whole), "--data", f"{tmp_path}/other"]
    result = run_json(capsys, [*transfer, "--protocol", "xsub"])
    assert result["runs"][0]["test_sequences_seen"] == 0


def test_what_the_start_has_seen_is_not_forgotten(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    more = ["--train.epochs", "1", "--protocol", "all"]
    assert main(pretrain(folder / "store", first, *more)) == 0
    go_on = ["pretrain", "--phase", "post-distill", "--from", str(first), "--protocol", "xsub"]
    capsys.readouterr()
    data = ["--data", f"{folder}/store"]
    assert main([*go_on, *data, "--out", str(second)]) == 0
    assert f"warning: {first} was trained on " in capsys.readouterr().err
    assert main(["evaluate", "knn", "--run", str(second), *data]) == 0
    assert "knn xsub" in (shown := capsys.readouterr()).out
    assert "pcm3: warning: " in shown.err


def test_options_without_effect(folder: Path, capsys: Capture) -> None:
    for more, what in (
        (["--weights", "1"], "weights need several runs"),
        (["--probe.epochs", "5"], "probe has no effect on solver logistic"),
    ):
        assert what in one_error(capsys, evaluate("linear", folder, *more))
    for task, more, what in (
        ("knn", ["--solver", "pcm3"], "--solver"),
        ("linear", ["--solver", "sgd"], "--solver"),
        ("knn", ["--weights", "1"], "--weights"),
        ("linear", ["--k", "5"], "--k"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(evaluate(task, folder, *more))
        assert ended.value.code == 2
        assert what in unboxed(capsys.readouterr().err)


def test_an_encoder_without_its_run(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    file = tmp_path / "joint.safetensors"
    shutil.copy(folder / "run/encoder.safetensors", file)
    data = ["--data", f"{folder}/store"]
    knn = ["evaluate", "knn", "--run", str(file), *data]
    assert "joint.safetensors does not record the protocol" in one_error(capsys, knn)
    result = run_json(capsys, [*knn, "--protocol", "xsub"])
    same = run_json(capsys, evaluate("knn", folder))
    assert result["metrics"] == same["metrics"]
    about = {"run": "joint.safetensors", "protocol": None, "test_sequences_seen": None}
    about["encoder"] = fingerprint(file)
    assert result["runs"] == [about | {"top1": same["metrics"]["top1"]}]
    assert list(tmp_path.iterdir()) == [file]
    out = ["--out", f"{tmp_path}/features.npz"]
    assert main(["features", "--run", str(file), *data, *out]) == 0
    assert {each.name for each in tmp_path.iterdir()} == {"joint.safetensors", "features.npz"}


def test_kept_encoders_are_evaluated_in_their_run(
    folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    more = ["--train.epochs", "4", "--train.keep-epochs", "3"]
    assert main(pretrain(folder / "store", run, *more)) == 0
    kept, data = f"{run}/encoder-epoch3.safetensors", ["--data", f"{folder}/store"]
    capsys.readouterr()
    result = run_json(capsys, ["evaluate", "linear", "--run", kept, *data])  # no --protocol
    about = {"run": "run", "epoch": 3, "protocol": "xsub", "test_sequences_seen": 0}
    about["encoder"] = fingerprint(kept)
    assert result["runs"] == [about | {"top1": result["metrics"]["top1"]}]
    (file,) = (run / "results").iterdir()
    assert file.name == "linear_epoch3_store_xsub.json"
    features = [
        extract_features(load_encoder(kept), SkeletonDataset(Store(folder / "store"), part))
        for part in split(Store(folder / "store"), "xsub")
    ]
    scores = fit_logistic(features[0], 3)(features[1].values)
    right = (scores.argmax(dim=1) == features[1].labels).float().mean()
    assert result["metrics"]["top1"] == pytest.approx(float(right))

    assert main(["evaluate", "knn", "--run", str(run), *data]) == 0
    fused = ["evaluate", "linear", "--run", kept, str(run), *data]
    assert [each.get("epoch") for each in run_json(capsys, fused)["runs"]] == [3, None]
    names = {file.name for file in (run / "results").iterdir()}
    assert names == {
        "linear_epoch3_store_xsub.json",
        "knn_store_xsub.json",
        "linear_epoch3_fused_run_store_xsub.json",
    }
    few = {name: TASKS[name] for name in ("linear", "knn")}
    monkeypatch.setattr("pcm3.evaluation.evaluate.TASKS", few)
    assert main(["evaluate", "all", "--run", kept, *data]) == 0
    assert "(kept)" in capsys.readouterr().out.splitlines()[0]
    assert (run / "results/knn_epoch3_store_xsub.json").exists()
    assert main(["report", str(run), "--out", f"{tmp_path}/report"]) == 0
    shown = capsys.readouterr().out
    for row in ("linear (epoch 3, solver logistic)", "knn (epoch 3)", "| knn |"):
        assert row in shown
    copy = tmp_path / "encoder-epoch3.safetensors"  # beside no run
    shutil.copy(kept, copy)
    knn = ["evaluate", "knn", "--run", str(copy), *data]
    assert "does not record the protocol" in one_error(capsys, knn)


def test_going_on_from_a_run(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    run, data = f"{folder}/run", ["--data", f"{folder}/store"]
    go_on = ["pretrain", "--from", run, *data, "--out"]
    result = run_json(capsys, [*go_on, f"{tmp_path}/on", "--train.epochs", "1"])
    assert result["metrics"]["epoch"] == 1
    there, here = (Run(path).load_config() for path in (run, f"{tmp_path}/on"))
    assert here.model == there.model
    for more, message in (
        (["--model.hidden", "9"], "model.hidden is 8 there and 9 here"),
        (["--model.stream", "bone"], "model.stream is 'joint' there and 'bone' here"),
        (["--model.direction", "bidirectional"], "model.direction is 'causal_pair' there"),
        (["--preset", "small-mamp"], "method is pcm3 there and mamp here"),
        (
            ["--model.positives", "intra", "clip"],
            "domain_prompts.clip.offset is absent there and (3, 25, 1) here",
        ),
    ):
        line = one_error(capsys, [*go_on, f"{tmp_path}/other", *more])
        assert f"{run} holds another model: {message}" in line
    turned = packed(tmp_path / "turned.npz", NTU25.reordered(NTU25.joints[::-1]))
    for source, options, message in (
        (folder / "packed.npz", ["--normalization", "isc"], "normalization is 'center' there"),
        (turned, [], "25 joints of 'ntu25' there and 25 of 'ntu25' here, or in another order"),
    ):
        store = f"{tmp_path}/{source.stem}"
        assert main(["prepare", "packed", str(source), store, *options]) == 0
        capsys.readouterr()
        line = one_error(
            capsys, ["pretrain", "--from", run, "--data", store, "--out", f"{tmp_path}/other"]
        )
        assert f"{run} was trained on other data: {message}" in line


def test_help_has_a_heading_for_the_model(capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["pretrain", "--help-all"])
    shown = capsys.readouterr().out
    assert "model options" in shown
    assert "type: ignore" not in shown


def test_post_distillation(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    positives = ["--model.positives", "intra", "inter", "mask", "predict", "clip"]
    assert main(pretrain(folder / "store", first, "--train.epochs", "3", *positives)) == 0
    capsys.readouterr()
    data = ["--data", f"{folder}/store", "--out", str(second)]
    result = run_json(capsys, ["pretrain", "--phase", "post-distill", "--from", str(first), *data])
    terms = {name for name in result["metrics"] if "/" in name}
    assert terms == {f"kl/{view}" for view in positives[1:]}
    config, before = (json.loads(Run(run).config.read_text()) for run in (second, first))
    assert config["start"] == "first"
    assert config["train"]["epochs"] == 1
    assert config["train"]["lr"] == pytest.approx(before["train"]["lr"] / 10)
    assert config["model"] == before["model"] | {
        "info_nce_weight": 0, "mask_weight": 0, "result": "key"
    }  # fmt: skip
    exported = load_encoder(second / "encoder.safetensors").encoder.state_dict()
    trained = Run(second).load_checkpoint()["model"]
    for name, value in exported.items():
        assert torch.equal(value, trained[f"key_encoder.module.{name}"]), name
    started = Run(first).load_checkpoint()["model"]
    moved = started["key_encoder.module.layers.0.0.weight_ih_l0"]
    assert not torch.equal(moved, trained["key_encoder.module.layers.0.0.weight_ih_l0"])
    torch.testing.assert_close(  # it went on from there
        moved, trained["key_encoder.module.layers.0.0.weight_ih_l0"], rtol=0, atol=0.01
    )
    missing = ["pretrain", "--phase", "post-distill", *data]
    assert "--from RUN" in one_error(capsys, missing)
    both = [*missing, "--from", str(first), "--preset", "small-pp"]
    assert "--preset small-pp" in one_error(capsys, both)
    other = ["--from", str(tmp_path), *data]
    line = one_error(capsys, ["pretrain", "--phase", "post-distill", *other])
    assert "expected a run folder with a config.json" in line
    wide = ["--model.hidden", "9", "--from", str(first), "--data", f"{folder}/store"]
    line = one_error(
        capsys, ["pretrain", "--phase", "post-distill", *wide, "--out", f"{tmp_path}/wide"]
    )
    assert "first holds another model: " in line


@pytest.mark.parametrize(
    ("preset", "recipe", "noted"),
    [
        *(("ntu60-xsub", "center", "isc"), ("ntu60-xsub", "isc", None)),
        *(("ntu60-xsub-mamp", "isc", "sgn"), ("pku1-xsub-mamp", "isc", "none")),
        *(("ntu120-xsub-mae", "isc", "sgn"), ("pku2-xsub-mae", "none", None)),
        *(("small", "center", None), ("small", "isc", None), ("small-mamp", "center", None)),
    ],
)
def test_published_settings_on_other_recordings(
    preset: str, recipe: str, noted: str | None, tmp_path: Path, capsys: Capture
) -> None:
    store = generate(
        tmp_path / "store", sequences=8, classes=2, subjects=2, normalization=recipe
    ).path
    width = ["--model.width=8"] if preset[-4:] in ("mamp", "-mae") else ["--model.hidden=8"]
    more = ["--protocol", "xsub", "--train.epochs=0", "--train.batch-size=2", *width]
    out = ["--data", str(store), "--out", f"{tmp_path}/run"]
    assert main(["pretrain", "--preset", preset, *out, *more]) == 0
    said = capsys.readouterr().err
    if noted is None:
        assert "note" not in said
    else:
        assert f"note: {preset} was published on recordings with --normalization {noted}" in said
        assert f"{store} has {recipe}" in said


def test_small_mamp_on_recordings_that_are_turned(tmp_path: Path, capsys: Capture) -> None:
    data = generate(tmp_path / "store", sequences=8, classes=2, subjects=2, normalization="isc")
    arguments = ["--preset", "small-mamp", "--data", str(data.path), "--out", f"{tmp_path}/run"]
    more = ["--train.epochs=0", "--train.batch-size=2", "--model.width=8"]
    assert main(["pretrain", *arguments, *more]) == 0
    said = capsys.readouterr().err
    assert "note: MAMP" in said
    assert f"{tmp_path}/store are rotated (isc)" in said


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_names_that_a_terminal_cannot_show(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with StoreWriter(tmp_path / "store", NTU25, class_names=["w\udc80ve", "\u6325"]) as writer:
        for label in (0, 1):
            writer.add(np.full((2, 1, 25, 3), label + 1.0), label, name=f"\u6325\udc80 {label}")
    out = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr("sys.stdout", out)
    assert main(["show", f"{tmp_path}/store"]) == 0
    assert main(["show", f"{tmp_path}/store", "--index", "1"]) == 0
    out.seek(0)
    assert r"w\udc80ve 1" in out.read()


def test_stores_and_runs_are_told_apart(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    store, run = f"{folder}/store", f"{folder}/run"
    line = one_error(capsys, ["evaluate", "knn", "--run", store, "--data", store])
    assert f"got the store {store}" in line
    assert f"{run}: a run, not a store" in one_error(capsys, ["show", run])
    line = one_error(capsys, ["show", f"{folder}/packed.npz"])
    assert "expected a store, which is a folder, got a file; `pcm3 prepare` makes" in line


@pytest.mark.parametrize(("recipe", "floats"), [("none", False), ("center", True), ("isc", True)])
def test_show_says_that_bodies_float(
    recipe: str, floats: bool, folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    store, said = f"{tmp_path}/store", "each frame is relative to spine_mid"
    prepare(folder / "packed.npz", store, normalization=recipe, workers=1)
    show = ["show", store, "--index", "0"]
    assert main([*show, "--out", f"{tmp_path}/a.svg"]) == 0
    assert (said in capsys.readouterr().out) == floats
    picture = (tmp_path / "a.svg").read_text()
    assert ("each frame relative to spine_mid" in picture) == floats


def test_training_data_test_nothing(folder: Path, capsys: Capture) -> None:
    line = one_error(capsys, evaluate("knn", folder, "--protocol", "all"))
    assert "'all' would test on training data; give another --protocol" in line


def test_export(
    folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "deep" / "encoder.pt2"
    run = tmp_path / "run"
    options = ["--model.layers", "1", "--train.epochs", "0"]
    assert main(pretrain(folder / "store", run, *options)) == 0
    capsys.readouterr()
    export = ["export", "--run", str(run), "--out"]
    assert main([*export, str(out), "--json"]) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["metrics"]["clips"] == [None, 3, 16, 25, 1]
    assert result["metrics"]["deviation"] < 1e-5
    clips = torch.randn(3, 3, 16, 25, 1)
    frames, pooled = torch.export.load(out).module()(clips)
    encoder = load_encoder(run / "encoder.safetensors").encoder
    expected = encoder(clips).detach()
    torch.testing.assert_close(frames, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(pooled, encoder.pool(expected), rtol=0, atol=1e-5)
    alone = shutil.copy(run / "encoder.safetensors", tmp_path)  # without its run
    written: list[tuple[Any, ...]] = []  # tests/test_export.py writes such files

    def write(*arguments: Any) -> float:
        written.append(arguments)
        return 0.0

    monkeypatch.setattr("pcm3.export.export_onnx", write)
    onnx = ["export", "--run", str(alone), "--out", f"{tmp_path}/encoder.onnx"]
    assert main([*onnx, "--frames", "20"]) == 0
    ((pretrained, file, length),) = written
    assert (pretrained.stream, str(file), length) == ("joint", onnx[-1], 20)
    assert "clips (N, 3, 20, 25, 1)" in capsys.readouterr().out
    wanted = "expected --out FILE.pt2 or FILE.onnx, got encoder.pt"
    assert wanted in one_error(capsys, [*export, "encoder.pt"])
    for positional in (run, alone, folder / "store"):
        said = one_error(capsys, ["export", str(positional), "--out", f"{tmp_path}/encoder.onnx"])
        assert "expected" in said
        assert (f"--run {positional}" in said) == (positional != folder / "store")


def test_features(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    out = tmp_path / "deep" / "features.npz"
    arguments = ["features", "--run", f"{folder}/run", "--data", f"{folder}/store", "--out"]
    result = run_json(capsys, [*arguments, str(out)])
    assert result["metrics"] == {"shape": [18, 16]}
    store, written = Store(folder / "store"), np.load(out)
    pretrained = load_encoder(folder / "run/encoder.safetensors")
    expected = extract_features(pretrained, SkeletonDataset(store)).values
    np.testing.assert_allclose(written["features"], expected.numpy(), rtol=1e-5)
    for name in ("subjects", "views"):
        assert written[name].tolist() == store.columns[name].tolist()
    assert written["labels"].tolist() == store.labels.tolist()
    assert str(written["store_fingerprint"]) == store.fingerprint
    assert str(written["encoder_fingerprint"]) == fingerprint(folder / "run")
    assert [file.name for file in out.parent.iterdir()] == ["features.npz"]


def test_features_of_a_store_that_is_replaced_meanwhile(
    folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(folder / "store", tmp_path / "store")

    def replace_it(*arguments: Any) -> Features:
        values = extract_features(*arguments)
        generate(tmp_path / "store", sequences=18, seed=9, overwrite=True)
        return values

    monkeypatch.setattr("pcm3.evaluation.features.extract_features", replace_it)
    out = ["--out", f"{tmp_path}/features.npz"]
    command = ["features", "--run", f"{folder}/run", "--data", f"{tmp_path}/store", *out]
    assert "changed while it was in use" in one_error(capsys, command)
    assert not (tmp_path / "features.npz").exists()


def test_where_encoders_compute(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    run_json(capsys, evaluate("knn", folder, "--accelerator", "cpu"))
    result = folder / "run/results/knn_store_xsub.json"
    assert json.loads(result.read_text())["device"] == "cpu"
    out, data = tmp_path / "features.npz", str(folder / "store")
    features = ["features", "--run", f"{folder}/run", "--data", data, "--out", str(out)]
    for arguments in (evaluate("knn", folder), evaluate("all", folder), features):
        error = one_error(capsys, [*arguments, "--accelerator", "abacus"])
        assert "expected accelerator auto or cpu" in error
        assert "got 'abacus'" in error
    assert not out.exists()


def test_another_stream_and_no_labels(tmp_path: Path, capsys: Capture) -> None:
    source = packed(tmp_path / "packed.npz", KINECT20, labels=np.full(18, -1))
    assert main(["prepare", "packed", str(source), f"{tmp_path}/store"]) == 0
    more = ["--train.epochs", "1", "--model.stream", "bone", "--protocol", "all"]
    assert main(pretrain(tmp_path / "store", tmp_path / "run", *more)) == 0
    loaded = load_encoder(tmp_path / "run/encoder.safetensors")
    assert (loaded.stream, loaded.skeleton.name) == ("bone", "kinect20")
    capsys.readouterr()
    line = one_error(capsys, evaluate("knn", tmp_path, "--protocol", "xsub"))
    assert f"{tmp_path}/store: none of the 18 sequences has a label, which knn needs" in line


def test_sequences_without_a_label_are_left_out(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    whole = Store(folder / "store")
    test = whole.columns["subjects"] % 2 == 0
    unknown = np.isin(np.arange(18), [*np.flatnonzero(test)[:1], *np.flatnonzero(~test)[3:5]])
    few = packed(tmp_path / "few.npz", labels=np.where(unknown, -1, whole.labels))
    rows = {name: whole.columns[name] for name in ("subjects", "views")}
    rows |= {"labels": whole.labels, "lengths": whole.lengths}
    with np.load(few) as arrays:
        rows = {"joints": arrays["joints"][np.repeat(~unknown, whole.lengths)]} | {
            name: values[~unknown] for name, values in rows.items()
        }
    known = packed(tmp_path / "known.npz", **rows)
    for name, file in (("few", few), ("known", known)):
        assert main(["prepare", "packed", str(file), f"{tmp_path}/{name}"]) == 0
    for task in ("knn", "linear"):
        results = []
        for name in ("few", "known"):
            command = ["evaluate", task, "--run", f"{folder}/run", "--data", f"{tmp_path}/{name}"]
            capsys.readouterr()
            assert main([*command, "--json"]) == 0
            shown = capsys.readouterr()
            results.append(json.loads(shown.out.splitlines()[-1])["metrics"])
            said = [
                f"{(unknown & part).sum()} of {part.sum()} {which} sequences have no label"
                for which, part in (("training", ~test), ("test", test))
            ]
            assert all((line in shown.err) == (name == "few") for line in said)
        assert results[0] == results[1]
    line = one_error(capsys, [*command[:5], f"{tmp_path}/few", "--protocol", "labels:0-2"])
    assert f"{tmp_path}/few: none of the {unknown.sum()} test sequences has a label" in line


# --- what goes wrong ------------------------------------------------------------------------------


def test_missing_paths(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    nowhere = tmp_path / "nowhere"
    run, store = f"{folder}/run", f"{folder}/store"
    for arguments in (
        ["prepare", "packed", str(nowhere), f"{tmp_path}/store"],
        pretrain(nowhere, tmp_path / "run"),
        ["evaluate", "knn", "--run", str(nowhere), "--data", store],
        ["evaluate", "knn", "--run", run, "--data", str(nowhere)],
        ["features", "--run", run, "--data", str(nowhere), "--out", f"{tmp_path}/f.npz"],
    ):
        assert str(nowhere) in one_error(capsys, arguments)
    assert list(tmp_path.iterdir()) == []


def test_corrupt_source(tmp_path: Path, capsys: Capture) -> None:
    source = tmp_path / "packed.npz"
    source.write_bytes(b"no archive")
    line = one_error(capsys, ["prepare", "packed", str(source), f"{tmp_path}/store"])
    assert f"{source}: not a readable .npz" in line
    assert [file.name for file in tmp_path.iterdir()] == ["packed.npz"]


def test_corrupt_encoder(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "config.json").write_text((folder / "run" / "config.json").read_text())
    (tmp_path / "encoder.safetensors").write_bytes(b"no tensors")
    arguments = ["evaluate", "knn", "--run", str(tmp_path), "--data", f"{folder}/store"]
    assert "not a safetensors file" in one_error(capsys, arguments)


def test_store_that_is_there_already(folder: Path, capsys: Capture) -> None:
    arguments = ["prepare", "packed", f"{folder}/packed.npz", f"{folder}/store"]
    assert f"{folder}/store" in one_error(capsys, arguments)
    assert main([*arguments, "--overwrite"]) == 0


def test_store_of_another_skeleton(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    source = packed(tmp_path / "packed.npz", KINECT20)
    assert main(["prepare", "packed", str(source), f"{tmp_path}/store"]) == 0
    capsys.readouterr()
    for arguments in (
        ["evaluate", "linear", "--run", f"{folder}/run", "--data", f"{tmp_path}/store"],
        ["evaluate", "knn", "--run", f"{folder}/run", "--data", f"{tmp_path}/store"],
        ["features", "--run", f"{folder}/run", "--data", f"{tmp_path}/store", "--out", "f.npz"],
    ):
        line = one_error(capsys, arguments)
        assert "'ntu25' (25 joints" in line
        missing = [name for name in NTU25.joints if name not in KINECT20.joints]
        assert f"'kinect20' (20 joints), without {', '.join(missing[:5])} and " in line
        assert "--to common15" in line


def test_settings_that_cannot_be(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    store, run = folder / "store", tmp_path / "run"
    for more, message in (
        (["--preset", "huge"], "got 'huge'"),
        (["--protocol", "alphabetical"], "unknown protocol 'alphabetical'"),
        (["--model.temperature", "0"], "expected temperature > 0"),
        (["--train.batch-size", "500"], "at least 500 training sequences"),
    ):
        assert message in one_error(capsys, pretrain(store, run, *more))
    assert not (run / "encoder.safetensors").exists()
    other = pretrain(store, folder / "run", "--train.epochs", "2", "--model.layers", "1")
    assert "model.layers is 3 there and 1 here" in one_error(capsys, other)


@pytest.mark.parametrize(
    ("command", "option"),
    [
        ("pretrain", "--data"),
        ("pretrain", "--protocol"),
        ("evaluate linear", "--run"),
        ("evaluate linear", "--weights"),
        ("evaluate linear", "--probe.drops"),
        ("evaluate knn", "--run"),
        ("evaluate knn", "--data"),
        ("evaluate knn", "--recall-at"),
        ("evaluate semi", "--fractions"),
        ("evaluate occlusion", "--ratio"),
        ("evaluate robustness", "--ratios"),
        ("evaluate robustness", "--noise"),
        ("evaluate robustness", "--strides"),
        ("evaluate detection", "--drops"),
        ("evaluate fewshot", "--shots"),
        ("evaluate fewshot", "--classifiers"),
        ("evaluate fewshot", "--classes"),
        ("evaluate prediction", "--horizons"),
        ("report", "RUN..."),
    ],
)
def test_options_without_a_value(command: str, option: str, capsys: Capture) -> None:
    needed = {"pretrain": ("--data", "--out"), "report": ()}.get(command, ("--run", "--data"))
    arguments = [part for name in needed if name != option for part in (name, "nowhere")]
    for more in ([option], [option, "--json"]) if command != "report" else ([], ["--json"]):
        with pytest.raises(SystemExit) as ended:
            main([*command.split(), *arguments, *more])
        assert ended.value.code == 2
        shown = unboxed(capsys.readouterr().err)
        assert option in shown
        assert any(
            message in shown
            for message in ("expected at least one value, got none", "Missing value for argument")
        )


@pytest.mark.parametrize(
    ("option", "name"), [("--model.positives", "positives"), ("--train.keep-epochs", "keep_epochs")]
)
def test_settings_without_a_value_are_empty(
    option: str, name: str, folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    command = pretrain(folder / "store", tmp_path / "run", "--train.epochs", "1", option)
    result = run_json(capsys, command)
    group = option[2:].partition(".")[0]
    assert json.loads(Run(tmp_path / "run").config.read_text())[group][name] == []
    terms = {term for term in result["metrics"] if "/" in term or term == "masked_mse"}
    if name == "positives":
        assert terms == {"masked_mse"}
    else:
        assert len(terms) == 9
    assert getattr(getattr(Run(tmp_path / "run").load_config(), group), name) == ()


def test_only_linear_shows_several_runs(capsys: Capture) -> None:
    for task in (*TASKS, "all"):
        with pytest.raises(SystemExit):
            main(["evaluate", task, "--help"])
        several = "--run PATH [PATH ...]" in unboxed(capsys.readouterr().out)
        assert several == (task == "linear")


def test_settings_are_switched_either_way(capsys: Capture) -> None:
    for command, name in (
        (["evaluate", "prediction"], "finetune"),
        (["evaluate", "detection"], "normalize"),
        (["evaluate", "finetune"], "scratch"),
        (["pretrain"], "train.decay-vectors"),
    ):
        with pytest.raises(SystemExit):
            main([*command, "--help-all"])
        shown = unboxed(capsys.readouterr().out)
        group, _, last = name.rpartition(".")
        off = f"{group}.no-{last}" if group else f"no-{last}"
        assert f"--{name}, --{off} " in shown
        assert "--no-json" not in shown
    for command in ("demo", "prepare", "show", "features", "export", "report"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert "--no-" not in capsys.readouterr().out


def test_seeds_that_are_none(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    what = "expected seed in [0, 2**32), got -1"
    assert what in one_error(capsys, evaluate("knn", folder, "--seed", "-1"))
    assert what in one_error(capsys, ["demo", "--out", f"{tmp_path}/demo", "--seed", "-1"])
    with pytest.raises(SystemExit) as ended:
        main(pretrain(folder / "store", tmp_path / "run", "--train.seed", "-1"))
    assert ended.value.code == 2
    assert f"train: {what}" in unboxed(capsys.readouterr().err)
    assert list(tmp_path.iterdir()) == []


def test_pretraining_on_one_subject(tmp_path: Path, capsys: Capture) -> None:
    source = packed(tmp_path / "packed.npz", subjects=np.full(18, 1))
    assert main(["prepare", "packed", str(source), f"{tmp_path}/store"]) == 0
    capsys.readouterr()
    line = one_error(capsys, pretrain(tmp_path / "store", tmp_path / "run"))
    assert "is left for the test part; to pretrain on everything, --protocol all" in line


def test_a_file_where_a_folder_should_be(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    run = shutil.copytree(
        folder / "run", tmp_path / "run", ignore=shutil.ignore_patterns("results")
    )
    assert main(["evaluate", "knn", "--run", str(run), "--data", f"{folder}/store"]) == 0
    (tmp_path / "report").write_text("mine")
    capsys.readouterr()
    line = one_error(capsys, ["report", str(run), "--out", f"{tmp_path}/report"])
    assert f"expected a folder, got the file {tmp_path}/report" in line
    assert (tmp_path / "report").read_text() == "mine"


def test_result_that_has_no_place(folder: Path, capsys: Capture) -> None:
    arguments = ["features", "--run", f"{folder}/run", "--data", f"{folder}/store"]
    assert "--out FILE.npz" in one_error(capsys, [*arguments, "--out", "features.csv"])


def test_debug_shows_where_an_error_came_from(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nowhere"):
        main(["prepare", "packed", "nowhere.npz", f"{tmp_path}/store", "--debug"])


def test_unknown_command(capsys: Capture) -> None:
    line = one_error(capsys, ["train"])
    assert all(name in line for name in COMMANDS)
    assert "'train'" in line


@pytest.mark.parametrize(
    ("arguments", "ending"),
    [
        (["pretrian"], "got 'pretrian'; did you mean pretrain?"),
        (["eval"], "got 'eval'; did you mean evaluate?"),
        (["xyz"], "got 'xyz'"),
        (["evaluate", "few-shot"], "got 'few-shot'; did you mean fewshot?"),
        (["evaluate", "action-detection"], "did you mean detection?"),
        (["evaluate", "retrieval"], "got 'retrieval'; did you mean knn?"),
        (["evaluate", "transfer"], "did you mean finetune, with another store as --data?"),
        (["evaluate", "xyz"], "got 'xyz'"),
    ],
)
def test_what_was_meant(arguments: list[str], ending: str, capsys: Capture) -> None:
    assert one_error(capsys, arguments).endswith(ending)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["pretrain"], "--data"),
        (["evaluate", "knn"], "--run"),
        (["evaluate", "guess", "--run", "a", "--data", "b"], "guess"),
        (["features", "--run", "a", "--data", "b", "--out", "c.npz", "--colour", "1"], "--colour"),
        (["pretrain", "--data", "a", "--out", "b", "--train.lr", "0"], "expected lr > 0, got 0.0"),
        (["pretrain", "--data", "a", "--out", "b", "--train.epochs", "many"], "many"),
        (["pretrain", "--data", "a", "--out", "b", "--train.epochs", "-1"], "expected epochs >= 0"),
        (
            [
                "pretrain",
                *("--data", "a", "--out", "b", "--model.encoder", "stgcn"),
                "--model.layers=7",
            ],
            "layers has no effect on the encoder stgcn",
        ),
    ],
)
def test_unusable_options_end_with_2_and_no_traceback(
    arguments: list[str], message: str, capsys: Capture
) -> None:
    with pytest.raises(SystemExit) as ended:
        sys.exit(main(arguments))
    assert ended.value.code == 2
    shown = capsys.readouterr()
    assert shown.out == ""
    assert message in shown.err
    assert "Traceback" not in shown.err


# --- the command itself ---------------------------------------------------------------------------


def test_version(capsys: Capture) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"pcm3 {__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["-h"], ["--help"]])
def test_help_lists_the_commands(arguments: list[str], capsys: Capture) -> None:
    assert main(arguments) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line[:2] == "  "]
    assert set(COMMANDS) <= set(listed)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_its_options(name: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        sys.exit(main([name, "--help"]))
    assert ended.value.code == 0
    assert f"usage: pcm3 {name}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "command", [*([name] for name in COMMANDS), *(["evaluate", task] for task in (*TASKS, "all"))]
)
def test_help_fits_a_screen_and_has_an_example(
    command: list[str], capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        sys.exit(main([*command, "--help"]))
    shown = capsys.readouterr().out
    assert len(shown.splitlines()) <= 54
    assert command == ["evaluate"] or f"example:\n  pcm3 {' '.join(command)}" in shown


def test_damaged_results_are_evaluated_anew(
    folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {name: TASKS[name] for name in ("linear", "knn")}
    monkeypatch.setattr("pcm3.evaluation.evaluate.TASKS", few)
    run = shutil.copytree(folder / "run", tmp_path / "run")
    shutil.rmtree(run / "results", ignore_errors=True)
    command = ["evaluate", "knn", "--run", str(run), "--data", f"{folder}/store"]
    wanted = run_json(capsys, command)["metrics"]
    (file,) = (run / "results").glob("*.json")
    for text in ("", "[]", '{"command": "eval', '{"metrics": {}}'):
        file.write_text(text)
        assert main(["evaluate", "all", *command[2:]]) == 0
        said = capsys.readouterr()
        assert f"warning: {file} is not a result; evaluated again" in said.err
        assert json.loads(file.read_text())["metrics"] == wanted
        file.write_text(text)
        assert run_json(capsys, command)["metrics"] == wanted


def test_a_report_leaves_a_store_alone(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    store = shutil.copytree(folder / "store", tmp_path / "store")
    run = shutil.copytree(folder / "run", tmp_path / "run")
    assert main(["evaluate", "knn", "--run", str(run), "--data", str(store)]) == 0
    capsys.readouterr()
    line = one_error(capsys, ["report", str(run), "--out", str(store)])
    assert f"expected a folder for the report, got the store {store}" in line
    assert not (store / "report.html").exists()
    for text in ("[]", "{", '{"table": []}'):
        (store / "report.json").write_text(text)
        line = one_error(capsys, ["show", str(store)])
        assert f"{store}/report.json: expected " in line


def test_presets_are_all_listed(capsys: Capture) -> None:
    assert main(["presets"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [
        line.split()[0] for line in lines if line.split()[:1] and line.split()[0] in PRESETS
    ] == (list(PRESETS))
    listed = run_json(capsys, ["presets"])["metrics"]
    assert listed["small"] == {
        name: getattr(PRESETS["small"], name)
        for name in ("data", "text", "published", "parameters", "forward")
    }


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("pre", {"predict", "prepare", "presets", "pretrain"}),
        ("evaluate f", {"finetune", "fewshot"}),
        ("evaluate finetune --recipe m", {"mamp"}),
        ("evaluate finetune --rec", {"--recipe"}),
        ("pretrain --preset small-m", {"small-mamp", "small-mae", "small-ms2l"}),
        ("pretrain --data store --model.dire", {"--model.direction"}),
        ("pretrain --model.direction f", {"forward"}),
        ("pretrain --train.no-c", {"--train.no-compile"}),
        ("evaluate linear --run run --solver mamp-pku", {"mamp-pku1", "mamp-pku2"}),
        ("evaluate fewshot --shots 1 5 --classifiers svm c", {"centroid"}),
        ("prepare ntu raw store --bod", {"--bodies"}),
        ("prepare --bodies ", {"place", "tracked"}),
        ("prepare --duplicate-single fi", {"files"}),
        ("pretrain --data ", {"files"}),
        ("evaluate linear --run fil", {"files"}),
        ("show --index 3 f", {"files"}),
    ],
)
def test_completion(typed: str, offered: set[str], completion: str, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    words = shlex.join(["pcm3", *typed.split(" ")])
    asked = f"""{completion}
COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _shtab_pcm3
printf '%s\\n' "${{COMPREPLY[@]}}"
"""
    done = subprocess.run(
        ["bash", "-c", asked], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert set(done.stdout.split()) == offered


@pytest.mark.parametrize("shell", ["zsh", "tcsh"])
def test_completion_of_other_shells(shell: str, capsys: Capture) -> None:
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("finetune", "--model.direction", "mamp-pku1", "small-mae"):
        assert word in script


@pytest.fixture(scope="module")
def completion() -> str:
    script = io.StringIO()
    with redirect_stdout(script):
        assert main(["completion"]) == 0
    return script.getvalue()


def test_empty_paths_are_refused(capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["show", ""])
    assert ended.value.code == 2
    assert "expected a path, got an empty one" in capsys.readouterr().err


@pytest.mark.parametrize("task", [*TASKS, "all"])
def test_every_task_explains_its_options(task: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", task, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert f"usage: pcm3 evaluate {task}" in shown
    assert (TASKS[task].about if task in TASKS else "every task") in shown
    assert main(["evaluate"]) == 0
    assert f"  {task} " in capsys.readouterr().out


def test_ctrl_c_says_how_to_go_on(
    folder: Path, tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt("stopped in epoch 1, after 2 steps")

    monkeypatch.setattr("pcm3.training.pretrain.pretrain", interrupted)
    assert main(pretrain(folder / "store", tmp_path)) == 130
    assert capsys.readouterr().err == (
        "pcm3: stopped in epoch 1, after 2 steps; run the same command to continue\n"
    )
    monkeypatch.setattr("pcm3.evaluation.evaluate.evaluate_runs", interrupted)
    for task, ending in (("linear", ""), ("all", "; run the same command to continue")):
        command = ["evaluate", task, "--run", f"{folder}/run", "--data", f"{folder}/store"]
        monkeypatch.setattr("pcm3.evaluation.evaluate.find_kept", lambda *_, **__: None)
        assert main(command) == 130
        shown = capsys.readouterr().err
        assert shown == f"pcm3: stopped in epoch 1, after 2 steps{ending}\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            ModuleNotFoundError("No module named 'rich'", name="rich"),
            "this command needs rich; install it with pip install 'pcm3[train]'",
        ),
        (
            ModuleNotFoundError("No module named 'tensorboard'", name="tensorboard"),
            "this command needs tensorboard; install it with pip install 'pcm3[tensorboard]'",
        ),
        (
            ModuleNotFoundError("No module named 'torch'", name="torch"),
            "this command needs torch; install it with pip install torch",
        ),
        (MemoryError(), "out of memory"),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory"),
            "out of memory; a smaller batch size needs less",
        ),
        (FileNotFoundError(2, "No such file or directory", "a.npz"), "a.npz: No such file or"),
    ],
)
def test_errors_of_the_system_are_one_line(
    error: Exception, line: str, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Any) -> None:
        raise error

    monkeypatch.setitem(COMMANDS, "show", fail)
    assert line in one_error(capsys, ["show", "store"])
    with pytest.raises(type(error)):
        main(["show", "store", "--debug"])


def test_a_missing_module_of_our_own_is_our_mistake(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: Any) -> None:
        raise ModuleNotFoundError("No module named 'pcm3.cheese'", name="pcm3.cheese")

    monkeypatch.setitem(COMMANDS, "show", fail)
    with pytest.raises(ModuleNotFoundError):
        main(["show", "store"])


def test_our_own_mistakes_show_where_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "show", lambda _: {}["label"])
    with pytest.raises(KeyError, match="label"):
        main(["show", "store"])


def test_a_reader_that_has_seen_enough() -> None:
    script = """
import sys
from pcm3 import cli
cli.COMMANDS["show"] = lambda _: print("shown " * 100_000)
sys.exit(cli.main(["show"]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(120) == 141
    assert process.stderr is not None
    assert process.stderr.read() == b""


def test_show_says_what_is_special(tmp_path: Path, capsys: Capture) -> None:
    frames = np.random.default_rng(0).normal(size=(6, 2, 25, 3)).astype(np.float32)
    protocols = {"xset": Protocol("setups", (2,))}
    with StoreWriter(
        tmp_path / "store",
        NTU25,
        class_names=["wave"],
        fps=30,
        source="a film",
        protocols=protocols,
    ) as writer:
        for number in range(3):
            shown = frames * [[[1]], [[number > 0]]]  # the first with one person, the others alike
            annotated = {"frame_labels": np.zeros(6, int), "segments": [(0, 6, 0)]}
            writer.add(shown, name=f"v{number}", setups=number, **annotated)
    assert main(["show", str(tmp_path / "store")]) == 0
    lines = capsys.readouterr().out.splitlines()
    for line in (
        "  3 sequences, 18 frames, 1 class",
        "  normalization none, metres, 30 frames per second, float32, 0.0 MB",
        "  columns: setups (3 values)",
        "  source: a film",
        "  persons: 1 in 1 sequence, 2 in 2 sequences",
        "  untrimmed, 3 segments",
        "  bit-identical to an earlier sequence: 1",
        "  published protocol xset: 1 training sequence, 1 test sequence",
    ):
        assert line in lines
    assert not any("read from" in line for line in lines)  # nobody prepared it


def test_show_names_some_bad_files(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "files").mkdir()
    good = np.random.default_rng(0).normal(size=(4, 1, 25, 3))
    rows = ["file,label"]
    for number in range(8):
        np.save(tmp_path / "files" / f"{number}.npy", good if number == 7 else good[..., 0])
        rows.append(f"{number}.npy,0")
    np.save(tmp_path / "files" / "forgotten.npy", good)
    (tmp_path / "files" / "labels.csv").write_text("\n".join(rows))
    options = ["--skeleton", "ntu25", "--skip-bad"]
    prepare = ["prepare", "folder", f"{tmp_path}/files", f"{tmp_path}/store", *options]
    assert main(prepare) == 0
    shown = capsys.readouterr().out
    assert shown.count("  bad: ") == 5
    assert "    and 2 more in report.json" in shown
    assert "1 file left out: " in shown


def test_it_is_a_program(tmp_path: Path) -> None:
    script = "import sys; from pcm3.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "features", "--run", "a", "--data", "b", "--out", "c"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 2
    assert result.stderr == "pcm3: error: expected --out FILE.npz, got c\n"


def test_test_classes_without_training_sequences_are_said(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    store = Store(folder / "store")
    subjects = store.columns["subjects"]
    rows = [at for at in range(len(store)) if store.labels[at] != 1 or subjects[at] % 2 == 0]
    with StoreWriter(
        tmp_path / "some",
        store.skeleton,
        class_names=store.class_names,
        normalization=store.meta["normalization"],
    ) as writer:
        for row in rows:
            writer.add(
                np.asarray(store.sequence(row)),
                label=int(store.labels[row]),
                subjects=int(subjects[row]),
            )
    command = ["evaluate", "knn", "--run", f"{folder}/run", "--data", f"{tmp_path}/some"]
    assert main([*command, "--protocol", "xsub"]) == 0
    assert "note: 1 of 3 test classes have no training sequence" in capsys.readouterr().err


def test_dry_run(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    command = pretrain(folder / "store", tmp_path / "run", "--train.epochs", "3", "--dry-run")
    capsys.readouterr()
    assert main(command) == 0
    said = capsys.readouterr().out
    store = Store(folder / "store")
    count = len(split(store, "xsub")[0])
    planned = run_json(capsys, command)["metrics"]
    batch = int(SMALL[SMALL.index("--train.batch-size") + 1])
    assert (planned["sequences"], planned["epochs"]) == (count, 3)
    assert planned["steps"] == 3 * (count // batch)
    steps = planned["steps"]
    left = f"; an epoch leaves {count % batch} out, others each time" if count % batch else ""
    assert said.startswith(f"{count} training clips, 3 epochs, {steps} steps of {batch}{left}\n")
    assert main(command) == 0
    told = capsys.readouterr().err
    assert f"trains on xsub: {count} sequences of {len(store)} (subjects " in told
    assert "measures a few steps on " in told
    capsys.readouterr()
    few = run_json(capsys, [*command, "--train.batch-size", str(count + 1)])["metrics"]
    assert (few["steps"], few["batch"]) == (3, count + 1)
    assert few["seconds"] > 0
    assert not (tmp_path / "run").exists()
    rest, _, settings = said.partition("\nsettings:\n")
    config = RunSettings.from_json(settings)
    assert (config.model.hidden, config.train.epochs) == (8, 3)
    assert f", {steps * batch * planned['step'] / 1e15:.3g} P " in rest
    assert f" {planned['bytes'] / 1e9:.2g} GB of memory" in rest
    assert 2 * planned["forward"] < planned["step"] < 3 * planned["forward"]
    assert not (tmp_path / "run").exists()
    one_error(capsys, [*command, "--protocol", "xnone"])  # and no settings
    for more, said in (  # what the run itself would refuse
        (["--from", f"{tmp_path}/none"], "expected a run folder, an encoder's file or the word"),
        (["--from", f"{folder}/run", "--model.hidden", "4"], "holds another model: model.hidden"),
        (["--out", f"{folder}/run", "--train.lr", "9"], "holds a run with other settings"),
        (["--out", f"{folder}/store"], "expected a run folder, got the store"),
    ):
        assert said in one_error(capsys, [*command, *more])
    assert main([*command, "--from", f"{folder}/run"]) == 0
    assert (
        main([*pretrain(folder / "store", folder / "run", "--train.epochs", "2"), "--dry-run"]) == 0
    )
    assert main(command[:-1]) == 0
    checkpoint = Run(tmp_path / "run").load_checkpoint()
    assert checkpoint is not None
    assert checkpoint["position"]["step"] == planned["steps"]


def test_pretrain_help_shows_the_main_settings_of_training(capsys: Capture) -> None:
    pages = {}
    for word in ("--help", "--help-all"):
        with pytest.raises(SystemExit):
            main(["pretrain", "--preset", "ntu60-xsub", word])
        pages[word] = unboxed(capsys.readouterr().out)
    epochs = PRESETS["ntu60-xsub"].train.epochs
    assert "--train.epochs INT Passes over the training part" in pages["--help"]
    for page in pages.values():
        assert f"(default: {epochs})" in page
        assert "--help-all" in page
    for name in ("--train.betas", "--model.hidden", "--motion.sequences"):
        assert name not in pages["--help"].replace("--model.hidden 128", "")
        assert name in pages["--help-all"]


@pytest.mark.parametrize("task", ["finetune", "semi", "detection"])
def test_help_shows_what_recipes_default_to(task: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", task, "--help"])
    shown = unboxed(capsys.readouterr().out)
    for setting in fields(TASKS[task].settings):
        values = [getattr(recipe, setting.name, None) for recipe in TASKS[task].recipes.values()]
        if setting.default is not None or None in values:
            continue
        name, first = setting.name.replace("_", "-"), values[0]
        words = " ".join(map(str, first)) if isinstance(first, tuple) else str(first)
        words = f"{first:g}" if isinstance(first, float) else words
        about = re.search(rf" --{name}[ ,].*?\((?:default:|cmd) ([^,)]*)", shown)
        assert about is not None, name
        assert about[1] == words


def test_a_preset_is_shown_alone(capsys: Capture) -> None:
    shown = run_json(capsys, ["presets", "small"])["metrics"]
    assert list(shown) == ["small"]
    assert main(["presets", "small"]) == 0
    _, _, settings = capsys.readouterr().out.partition("settings:\n")
    assert RunSettings.from_json(settings) == get_preset("small")
    assert "did you mean small" in one_error(capsys, ["presets", "smal"])
    assert "preset or --table" in one_error(capsys, ["presets", "small", "--table", "8"])


def test_a_finished_run_says_how_to_train_longer(
    folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    command = pretrain(folder / "store", tmp_path / "none", "--train.epochs", "0")
    assert main([*command, "--dry-run"]) == main(command) == main(command) == 0
    shown = capsys.readouterr()
    assert "--from" not in shown.out
    assert "trains on xsub: 9 sequences of 18 (subjects 1, 3)" in shown.err
    command = pretrain(folder / "store", tmp_path / "run", "--train.epochs", "1")
    assert main(command) == 0
    assert "--from" not in capsys.readouterr().out
    assert main(command) == 0
    assert f"--from {tmp_path}/run" in capsys.readouterr().out
    longer = [*command, "--train.epochs", "2"]
    assert f"--from {tmp_path}/run" in one_error(capsys, longer)
    longer[longer.index("--out") + 1] = f"{tmp_path}/longer"
    assert main([*longer, "--from", f"{tmp_path}/run"]) == 0


def test_missing_columns_are_shown_as_missing(tmp_path: Path, capsys: Capture) -> None:
    with StoreWriter(tmp_path / "store", NTU25, class_names=["a"]) as writer:
        for view in (-1, 3):
            writer.add(np.ones((4, 1, 25, 3), np.float32), label=0, views=view)
    shown = []
    for index in ("0", "1"):
        assert main(["show", f"{tmp_path}/store", "--index", index]) == 0
        shown.append(capsys.readouterr().out)
    assert "views -\n" in f"{shown[0]}\n".replace(",", "\n")
    assert "views 3" in shown[1]


def test_the_encoder_of_a_run_knows_its_unit(folder: Path) -> None:
    store = Store(folder / "store")
    assert load_encoder(folder / "run").unit == store.meta["unit"]


@pytest.mark.parametrize(
    ("unit", "noted"), [("metres", False), ("m", False), ("millimetres", True)]
)
def test_another_unit_is_noted(
    unit: str, noted: bool, folder: Path, tmp_path: Path, capsys: Capture
) -> None:
    store = Store(folder / "store")
    with StoreWriter(
        tmp_path / "other",
        store.skeleton,
        class_names=store.class_names,
        normalization=store.meta["normalization"],
        unit=unit,
    ) as writer:
        for row in range(len(store)):
            subject = int(store.columns["subjects"][row])
            label = int(store.labels[row])
            writer.add(np.asarray(store.sequence(row)), label=label, subjects=subject)
    command = ["evaluate", "knn", "--run", f"{folder}/run", "--data", f"{tmp_path}/other"]
    assert main([*command, "--protocol", "xsub"]) == 0
    said = "the encoder was trained on recordings in metres, these are in millimetres"
    assert (said in capsys.readouterr().err) == noted
    search = ["search", "--run", f"{folder}/run", "--data", f"{tmp_path}/other", "--query", "0"]
    assert main(search) == 0
    assert (said in capsys.readouterr().err) == noted


@pytest.mark.parametrize(
    "command", [*([name] for name in COMMANDS), *(["evaluate", task] for task in (*TASKS, "all"))]
)
def test_help_does_not_say_none_where_there_is_a_default(
    command: list[str], capsys: Capture
) -> None:
    with pytest.raises(SystemExit):
        sys.exit(main([*command, "--help-all"] if command != ["evaluate"] else command))
    shown = unboxed(capsys.readouterr().out)
    wrong = re.findall(r"(?i)by default[^()]*\(default: none\)", shown)
    assert wrong == []
