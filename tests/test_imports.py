"""What imports what: layers, and what borrowing a part must not pull in."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from pcm3.cli import EXTRAS
from pcm3.export import ONNX_PACKAGES

HEAVY = ("lightning_fabric", "tyro", "rich", "sklearn", "matplotlib", "safetensors")
ROOT = Path(__file__).parents[1]
MODULES = {
    ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): file
    for file in sorted((ROOT / "pcm3").rglob("*.py"))
}
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
LAYERS = {
    f"pcm3.{name}": int(layer)
    for layer, names in re.findall(r"^\| (\d+) \| (.*?) \|", PAGE, re.MULTILINE)
    for name in re.findall(r"`([\w.]+)`", names)
}
# Imports inside functions that reach up.
REACHES_UP = {
    ("pcm3.methods.base", "pcm3.methods.settings"),
    ("pcm3.methods.base", "pcm3.methods.presets"),
    ("pcm3.methods.base", "pcm3.training.trainer"),
}


class Import(NamedTuple):
    """An import statement: who, whom, and whether only when a function is called."""

    source: str
    target: str
    lazy: bool


def imports() -> Iterator[Import]:
    """All that happen at run time, those by name in ``import_module`` as well."""
    for module, file in MODULES.items():
        yield from _imports(module, ast.parse(file.read_text(encoding="utf-8")), lazy=False)


def _imports(module: str, tree: ast.AST, *, lazy: bool) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (Import(module, each.name, lazy) for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module
            assert node.level == 0, f"{module} has a relative import"
            for each in node.names:
                inner = f"{node.module}.{each.name}"
                yield Import(module, inner if inner in MODULES else node.module, lazy)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "import_module":
            name = node.args[0]
            if isinstance(name, ast.Constant):
                yield Import(module, str(name.value), lazy)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(module, node, lazy=lazy or inside)


def home(module: str) -> str:
    """The entry of the layers that a module belongs to, the most precise one."""
    fits = [name for name in LAYERS if f"{module}.".startswith(f"{name}.")]
    assert fits, f"{module} is in no layer of docs/architecture.md"
    return max(fits, key=len)


def loaded_after(statement: str) -> set[str]:
    script = f"import sys; {statement}; print(*{{m.partition('.')[0] for m in sys.modules}})"
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(result.stdout.split())


def test_parts_and_package_load_none_of_the_trainers_dependencies() -> None:
    parts = "augment, pcm3.losses, pcm3.queue, pcm3.encoders, pcm3.prompts, pcm3.heads, pcm3.ema"
    loaded = loaded_after(f"import pcm3.{parts}, pcm3, pcm3.methods, pcm3.hub, pcm3.data, pcm3.cli")
    assert {"pcm3", "torch"} <= loaded
    assert loaded.isdisjoint(HEAVY)


def test_reading_files_needs_no_torch() -> None:
    """Or every process that reads would take seconds to start, and its memory."""
    assert "torch" not in loaded_after("import pcm3.data.prepare, pcm3.data.readers")


def test_every_module_is_in_a_layer_and_on_the_page() -> None:
    assert sorted(set(LAYERS.values())) == list(range(13))
    assert {home(module) for module in MODULES if module != "pcm3"} == set(LAYERS)
    assert [name for name in LAYERS if name not in MODULES] == []
    named = set(re.findall(r"`(\w+\.py)`", PAGE))
    assert {file.name for file in MODULES.values()} == named


def test_layers_import_from_lower_ones_only() -> None:
    reached = set()
    for source, target, lazy in imports():
        if not target.startswith("pcm3.") or source == "pcm3":
            continue
        here, there = home(source), home(target)
        if here == there or LAYERS[there] < LAYERS[here]:
            continue
        assert lazy, f"{source} imports {target} of a layer that is not below its own"
        reached.add((source, target))
    assert reached == REACHES_UP


def test_the_package_itself_imports_only_its_version() -> None:
    found = {target for source, target, lazy in imports() if source == "pcm3" and not lazy}
    assert {name for name in found if name.startswith("pcm3")} == {"pcm3._version"}


def test_extras_cover_what_is_imported() -> None:
    tomllib = pytest.importorskip("tomllib", reason="needs Python 3.11")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    def modules(requirements: list[str]) -> set[str]:
        names = {re.split(r"[^\w-]", each)[0].replace("-", "_") for each in requirements}
        called = {"scikit_learn": "sklearn", "rerun_sdk": "rerun", "pillow": "PIL"}
        return {called.get(name, name) for name in names}

    core = modules(project["dependencies"])
    for module, extra in EXTRAS.items():
        assert module in modules(project["optional-dependencies"][extra]), module
    assert {*ONNX_PACKAGES} == {module for module, extra in EXTRAS.items() if extra == "onnx"}
    used = set()
    for source, target, lazy in imports():
        module = target.partition(".")[0].replace("mpl_toolkits", "matplotlib")
        if module == "pcm3" or module in sys.stdlib_module_names:
            continue
        used.add(module)
        light = LAYERS[home(source)] < LAYERS["pcm3.runs"] and home(source) != "pcm3.viz"
        allowed = core if light and not lazy else core | {*EXTRAS}
        assert module in allowed, f"{source} imports {target}"
    # tensorboard and onnx are imported by torch, onnxscript too
    assert used == (core | {*EXTRAS}) - {"tensorboard", "onnx", "onnxscript"}
