"""Encoders and classifiers on the Hugging Face Hub, without a network."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pcm3.cli import main
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic import synthetic_sequences
from pcm3.encoders import GRUEncoder
from pcm3.encoders.files import Pretrained, load_encoder, save_encoder
from pcm3.errors import SkeletonFormatError
from pcm3.inference.classifier import Classifier
from pcm3.inference.files import load_classifier, save_classifier
from pcm3.methods.catalog import get_preset
from pcm3.skeleton import NTU25, Skeleton
from pcm3.training.pretrain import pretrain

hub = pytest.importorskip("huggingface_hub", reason="needs pip install 'pcm3[hub]'")

from pcm3.inference.sharing import SharedModel  # noqa: E402

Fitted = Callable[..., Classifier]


@pytest.fixture
def classifier_file(tmp_path: Path, fitted: Fitted) -> Path:
    save_classifier(tmp_path / "mine.safetensors", fitted())
    return tmp_path / "mine.safetensors"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of one epoch on data with a source and a licence."""
    folder = tmp_path_factory.mktemp("shared")
    about = {"source": "A study of | walks\n", "licence": "CC BY 4.0"}
    source = synthetic_sequences(sequences=40, frames=(8, 12))
    with StoreWriter(folder / "people", NTU25, class_names=(), **about) as writer:
        for recording in source:
            subject = int(recording.columns["subjects"])
            writer.add(recording.frames, name="one", subjects=subject)
    small = get_preset("small")
    train = replace(small.train, epochs=1, batch_size=8, seed=3, accelerator="cpu")
    model = replace(small.model, hidden=8, queue_size=32, decoder_hidden=8)
    config = replace(small, train=train, model=model, protocol="all")
    pretrain(config, Store(folder / "people"), folder / "run", quiet=True)
    return folder / "run"


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def rows(card: str) -> dict[str, str]:
    cells = [line.strip("| ").split(" | ", 1) for line in card.splitlines() if line[:2] == "| "]
    return {cell[0]: cell[1] for cell in cells if len(cell) == 2}


def test_a_shared_classifier_is_the_file_that_predict_reads(
    tmp_path: Path, classifier_file: Path, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    SharedModel(classifier_file).save_pretrained(tmp_path / "out")
    assert names(tmp_path / "out") == ["README.md", "classifier.safetensors"]
    file = tmp_path / "out" / "classifier.safetensors"
    assert file.read_bytes() == classifier_file.read_bytes()
    assert main(["predict", str(file), str(store.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["metrics"]["recordings"] == 96
    shared = SharedModel.from_pretrained(tmp_path / "out")
    assert shared.file == file
    expected = load_classifier(classifier_file).predict_proba(store)
    assert (shared.model.predict_proba(store) == expected).all()


def test_the_card_of_a_classifier_says_what_the_file_says(
    tmp_path: Path, classifier_file: Path, fitted: Fitted
) -> None:
    SharedModel(classifier_file).save_pretrained(
        tmp_path / "out", model_card_kwargs={"license": "apache-2.0"}
    )
    card = hub.ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.library_name == "pcm3"
    assert card.data.license == "apache-2.0"
    said, classifier = rows(card.text), fitted()
    assert said["Classes"] == f"4: {', '.join(classifier.class_names)}"
    assert said["Fitted by"].startswith("linear: ")
    figures = classifier.made["out_of_fold"]
    assert said["Accuracy"] == f"{figures['accuracy']:.1%}, out of fold (by subject)"
    assert said["Temperature"] == f"{classifier.temperature:.3g}"
    assert f"{classifier.threshold:.1%}" in said["Threshold"]
    assert said["Labelled recordings"] == "store"
    assert said["Normalization"] == "center"
    assert said["Frame rate"] == "30 frames per second"
    assert said["Frames"].endswith("16")
    assert SharedModel(classifier_file).generate_model_card().data.license is None


def test_a_shared_encoder_is_a_run_that_knows_what_it_saw(tmp_path: Path, run: Path) -> None:
    SharedModel(run).save_pretrained(tmp_path / "out")
    kept = ["config.json", "encoder.safetensors", "seen.npz"]
    assert names(tmp_path / "out") == ["README.md", *kept]
    for name in kept:
        assert (tmp_path / "out" / name).read_bytes() == (run / name).read_bytes()
    said = rows((tmp_path / "out" / "README.md").read_text())
    assert said["Method"] == "pcm3"
    assert said["Seed"] == "3"
    assert said["Epochs"] == "1"
    assert said["Training data"] == "people, all of it"
    assert said["Training data: source"] == "A study of \\| walks"
    assert said["Training data: licence"] == "CC BY 4.0"
    assert said["Joints"].startswith("25: spine_base, ")
    shared = SharedModel.from_pretrained(tmp_path / "out")
    again = tmp_path / "again"
    shared.save_pretrained(again)
    assert (again / "README.md").read_text() == (tmp_path / "out" / "README.md").read_text()
    clips = torch.randn(2, 3, 10, 25, 1)
    assert torch.equal(shared.model.encoder(clips), load_encoder(run).encoder(clips))


def test_an_encoder_without_its_whole_run(tmp_path: Path, run: Path) -> None:
    """A file alone says less, and that of an epoch is not what ``config.json`` describes."""
    kept = run / "encoder-epoch1.safetensors"
    kept.write_bytes((run / "encoder.safetensors").read_bytes())
    alone = tmp_path / "alone.safetensors"
    alone.write_bytes(kept.read_bytes())
    for file, epochs in ((kept, "1 of 1"), (alone, None)):
        target = tmp_path / file.stem
        SharedModel(file).save_pretrained(target)
        assert names(target) == ["README.md", "encoder.safetensors"]
        assert rows((target / "README.md").read_text()).get("Epochs") == epochs


def test_what_is_uploaded(
    classifier_file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sent: dict[str, Any] = {}

    class Api:
        def __init__(self, token: str | None = None) -> None:
            sent["token"] = token

        def create_repo(self, repo_id: str, **options: Any) -> Any:
            sent["repo"], sent["private"] = repo_id, options["private"]
            return hub.RepoUrl(f"https://huggingface.co/{repo_id}")

        def upload_folder(self, folder_path: Path, **options: Any) -> str:
            sent["files"] = {file.name: file.read_bytes() for file in Path(folder_path).iterdir()}
            return "done"

    monkeypatch.setattr("huggingface_hub.hub_mixin.HfApi", Api)
    shared = SharedModel(str(classifier_file))
    assert shared.push_to_hub("me/gestures", private=True, token="mine") == "done"
    assert (sent["repo"], sent["private"], sent["token"]) == ("me/gestures", True, "mine")
    assert sorted(sent["files"]) == ["README.md", "classifier.safetensors"]
    assert sent["files"]["classifier.safetensors"] == classifier_file.read_bytes()
    assert str(tmp_path).encode() not in sent["files"]["README.md"]


@pytest.mark.parametrize("kind", ["classifier", "encoder"])
def test_a_download_is_read_from_the_cache(
    kind: str, tmp_path: Path, classifier_file: Path, run: Path
) -> None:
    """The cache as the Hub's client keeps it: links in a snapshot to files named by content."""
    cache = tmp_path / "cache" / "models--me--gestures"
    snapshot = cache / "snapshots" / ("0" * 40)
    for folder in (cache / "refs", cache / "blobs", snapshot):
        folder.mkdir(parents=True)
    (cache / "refs" / "main").write_text("0" * 40)
    source = classifier_file if kind == "classifier" else run
    SharedModel(source).save_pretrained(tmp_path / "out")
    for file in (tmp_path / "out").iterdir():
        (cache / "blobs" / file.stem).write_bytes(file.read_bytes())
        (snapshot / file.name).symlink_to(cache / "blobs" / file.stem)
    shared = SharedModel.from_pretrained(
        "me/gestures", cache_dir=tmp_path / "cache", local_files_only=True
    )
    assert shared.file == snapshot / f"{kind}.safetensors"
    assert isinstance(shared.model, Classifier if kind == "classifier" else Pretrained)


def test_nothing_is_overwritten(tmp_path: Path, classifier_file: Path, run: Path) -> None:
    before = {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()}
    for source in (classifier_file, run):
        with pytest.raises(ValueError, match="empty folder"):
            SharedModel(source).save_pretrained(run)
    assert before == {file.name: file.read_bytes() for file in run.iterdir() if file.is_file()}
    (tmp_path / "clone" / ".git").mkdir(parents=True)
    SharedModel(classifier_file).save_pretrained(tmp_path / "clone")


def test_folders_and_files_that_are_no_model(
    tmp_path: Path, classifier_file: Path, pretrained: Pretrained
) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(SkeletonFormatError, match="none of them"):
        SharedModel.from_pretrained(tmp_path / "folder")
    save_encoder(tmp_path / "folder" / "encoder.safetensors", pretrained)
    (tmp_path / "folder" / "classifier.safetensors").write_bytes(classifier_file.read_bytes())
    with pytest.raises(SkeletonFormatError, match="both"):
        SharedModel.from_pretrained(tmp_path / "folder")
    content = bytearray(classifier_file.read_bytes())
    content[-1] ^= 1
    classifier_file.write_bytes(content)
    with pytest.raises(SkeletonFormatError, match="checksum"):
        SharedModel(classifier_file)
    with pytest.raises(SkeletonFormatError, match="found no file"):
        SharedModel(tmp_path / "none")


def test_names_from_files_stay_in_their_cell(tmp_path: Path) -> None:
    joints = ("hip", "a | b\n# title", "[x](y)", "<b>")
    everything = (0, 1, 2, 3)
    skeleton = Skeleton("own", joints, (-1, 0, 1, 2), {"all": everything}, everything, 0)
    encoder = GRUEncoder(4, persons=1, hidden=8, layers=1)
    save_encoder(tmp_path / "e.safetensors", Pretrained(encoder, skeleton, "joint", 16))
    card = SharedModel(tmp_path / "e.safetensors").generate_model_card().text
    assert rows(card)["Joints"] == r"4: hip, a \| b # title, \[x\](y), \<b>"
