"""Files that run without this package give the probabilities of a classifier."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcm3.augment.functional import center_crop_resize
from pcm3.cli import main
from pcm3.data.dataset import SkeletonDataset
from pcm3.data.store import Store
from pcm3.encoders import TransformerEncoder
from pcm3.evaluation.tasks.finetune import FinetuneSettings
from pcm3.export import ONNX_PACKAGES
from pcm3.hub import Pretrained
from pcm3.inference.classifier import Classifier, How
from pcm3.inference.export import export_classifier
from pcm3.inference.files import save_classifier
from pcm3.inference.fit import fit_classifier
from pcm3.skeleton import NTU25

Fitted = Callable[..., Classifier]
ONNX = pytest.mark.skipif(
    not all(find_spec(name) for name in ONNX_PACKAGES), reason="needs the extra onnx"
)


def resized(store: Store, frames: int) -> torch.Tensor:
    clips, lengths, _, _ = SkeletonDataset(store).batch(range(7))
    return center_crop_resize(clips, lengths, frames)


@pytest.mark.parametrize("how", ["linear", "knn", "finetune"])
def test_program_runs_with_torch_alone(
    tmp_path: Path, fitted: Fitted, store: Store, how: How
) -> None:
    assert export_classifier(fitted(how), tmp_path / "classifier.pt2") < 1e-5
    torch.save(resized(store, 16), tmp_path / "clips.pt")
    script = (
        "import sys, torch; program = torch.export.load('classifier.pt2').module();"
        "torch.save(program(torch.load('clips.pt')), 'probabilities.pt');"
        "assert not any(name.startswith('pcm3') for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    (found,) = torch.load(tmp_path / "probabilities.pt")
    expected = fitted(how).predict_proba(store)[:7]
    np.testing.assert_allclose(found, expected, atol=1e-5)


@ONNX
@pytest.mark.parametrize("how", ["linear", "knn", "finetune"])
def test_onnx_has_probabilities_and_names(
    tmp_path: Path, fitted: Fitted, store: Store, how: How
) -> None:
    import onnxruntime

    save_classifier(tmp_path / "classifier.safetensors", fitted(how))
    file = tmp_path / "classifier.onnx"
    assert main(["export", str(tmp_path / "classifier.safetensors"), "--out", str(file)]) == 0
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    (found,) = session.run(["probabilities"], {"clips": resized(store, 16).numpy()})
    np.testing.assert_allclose(found, fitted(how).predict_proba(store)[:7], atol=1e-5)
    about = session.get_modelmeta().custom_metadata_map
    assert tuple(json.loads(about["class_names"])) == fitted(how).class_names
    assert float(about["threshold"]) == fitted(how).threshold
    assert (about["fps"], about["stream"], about["frames"]) == ("30", "joint", "16")


def test_a_head_on_tokens(tmp_path: Path, store: Store) -> None:
    encoder = TransformerEncoder(NTU25, persons=1, frames=8, width=8, depth=1, heads=2).eval()
    pretrained = Pretrained(encoder, NTU25, "joint", 8, "center")
    settings = FinetuneSettings(epochs=1)
    classifier = fit_classifier(pretrained, store, how="finetune", settings=settings)
    export_classifier(classifier, tmp_path / "classifier.pt2")
    extra = {"pcm3.json": ""}
    program = torch.export.load(tmp_path / "classifier.pt2", extra_files=extra).module()
    (found,) = program(resized(store, 8))
    np.testing.assert_allclose(found, classifier.predict_proba(store)[:7], atol=1e-5)
    assert json.loads(json.loads(extra["pcm3.json"])["class_names"]) == list(store.class_names)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--out", "file.pt2"], "neither"),
        (["classifier", "--run", "run", "--out", "file.pt2"], "both"),
        (["classifier", "--out", "file.txt"], ".onnx"),
    ],
)
def test_what_is_exported(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[Any]
) -> None:
    assert main(["export", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_suffix(fitted: Fitted, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.pt2 or \.onnx"):
        export_classifier(fitted(), tmp_path / "classifier.txt")
