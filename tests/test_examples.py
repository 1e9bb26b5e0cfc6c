"""The examples do what they say."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
import torch

from pcm3 import NTU25
from pcm3.encoders import TransformerEncoder
from pcm3.hub import Pretrained, save_encoder

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
    assert load("live").main() > 0.4  # of six classes
    output = capsys.readouterr().out
    assert re.search(r"^ {2}1 s  \w[\w ]+\(it is: [\w ]+\)$", output, re.MULTILINE)
    assert re.search(r"^\d+ frames per second; the camera gives 30$", output, re.MULTILINE)


def test_code_of_the_parts_page_runs() -> None:
    page = (EXAMPLES.parent / "docs" / "parts.md").read_text()
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert torch.equal(names["queue"].anchors[:8], names["key"])
    assert names["network"][1].weight.grad.isfinite().all()
    assert names["features"].shape == (8, 128)


def test_code_of_the_method_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (EXAMPLES.parent / "docs" / "method.md").read_text()
    page = page.split("## Published checkpoints")[0]  # which are tested where they are made up
    monkeypatch.chdir(tmp_path)
    encoder = TransformerEncoder(NTU25, frames=16, width=8, depth=2, heads=2)
    save_encoder("run/encoder.safetensors", Pretrained(encoder, NTU25, "joint", 16))
    names: dict[str, object] = {}
    for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL):
        exec(block, names)
    assert names["scores"].shape == (8, 60)
    before, after = encoder.state_dict(), names["encoder"].state_dict()
    assert not torch.equal(before["tokenizer.weight"], after["tokenizer.weight"])
    assert (tmp_path / "encoder.pt2").exists()


def test_every_example_is_tested() -> None:
    tested = Path(__file__).read_text()
    assert all(f'load("{file.stem}")' in tested for file in EXAMPLES.glob("*.py"))
