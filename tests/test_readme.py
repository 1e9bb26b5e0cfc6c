"""The README says what was measured and what runs."""

import importlib.util
import re
from pathlib import Path

import torch

from pcm3 import augment

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


def test_every_transform_has_its_picture() -> None:
    spec = importlib.util.spec_from_file_location("pictures", ROOT / "docs" / "pictures.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn = {*module.TRANSFORMS, *module.MIXES, *module.MASKS}
    page = (ROOT / "docs" / "parts.md").read_text()
    assert drawn == set(re.findall(r"!\[(\w+)\]\(pictures/\1\.svg\)", page))
    no_picture = {"Compose", "OneOf", "RandomMix", "MixedClips", "functional"}
    assert drawn == set(augment.__all__) - no_picture


def test_pictures_of_the_readme_are_there_and_small() -> None:
    files = re.findall(r"!\[.+\]\((.+)\)", (ROOT / "README.md").read_text())
    assert files
    assert all((ROOT / file).stat().st_size < 250_000 for file in files)
