"""The examples do what they say."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_borrowed_parts_learn() -> None:
    losses = load("borrow_parts").main(epochs=4)
    # The queue starts with random keys, which are easy to tell apart: count from the second epoch.
    assert losses[-1] < losses[1]


def test_own_skeleton_gives_features(capsys: pytest.CaptureFixture[str]) -> None:
    features = load("own_skeleton").main()
    assert features.shape == (4, 64)
    assert torch.isfinite(features).all()
    assert "left_arm   left_elbow, left_hand" in capsys.readouterr().out


def test_every_example_is_tested() -> None:
    tested = Path(__file__).read_text()
    assert all(f'load("{file.stem}")' in tested for file in EXAMPLES.glob("*.py"))
