"""Classifiers in and out of files, and files that are none."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pcm3.data.store import Store
from pcm3.encoders import TransformerEncoder
from pcm3.errors import SkeletonFormatError
from pcm3.evaluation.tasks.finetune import FinetuneSettings
from pcm3.hub import Pretrained, load_encoder, save_encoder
from pcm3.inference.classifier import Classifier, How
from pcm3.inference.files import load_classifier, save_classifier
from pcm3.inference.fit import fit_classifier
from pcm3.io import tensors
from pcm3.io.tensors import write_tensors
from pcm3.skeleton import NTU25

Fitted = Callable[..., Classifier]
EPOCHS = FinetuneSettings(epochs=3)


def same(one: Classifier, other: Classifier) -> bool:
    """Whether two classifiers have the same weights and settings."""
    parts = [(one.head, other.head), (one.pretrained.encoder, other.pretrained.encoder)]
    weights = all(
        torch.equal(value, second.state_dict()[name])
        for first, second in parts
        for name, value in first.state_dict().items()
    )
    blank = {"head": None, "pretrained": None, "made": {}}
    first, second = (replace(each, **blank) for each in (one, other))
    return (
        weights
        and first == second
        and one.made == other.made
        and one.pretrained[1:] == other.pretrained[1:]
    )


@pytest.mark.parametrize("how", ["linear", "knn", "finetune"])
def test_round_trip(tmp_path: Path, fitted: Fitted, store: Store, how: How) -> None:
    file = tmp_path / "deep" / "classifier.safetensors"
    save_classifier(file, fitted(how))
    loaded = load_classifier(str(file))
    assert same(loaded, fitted(how))
    assert np.array_equal(loaded.predict_proba(store), fitted(how).predict_proba(store))
    before = file.read_bytes()
    save_classifier(file, loaded)
    assert file.read_bytes() == before


def test_a_head_on_tokens_round_trips(tmp_path: Path, store: Store) -> None:
    encoder = TransformerEncoder(NTU25, persons=1, frames=8, width=8, depth=1, heads=2).eval()
    pretrained = Pretrained(encoder, NTU25, "joint", 8, "center")
    made = fit_classifier(pretrained, store, how="finetune", settings=EPOCHS)
    save_classifier(tmp_path / "classifier.safetensors", made)
    loaded = load_classifier(tmp_path / "classifier.safetensors")
    assert same(loaded, made)
    assert np.array_equal(loaded.predict_proba(store), made.predict_proba(store))


@pytest.fixture(params=["linear", "knn"])
def good(request: pytest.FixtureRequest, tmp_path: Path, fitted: Fitted) -> Path:
    file = tmp_path / "classifier.safetensors"
    save_classifier(file, fitted(request.param))
    return file


def test_no_flipped_bit_goes_unnoticed(good: Path) -> None:
    whole, content = load_classifier(good), good.read_bytes()
    random = np.random.default_rng(0)
    for bit in random.integers(8 * len(content), size=300).tolist():
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        good.write_bytes(damaged)
        try:
            found = load_classifier(good)
        except SkeletonFormatError:
            continue
        assert same(found, whole)  # white space, say


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_truncated_file(good: Path, share: float) -> None:
    content = good.read_bytes()
    good.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(SkeletonFormatError, match=r"classifier\.safetensors: "):
        load_classifier(good)


def test_random_bytes_in_the_header(good: Path) -> None:
    content, random = good.read_bytes(), np.random.default_rng(1)
    size = int.from_bytes(content[:8], "little")
    for _ in range(100):
        damaged = bytearray(content)
        start = int(random.integers(8, 8 + size - 20))
        damaged[start : start + 20] = random.bytes(20)
        good.write_bytes(damaged)
        with pytest.raises(SkeletonFormatError, match=r"classifier\.safetensors: "):
            load_classifier(good)


def rewrite(file: Path, **entries: str) -> None:
    """Write a file with another header and a right checksum, as somebody could."""
    content = file.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    del header["checksum"]
    write_tensors(file, header | entries, load_file(file))


def changed(file: Path, **entries: object) -> str:
    content = file.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    return json.dumps(json.loads(header["classifier"]) | entries)


@pytest.mark.parametrize(
    "change",
    [
        {"temperature": 0},
        {"temperature": -1.0},
        {"temperature": 1e999},
        {"threshold": 2},
        {"window": 0},
        {"window": 10**9},
        {"longest": "many"},
        {"fps": -30},
        {"how": "guess"},
        {"background": 1},
        {"extra": 1},
    ],
    ids=str,
)
def test_settings_out_of_range(good: Path, change: dict[str, object]) -> None:
    rewrite(good, classifier=changed(good, **change))
    with pytest.raises(SkeletonFormatError, match=r"classifier\.safetensors: "):
        load_classifier(good)


@pytest.mark.parametrize(
    "entries",
    [
        {"class_names": '["a", "b"]'},
        {"class_names": '["a", "a", "b", "c"]'},
        {"class_names": "a"},
        {"head": "tokens"},
        {"head": "trees"},
        {"frames": "0"},
        {"more": "of it"},
        {"made": "[]"},
    ],
    ids=str,
)
def test_headers_that_do_not_fit(good: Path, entries: dict[str, str]) -> None:
    rewrite(good, **entries)
    with pytest.raises(SkeletonFormatError, match=r"classifier\.safetensors: "):
        load_classifier(good)


def test_weights_that_are_not_finite_are_refused(good: Path, fitted: Fitted) -> None:
    content = good.read_bytes()
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    weights = load_file(good)
    name = next(name for name in weights if name.startswith("head.") and weights[name].ndim == 2)
    weights[name].view(-1)[0] = torch.nan
    del header["checksum"]
    save_file(weights, good, metadata=header)
    with pytest.raises(SkeletonFormatError, match="checksum"):
        load_classifier(good)
    broken = load_classifier_of(fitted)
    with torch.no_grad():
        broken.head.weight[0, 0] = torch.inf
    with pytest.raises(ValueError, match=r"NaN or infinity in head\.weight"):
        save_classifier(good, broken)


def test_weights_that_somebody_made_infinite_are_refused(
    good: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even with a right checksum."""
    with monkeypatch.context() as patch:
        patch.setattr(tensors, "check_finite", lambda _: None)
        content = good.read_bytes()
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        del header["checksum"]
        weights = load_file(good)
        name = next(name for name in weights if name.startswith("head.") and weights[name].ndim > 1)
        weights[name].view(-1)[0] = torch.inf
        tensors.write_tensors(good, header, weights)
    with pytest.raises(SkeletonFormatError, match="infinity"):
        load_classifier(good)


def load_classifier_of(fitted: Fitted) -> Classifier:
    head = torch.nn.Linear(*reversed(fitted("linear").head.weight.shape))
    return replace(fitted("linear"), head=head)


def test_other_files(tmp_path: Path, good: Path, pretrained: Pretrained, store: Store) -> None:
    save_encoder(tmp_path / "encoder.safetensors", pretrained)
    with pytest.raises(SkeletonFormatError, match=r"classifier.*encoder"):
        load_classifier(tmp_path / "encoder.safetensors")
    with pytest.raises(SkeletonFormatError, match=r"encoder.*classifier"):
        load_encoder(good)
    for path in (store.path, tmp_path, tmp_path / "nowhere"):
        with pytest.raises(SkeletonFormatError, match=rf"classifier.* {path}"):
            load_classifier(path)


def test_only_what_can_be_read_back_is_written(tmp_path: Path, fitted: Fitted) -> None:
    fine = fitted("linear")
    for bad in (
        replace(fine, head=torch.nn.Identity()),
        replace(fine, class_names=("a", "b")),
        replace(fine, temperature=0.0),
    ):
        with pytest.raises(ValueError, match="expected"):
            save_classifier(tmp_path / "classifier.safetensors", bad)
    assert not list(tmp_path.iterdir())
