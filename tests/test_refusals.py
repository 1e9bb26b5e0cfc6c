"""What is refused seldom, and in which words; ``raises.py`` finds the messages without a test."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lightning_fabric import Fabric
from old_stores import edit_meta

from pcm3 import PCM3, MemoryQueue
from pcm3.augment import CutMix, RandomMix, TopologyMask
from pcm3.data import Store, prepare, split
from pcm3.data.protocols import Protocol
from pcm3.data.readers import open_source
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic import generate
from pcm3.encoders import GRUEncoder
from pcm3.errors import SkeletonFormatError
from pcm3.evaluation.evaluate import evaluate_all
from pcm3.evaluation.tasks.fewshot import FewShotSettings
from pcm3.evaluation.tasks.knn import KnnSettings
from pcm3.evaluation.tasks.semi import SemiSettings
from pcm3.hub import Pretrained, save_encoder
from pcm3.losses import InfoNCE
from pcm3.methods.catalog import RunSettings
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.methods.settings import TrainSettings
from pcm3.runs.folder import Run
from pcm3.skeleton import NTU25, SBU15, Skeleton
from pcm3.training.devices import launch
from pcm3.training.pretrain import pretrain

MODEL = PCM3Settings(
    hidden=4, layers=1, frames=16, embedding=4, decoder_hidden=4, queue_size=16, pool="mean"
)
CONFIG = RunSettings(MODEL, TrainSettings(epochs=1, batch_size=4, knn_every=0, accelerator="cpu"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("data") / "store"
    return generate(out, sequences=12, classes=3, subjects=4, frames=(10, 20))


# --- settings -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: FewShotSettings(shots=(1, 5, 1)), r"different shots, got \(1, 5, 1\)"),
        (lambda: SemiSettings(fractions=(0.1, 0.1)), r"different fractions, got \(0.1, 0.1\)"),
        (lambda: KnnSettings(recall_at=(5, 5)), r"different recall_at, got \(5, 5\)"),
        (lambda: TrainSettings(lr=0.1, min_lr=0.2), r"min_lr in \[0, lr=0.1\], got 0.2"),
        (lambda: TrainSettings(lr=0.1, min_lr=-0.1), r"min_lr in \[0, lr=0.1\], got -0.1"),
    ],
)
def test_settings(build: Callable[[], Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


# --- stores ---------------------------------------------------------------------------------------


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    with pytest.raises(SkeletonFormatError, match="expected a store, which is a folder, got a f"):
        Store(tmp_path / "store")


@pytest.mark.parametrize("names", [np.array(["a", "b"]), np.arange(12)], ids=["few", "numbers"])
def test_names_of_another_store(names: np.ndarray, tmp_path: Path) -> None:
    made = generate(tmp_path / "store", sequences=12, classes=3, subjects=4)
    np.save(made.path / "names.npy", names)
    edit_meta(made.path)
    with pytest.raises(SkeletonFormatError, match=r"names\.npy: expected 12 names"):
        _ = Store(made.path).names


def test_a_protocol_that_the_data_are_not_published_with(tmp_path: Path) -> None:
    protocols = {"xset": Protocol("setups", (2,))}
    with StoreWriter(tmp_path / "store", NTU25, class_names=["one"], protocols=protocols) as writer:
        for setup in (1, 2):
            writer.add(np.full((3, 1, 25, 3), setup, np.float32), 0, setups=setup, subjects=setup)
    made = Store(tmp_path / "store")
    assert [part.tolist() for part in split(made, "xset")] == [[1], [0]]
    with pytest.raises(ValueError, match=r"published with xset, not with 'xsub'"):
        split(made, "xsub")
    assert [part.tolist() for part in split(made, "subjects:1")] == [[0], [1]]


def test_frame_labels_do_not_outlive_their_frames(tmp_path: Path) -> None:
    joints = np.random.default_rng(0).normal(size=(9, 1, 25, 3)).astype(np.float32)
    joints[4] = 0  # nobody there
    np.savez(
        tmp_path / "packed.npz",
        joints=joints,
        lengths=np.array([9]),
        joint_names=np.array(NTU25.joints),
        parents=np.array(NTU25.parents),
        class_names=np.array(["wave"]),
        frame_labels=np.zeros(9, np.int64),
        segments=np.array([[0, 0, 9, 0]]),
    )
    for recipe in ("isc", "sgn"):
        with pytest.raises(ValueError, match=r"labels .* would no longer fit; give --norm"):
            prepare(tmp_path / "packed.npz", tmp_path / "store", normalization=recipe, workers=1)
    assert prepare(tmp_path / "packed.npz", tmp_path / "store", workers=1)["kept"] == 1


# --- files of recordings --------------------------------------------------------------------------


def test_a_file_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "packed.npz"
    file.write_bytes(b"")
    monkeypatch.setattr(os, "access", lambda _path, mode: mode == os.F_OK)
    with pytest.raises(SkeletonFormatError, match=r"packed\.npz: no permission to read it"):
        open_source(file)


def test_an_npz_by_the_name_of_an_npy(tmp_path: Path) -> None:
    np.savez(tmp_path / "clip.npz", np.zeros((3, 1, 25, 3)))
    (tmp_path / "clip.npz").rename(tmp_path / "clip.npy")
    (tmp_path / "labels.csv").write_text("file,label\nclip.npy,0\n")
    with pytest.raises(SkeletonFormatError, match=r"clip\.npy: expected one array, got an \.npz"):
        list(open_source(tmp_path, "folder", skeleton="ntu25"))


def ctrgcn(file: Path, classes: int = 60, version: tuple[int, int] = (1, 0)) -> Path:
    with zipfile.ZipFile(file, "w") as archive:
        for part in ("train", "test"):
            for name, array, kind in (
                (f"x_{part}", np.zeros((2, 5, 150), np.float32), version),
                (f"y_{part}", np.eye(2, 60)[:, :classes], (1, 0)),
            ):
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, array, version=kind)
    return file


def test_arrays_of_a_later_numpy(tmp_path: Path) -> None:
    file = ctrgcn(tmp_path / "NTU60_CS.npz", version=(3, 0))
    with pytest.raises(SkeletonFormatError, match=r"\.npy version 1\.0 or 2\.0, got \(3, 0\)"):
        open_source(file)
    assert len(list(open_source(ctrgcn(tmp_path / "good.npz", version=(2, 0))))) == 4


def test_one_hot_of_no_classes(tmp_path: Path) -> None:
    with pytest.raises(SkeletonFormatError, match=r"one-hot \(N, classes\).*\(2, 0\)"):
        open_source(ctrgcn(tmp_path / "NTU60_CS.npz", classes=0))


def test_digits_that_only_python_knows(tmp_path: Path) -> None:
    for folder, text in (("skeleton", "\u0661 " * 150), ("label", "1,0,1,1")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "0002-L.txt").write_text(text + "\n", encoding="utf-8")
    with pytest.raises(SkeletonFormatError, match=r"0002-L\.txt: not a text file of numbers"):
        list(open_source(tmp_path, "pku"))


def chain(*names: str) -> str:
    """A joint with one below it, and so on."""
    name, *below = names
    inner = chain(*below) if below else "End Site\n{\nOFFSET 0 1 0\n}\n"
    turns = "CHANNELS 3 Zrotation Xrotation Yrotation\n"
    return f"JOINT {name}\n{{\nOFFSET 0 1 0\n{turns}{inner}}}\n"


def test_coordinates_beyond_float32(tmp_path: Path) -> None:
    body = chain("Spine", "Head")
    body += "".join(chain(f"{side}Arm", f"{side}Hand") for side in ("Left", "Right"))
    body += "".join(chain(f"{side}UpLeg", f"{side}Foot") for side in ("Left", "Right"))
    root = "OFFSET 0 0 0\nCHANNELS 3 Xposition Yposition Zposition\n"
    turns = " 0" * 30
    motion = f"Frames: 2\nFrame Time: 0.03\n1 2 3{turns}\n1 2 1e300{turns}\n"
    text = f"HIERARCHY\nROOT Hips\n{{\n{root}{body}}}\nMOTION\n{motion}"
    (tmp_path / "walk.bvh").write_text(text)
    with pytest.raises(SkeletonFormatError, match="overflow float32 in frame 1, person 0, joint 0"):
        list(open_source(tmp_path, "bvh"))


# --- training and evaluation ----------------------------------------------------------------------


def test_the_same_store_twice(store: Store, tmp_path: Path) -> None:
    again = Store(store.path.parent / "." / store.path.name)
    with pytest.raises(ValueError, match=r"expected different stores, got .*store, .*store"):
        pretrain(CONFIG, [store, again], tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_start_without_a_checkpoint(store: Store, tmp_path: Path) -> None:
    pretrain(CONFIG, store, tmp_path / "before", quiet=True)
    Run(tmp_path / "before").checkpoint.unlink()
    with pytest.raises(ValueError, match=r"with a checkpoint to start from, got .*before"):
        pretrain(CONFIG, store, tmp_path / "run", start=tmp_path / "before", quiet=True)


def test_machines_that_see_different_folders(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretrain(CONFIG, store, tmp_path / "run", quiet=True)
    longer = replace(CONFIG, train=replace(CONFIG.train, devices=1))
    monkeypatch.setattr(  # the first process is at another step
        Fabric, "broadcast", lambda _, value: value + 1 if isinstance(value, int) else value
    )
    with pytest.raises(ValueError, match=rf"{tmp_path}/run;.* step, 1$"):
        pretrain(longer, store, tmp_path / "run", quiet=True)


@pytest.mark.parametrize("name", ["cuda:0", "tpu", "abacus"])
def test_an_accelerator_that_is_not_there(name: str) -> None:
    with pytest.raises(ValueError, match=f"accelerator auto or .*, got {name!r}"):
        launch(TrainSettings(accelerator=name))


def test_fewer_devices_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: Any) -> None:
        raise RuntimeError("You requested 9 devices")

    monkeypatch.setattr("pcm3.training.devices.Fabric", refuse)
    with pytest.raises(ValueError, match="accelerator 'cpu': You requested 9 devices"):
        launch(TrainSettings(accelerator="cpu"))


def test_nothing_to_evaluate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with StoreWriter(tmp_path / "store", NTU25, class_names=[]) as writer:
        for subject in (1, 2):
            writer.add(np.full((3, 1, 25, 3), subject, np.float32), -1, subjects=subject)
    store = Store(tmp_path / "store")
    encoder = GRUEncoder(25, persons=1, hidden=4, layers=1, pool="mean")
    file = tmp_path / "encoder.safetensors"
    save_encoder(file, Pretrained(encoder, NTU25, "joint", 16))
    with pytest.raises(ValueError, match=f"no task fits {store.path}"):
        evaluate_all([file], store, "xsub")
    lines = capsys.readouterr().out.splitlines()
    assert lines
    assert all("left out: " in line for line in lines)


def test_what_is_wrong_for_every_task_is_said_once(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = GRUEncoder(25, persons=1, hidden=4, layers=1, pool="mean")
    file = tmp_path / "encoder.safetensors"
    save_encoder(file, Pretrained(encoder, NTU25, "joint", 16))
    for protocol in ("subjects:99", "all", "nonsense", None):
        with pytest.raises(ValueError, match="protocol"):
            evaluate_all([file], store, protocol)
    file.write_bytes(b"nothing")
    with pytest.raises(SkeletonFormatError, match="not a safetensors file"):
        evaluate_all([file], store, "xsub")
    assert capsys.readouterr().out == ""


def test_a_sequence_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "packed.npz"
    joints = np.random.default_rng(0).normal(size=(9, 1, 15, 3))
    arrays = {"joint_names": np.array(SBU15.joints), "parents": np.array(SBU15.parents)}
    np.savez(file, joints=joints, lengths=np.array([9]), **arrays)
    source = open_source(file, "packed")
    monkeypatch.setattr("pcm3.io.npz.MOST_BYTES", 999)
    with pytest.raises(SkeletonFormatError, match=r"sequence 0: expected at most 999 bytes.*3,240"):
        list(source)


def test_a_skeleton_that_is_none() -> None:
    with pytest.raises(ValueError, match=r"Skeleton .*pcm3.NTU25.*'ntu25'"):
        PCM3.from_preset("small", "ntu25")  # type: ignore[arg-type]
    for part in (TopologyMask, CutMix, RandomMix):
        with pytest.raises(ValueError, match=r"Skeleton .*pcm3.NTU25.*17"):
            part(17)
    with pytest.raises(ValueError, match="expected parts to be a mapping, got list"):
        Skeleton.from_dict(NTU25.to_dict() | {"parts": []})


def test_nothing_at_all() -> None:
    with pytest.raises(ValueError, match=r"empty, got \(0, 3, 9, 25, 1\)"):
        TopologyMask(NTU25)(torch.zeros(0, 3, 9, 25, 1))
    empty = torch.zeros(0, 8)
    with pytest.raises(ValueError, match=r"expected query of one sample or more, got \(0, 8\)"):
        InfoNCE()(empty, empty, torch.eye(8))


def test_a_queue_starts_as_its_generator_says() -> None:
    one, other = (
        MemoryQueue(size=4, dim=3, generator=torch.Generator().manual_seed(5)) for _ in range(2)
    )
    assert torch.equal(one.anchors, other.anchors)
