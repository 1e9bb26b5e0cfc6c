"""What imports what: layers, and what borrowing a part must not pull in."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from architecture import (
    BELOW,
    PAGE,
    PICTURE,
    Import,
    describe_files,
    draw,
    find_imports,
    find_modules,
    home,
    read_layers,
)

from pcm3.errors import EXTRAS
from pcm3.export import ONNX_PACKAGES

HEAVY = ("lightning_fabric", "tyro", "rich", "sklearn", "matplotlib", "safetensors")
ROOT = Path(__file__).parents[1]
MODULES = find_modules()
LAYERS = read_layers()


@pytest.fixture(scope="module")
def imports() -> list[Import]:
    return list(find_imports(MODULES))


# Imports inside functions that reach up.
REACHES_UP = {
    ("pcm3.methods.base", "pcm3.training.trainer"),
}


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


WITHOUT_EXTRAS = """
import importlib, sys
from pcm3.errors import EXTRAS

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {*EXTRAS, "mpl_toolkits"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
for module in sys.argv[1:]:
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        print(module, error.name, str(error), sep="|")
import pcm3, torch
from pcm3.encoders import GRUEncoder
from pcm3.hub import Pretrained, save_encoder
for name, action in {
    "load": pcm3.load_pretrained,
    "save": lambda: save_encoder(
        "encoder.safetensors", Pretrained(GRUEncoder(25, hidden=2), pcm3.NTU25, "joint", 4)
    ),
    "fit": lambda: pcm3.PCM3(GRUEncoder(25, hidden=2), pcm3.NTU25).fit(None),
}.items():
    try:
        action()
    except ModuleNotFoundError as error:
        print(name, error.name, str(error), sep="|")
"""


def test_whatever_needs_a_missing_extra_names_it() -> None:
    result = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS, *MODULES], capture_output=True, text=True, check=True
    )
    failed = {}
    for line in result.stdout.splitlines():
        what, module, message = line.split("|")
        failed[what] = message
        extra = EXTRAS[module.partition(".")[0].replace("mpl_toolkits", "matplotlib")]
        assert f"pip install 'pcm3[{extra}]'" in message, line
    needing = {"load", "save", "fit", "pcm3.viz", "pcm3.inference.estimators", "pcm3.training.step"}
    assert needing <= {*failed}
    assert "pcm3[hub]" in failed["pcm3.inference.sharing"]
    assert not {"pcm3", "pcm3.cli", "pcm3.hub", "pcm3.augment", "pcm3.data"} & {*failed}


def test_reading_files_needs_no_torch() -> None:
    """Or every process that reads would take seconds to start, and its memory."""
    assert "torch" not in loaded_after("import pcm3.data.prepare, pcm3.data.readers")


def test_every_module_is_in_a_layer() -> None:
    assert sorted(set(LAYERS.values())) == list(range(max(LAYERS.values()) + 1))
    assert {home(module, LAYERS) for module in MODULES if module != "pcm3"} == set(LAYERS)
    assert [name for name in LAYERS if name not in MODULES] == []


def test_the_page_and_its_picture_are_as_the_code_is() -> None:
    """If not: python docs/architecture.py."""
    page = PAGE.read_text(encoding="utf-8").partition(BELOW)[2]
    assert page.strip() == describe_files(MODULES).strip()
    assert PICTURE.read_text(encoding="utf-8") == draw(MODULES)


def test_nothing_is_imported_in_a_circle(imports: list[Import]) -> None:
    """Not even by functions; a package's own ``__init__`` aside, which imports its modules."""
    uses: dict[str, set[str]] = {module: set() for module in MODULES}
    for source, target, _ in imports:
        package = MODULES.get(source, ROOT).name == "__init__.py"
        if target in MODULES and not package and (source, target) not in REACHES_UP:
            uses[source].add(target)
    for module in uses:
        found: set[str] = set()
        left = [module]
        while left:
            new = uses[left.pop()] - found
            found |= new
            left += new
        assert module not in found, f"{module} imports itself through others"


def test_layers_import_from_lower_ones_only(imports: list[Import]) -> None:
    reached = set()
    for source, target, lazy in imports:
        if not target.startswith("pcm3.") or source == "pcm3":
            continue
        here, there = home(source, LAYERS), home(target, LAYERS)
        if here == there or LAYERS[there] < LAYERS[here]:
            continue
        assert lazy, f"{source} imports {target} of a layer that is not below its own"
        reached.add((source, target))
    assert reached == REACHES_UP


def test_the_package_itself_imports_only_version_and_names(
    imports: list[Import],
) -> None:
    found = {target for source, target, lazy in imports if source == "pcm3" and not lazy}
    assert {name for name in found if name.startswith("pcm3")} == {
        "pcm3._names",
        "pcm3._version",
    }


def test_extras_cover_what_is_imported(imports: list[Import]) -> None:
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
    for source, target, lazy in imports:
        module = target.partition(".")[0].replace("mpl_toolkits", "matplotlib")
        if module == "pcm3" or module in sys.stdlib_module_names:
            continue
        used.add(module)
        light = (
            LAYERS[home(source, LAYERS)] < LAYERS["pcm3.runs"]
            and home(source, LAYERS) != "pcm3.viz"
        )
        allowed = core if light and not lazy else core | {*EXTRAS}
        assert module in allowed, f"{source} imports {target}"
    # tensorboard and onnx are imported by torch, onnxscript too
    assert used == (core | {*EXTRAS}) - {"tensorboard", "onnx", "onnxscript"}
