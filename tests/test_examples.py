"""The examples do what they say."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributed.run import get_args_parser

from pcm3 import load_classifier
from pcm3.cli import main
from pcm3.data import generate
from pcm3.data.synthetic import synthetic_sequences
from pcm3.ema import MomentumTwin
from pcm3.encoders import GRUEncoder
from pcm3.encoders.files import Pretrained
from pcm3.inference.files import save_classifier
from pcm3.inference.fit import fit_classifier
from pcm3.inference.recordings import open_recordings
from pcm3.inference.streaming import StreamingClassifier
from pcm3.skeleton import BLAZEPOSE33, COMMON15

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_borrowed_parts_learn() -> None:
    losses = load("borrow_parts").main(epochs=4)
    assert losses == sorted(losses, reverse=True)


def test_own_skeleton_gives_features(capsys: pytest.CaptureFixture[str]) -> None:
    features = load("own_skeleton").main()
    assert features.shape == (4, 64)
    assert torch.isfinite(features).all()
    assert "left_arm   left_elbow, left_hand" in capsys.readouterr().out


def test_live_names_actions_far_above_chance(capsys: pytest.CaptureFixture[str]) -> None:
    assert load("live").main() > 0.45  # of four classes
    output = capsys.readouterr().out
    assert re.search(r"^ +\d\.\d s  \w[\w ]+ +\d+%  \(it is: [\w ]+\)$", output, re.MULTILINE)
    assert re.search(r"^\d+ frames per second; the classifier knows 30$", output, re.MULTILINE)


@pytest.fixture(scope="module")
def webcam(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Classifiers of MediaPipe's landmarks and of any layout, and two recordings at 60 Hz."""
    folder = tmp_path_factory.mktemp("webcam")
    scene = {"classes": 2, "views": 1, "skeleton": BLAZEPOSE33}
    store = generate(folder / "store", sequences=12, frames=(20, 30), **scene)
    encoder = GRUEncoder(33, persons=1, hidden=8, layers=1, pool="mean").eval()
    pretrained = Pretrained(encoder, BLAZEPOSE33, "joint", 16, "center")
    save_classifier(folder / "classifier.safetensors", fit_classifier(pretrained, store))
    encoder = GRUEncoder(COMMON15, persons=2, hidden=8, layers=1, pool="mean").eval()
    pretrained = Pretrained(encoder, COMMON15, "joint", 16, "body")
    save_classifier(folder / "any.safetensors", fit_classifier(pretrained, store))
    performed = synthetic_sequences(sequences=2, frames=(61, 61), **scene)
    for number, recording in enumerate(performed):
        frames = [
            {"pose_world_landmarks": [[*map(float, joint)] for joint in frame]}
            for frame in recording.frames[:, 0]
        ]
        text = json.dumps({"fps": 60, "frames": frames})
        (folder / f"{number}.json").write_text(text)
    return folder


def test_live_replays_a_recording_at_its_pace(
    webcam: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    live, waits = load("live"), []
    monkeypatch.setattr(live.time, "sleep", waits.append)
    monkeypatch.setattr(live.time, "perf_counter", lambda: len(waits) / 100)
    labels = live.own(f"{webcam}/classifier.safetensors", f"{webcam}/0.json")
    assert len(labels) == 31  # as the classifier knows 30 frames per second
    np.testing.assert_allclose(waits[:3], [0, 1 / 30 - 0.01, 2 / 30 - 0.02], atol=1e-9)
    assert "persons" not in capsys.readouterr().out
    classifier = load_classifier(webcam / "classifier.safetensors")
    stream = StreamingClassifier(classifier)
    with open_recordings(webcam / "0.json", classifier) as recordings:
        frames = recordings.store.sequence(0)
        assert labels == [stream.push(frame).label for frame in frames]
    assert len(live.own(f"{webcam}/classifier.safetensors", str(webcam))) == 31
    assert "2 recordings or persons: the first is replayed, 0.json" in capsys.readouterr().out
    labels = live.own(f"{webcam}/any.safetensors", f"{webcam}/0.json")
    stream = StreamingClassifier(load_classifier(webcam / "any.safetensors"))
    assert labels == [stream.push(frame).label for frame in frames]
    assert "blazepose33, in which y points up" in capsys.readouterr().out


class Camera:
    """Stands for OpenCV's: three pictures, a tenth of a second apart."""

    def __init__(self, clock: list[float]) -> None:
        self.clock = clock

    def isOpened(self) -> bool:  # noqa: N802
        return True

    def read(self) -> tuple[bool, np.ndarray]:
        self.clock[0] += 0.01
        return self.clock[0] < 0.295, np.zeros((4, 5, 3), np.uint8)


@pytest.mark.parametrize(
    ("file", "layout"),
    [("classifier", {}), ("any", {"skeleton": "blazepose33", "up": "-y"})],
)
def test_live_watches_a_camera(
    webcam: Path, monkeypatch: pytest.MonkeyPatch, file: str, layout: dict[str, Any]
) -> None:
    """MediaPipe and OpenCV are stood in for: nobody in the first frame, then a point."""
    live, clock, asked = load("live"), [0.0], []
    marks = [SimpleNamespace(x=0.1 * joint, y=0.2, z=-0.3) for joint in range(33)]

    class Landmarker:
        @classmethod
        def create_from_options(cls, options: SimpleNamespace) -> "Landmarker":
            assert (options.base.path, options.running_mode) == ("pose.task", "video")
            return cls()

        def __enter__(self) -> "Landmarker":
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def detect_for_video(self, image: tuple[str, np.ndarray], time: int) -> SimpleNamespace:
            assert image[0] == "srgb"
            asked.append(time)
            return SimpleNamespace(pose_world_landmarks=[] if len(asked) == 1 else [marks])

    vision = SimpleNamespace(
        PoseLandmarker=Landmarker,
        PoseLandmarkerOptions=lambda base, running_mode: SimpleNamespace(
            base=base, running_mode=running_mode
        ),
        RunningMode=SimpleNamespace(VIDEO="video"),
    )
    options = lambda model_asset_path: SimpleNamespace(path=model_asset_path)  # noqa: E731
    modules = {
        "cv2": SimpleNamespace(VideoCapture=lambda _: Camera(clock)),
        "mediapipe": SimpleNamespace(
            Image=lambda form, data: (form, data), ImageFormat=SimpleNamespace(SRGB="srgb")
        ),
        "mediapipe.tasks": SimpleNamespace(),
        "mediapipe.tasks.python": SimpleNamespace(BaseOptions=options, vision=vision),
    }
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(live.time, "perf_counter", lambda: clock[0])
    labels = live.own(f"{webcam}/{file}.safetensors", "pose.task")
    assert len(labels) == len(asked) == 9  # of 29 pictures in 0.29 s, at 30 frames per second
    assert labels[0] == "unknown"
    classifier = load_classifier(webcam / f"{file}.safetensors")
    stream = StreamingClassifier(classifier, **layout)
    person = np.array([(mark.x, mark.y, mark.z) for mark in marks])
    frames = [np.zeros((33, 3)), *[person] * 8]
    assert labels == [stream.push(frame).label for frame in frames]


def test_live_says_what_it_lacks(webcam: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    live, file = load("live"), f"{webcam}/classifier.safetensors"
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    monkeypatch.setitem(sys.modules, "cv2", SimpleNamespace())
    for classifier, source, said in (
        (file, "pose.task", "pip install mediapipe"),
        (file, f"{webcam}/none.json", "none.json"),
        (f"{webcam}/none.safetensors", f"{webcam}/0.json", "none.safetensors"),
        (f"{webcam}/0.json", f"{webcam}/0.json", "not a safetensors file"),
    ):
        with pytest.raises(SystemExit, match=f"live.py: .*{said}"):
            live.own(classifier, source)


def run_script(name: str, *options: str) -> str:
    """What an example prints as a program of its own."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name), *options],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_autoencoder_restores_better_than_naive_fills() -> None:
    errors = load("autoencoder").main(epochs=25)
    ours = errors.pop("the autoencoder")
    assert len(errors) == 2
    assert ours < 0.9 * min(errors.values())


def test_straight_lines_are_straight() -> None:
    """The naive fill is no strawman: it is exact where motion is steady, and holds the ends."""
    clips = torch.arange(6.0).view(1, 1, 6, 1, 1).expand(2, 3, 6, 2, 1)
    hidden = torch.zeros(2, 6, 2, 1, dtype=torch.bool)
    hidden[0, 2:5, 1] = True
    hidden[1, :2, 0] = hidden[1, 5:, 0] = True
    filled = load("autoencoder").interpolate(clips * ~hidden[:, None], hidden)
    assert torch.equal(filled[0], clips[0])
    assert filled[1, 0, :, 0, 0].tolist() == [2, 2, 2, 3, 4, 4]


def test_detection_finds_actions_in_their_place(capsys: pytest.CaptureFixture[str]) -> None:
    result = load("detection").main(epochs=20)
    assert result["map_action_voc_0.5"] > 0.35
    lines = capsys.readouterr().out.splitlines()
    interval = re.compile(r"  [a-z ]+ +([\d.]+) to +([\d.]+) s  found +([\d.]+) to +([\d.]+) s, .+")
    found = [[float(each) for each in m.groups()] for m in map(interval.fullmatch, lines) if m]
    assert len(found) >= 8
    assert all(start < last and first < end for first, last, start, end in found)


def test_processes_end_the_same() -> None:
    lines = run_script("several_processes.py").splitlines()
    assert lines[-1] == "weights and queue are the same in both"
    first, second = (
        dict(part.rsplit(" ", 1) for part in line.split(", ")) for line in lines[-3:-1]
    )
    assert [first[name] == second[name] for name in first] == [False, False, True, True]


def test_lightning_moves_key_encoder_and_queue_once_a_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("pytorch_lightning", reason="pip install pytorch-lightning")
    moved: list[MomentumTwin] = []
    update = MomentumTwin.update
    monkeypatch.setattr(
        MomentumTwin, "update", lambda twin, source: moved.append(twin) or update(twin, source)
    )
    module = load("with_lightning").main(epochs=4)
    steps = 4 * 5
    assert module.trainer.global_step == steps
    assert moved.count(module.model.key_encoder) == steps
    assert int(module.model.queue.position) == steps * 32
    assert module.errors[-1] < 0.7 * module.errors[0]

    moved.clear()
    module = load("with_lightning").main(epochs=1, accumulate_grad_batches=5)
    assert module.trainer.global_step == moved.count(module.model.key_encoder) == 1
    assert int(module.model.queue.position) == 5 * 32


def test_lightly_learns_which_clips_are_the_same() -> None:
    pytest.importorskip("lightly.loss", reason="pip install lightly, which needs torchvision")
    shares = load("with_lightly").main(epochs=10)
    assert shares[0] < 0.15
    assert shares[-1] > 2 * shares[0]


@pytest.mark.parametrize("script", ["one_machine.sh", "several_machines.sh", "slurm.sh"])
def test_launch_scripts_hand_pcm3_options_that_it_knows(
    script: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The launchers stand in here for ones that need GPUs: they say what they are to start."""
    for name in ("torchrun", "srun"):
        (tmp_path / name).write_text('#!/bin/sh\nprintf "%s\\n" "${0##*/}" "$@"\n')
        (tmp_path / name).chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", str(EXAMPLES / "launch" / script), "store", "run", "--dry-run", "--json"],
        env=os.environ | {"PATH": path, "HEAD": "localhost"},
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    launcher, *words = done.stdout.splitlines()
    if launcher == "torchrun":
        told = get_args_parser().parse_args(words)
        assert told.no_python
        assert told.nproc_per_node == "gpu"
        words = [told.training_script, *told.training_script_args]
    assert words[0] == "pcm3"
    monkeypatch.chdir(tmp_path)
    generate(tmp_path / "store", sequences=288, subjects=2, frames=(5, 9))
    small = ["--model.hidden", "8", "--model.queue-size", "64", "--model.decoder-hidden", "8"]
    assert main([*words[1:], *small]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["command"] == "pretrain"


def test_the_job_array_runs_a_cell_of_a_sweep(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "srun").write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    script = EXAMPLES / "launch" / "slurm_sweep.sh"
    done = subprocess.run(
        ["sh", str(script), str(EXAMPLES / "sweeps" / "small.toml"), "out", "--dry-run"],
        env=os.environ | {"PATH": path, "SLURM_ARRAY_TASK_ID": "4"},
        capture_output=True,
        text=True,
        check=True,
    )
    program, *words = done.stdout.splitlines()
    assert program == "pcm3"
    monkeypatch.chdir(tmp_path)
    generate(tmp_path / "synthetic-store", sequences=120)
    assert main(words) == 0
    assert capsys.readouterr().out.splitlines() == [
        "   4  contrastive-seed1  new",
        "for a job array: --array=0-8",
    ]


def test_every_launch_script_is_tested() -> None:
    tested = {"one_machine.sh", "several_machines.sh", "slurm.sh", "slurm_sweep.sh"}
    assert {path.name for path in (EXAMPLES / "launch").iterdir()} == tested


def test_report_from_python_holds_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = load("pretrain_probe_report").main(tmp_path, epochs=1)
    output = capsys.readouterr().out
    assert f"the page with the pictures: {report.page}" in output
    assert report.page.read_text().count("<svg") + report.page.read_text().count("<img") >= 2
    for run in ("untrained", "pcm3"):
        for task in ("linear", "knn"):
            (file,) = (tmp_path / run / "results").glob(f"{task}*.json")
            result = json.loads(file.read_text())
            top1 = result["metrics"]["top1"]
            assert top1 > 0.25  # of twelve classes
            how = r" \(solver logistic\)" if task == "linear" else ""
            assert re.search(rf"\| {task}{how} \| top1 \|.* {top1:.1%} ", output)


def test_own_encoder_learns(capsys: pytest.CaptureFixture[str]) -> None:
    before, after = load("own_encoder").main(epochs=6)
    assert "frames (4, 16, 64), features (4, 64)" in capsys.readouterr().out
    assert after[0] < 0.8 * before[0]  # millimetres
    assert min(before[1], after[1]) > 0.25  # of twelve classes


def test_every_example_is_tested() -> None:
    tested = Path(__file__).read_text()
    for file in EXAMPLES.glob("*.py"):
        assert f'load("{file.stem}")' in tested or f'run_script("{file.name}"' in tested
