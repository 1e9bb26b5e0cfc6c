"""The README says what was measured and what runs."""

import importlib.util
import re
from pathlib import Path

import torch

ROOT = Path(__file__).parents[1]


def test_tables_are_those_on_file() -> None:
    spec = importlib.util.spec_from_file_location("table", ROOT / "benchmarks" / "table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for page in module.PAGES:
        text = page.read_text()
        assert re.search(r"<!-- table \w+ -->\n(\|.*\n){3,}<!-- end -->", text)
        assert module.filled(text) == text


def test_borrowing_example_runs() -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    names: dict[str, object] = {}
    exec(blocks[0], names)
    assert names["hidden"].shape == (8, 64, 25, 2)
    assert torch.isfinite(names["loss"])
