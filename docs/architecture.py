"""Keeps architecture.md and its picture as the code is: ``python docs/architecture.py``.

The layers are a table that people write, at the top of the page. The picture is drawn from what
imports what, and the lists of files are made of the first lines of the modules' docstrings.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parent
PAGE, PICTURE = HERE / "architecture.md", HERE / "architecture.svg"
BELOW = "<!-- Written by docs/architecture.py from the docstrings. -->\n"


class Import(NamedTuple):
    """An import statement: who, whom, and whether only when a function is called."""

    source: str
    target: str
    lazy: bool


def find_modules(root: Path = ROOT) -> dict[str, Path]:
    """Name to file of all modules of the package."""
    return {
        ".".join(file.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): file
        for file in sorted((root / "pcm3").rglob("*.py"))
    }


def find_imports(modules: dict[str, Path]) -> Iterator[Import]:
    """All that happen at run time, those by name in ``import_module`` as well."""
    for module, file in modules.items():
        tree = ast.parse(file.read_text(encoding="utf-8"))
        yield from _imports(modules, module, tree, lazy=False)


def _imports(
    modules: dict[str, Path], module: str, tree: ast.AST, *, lazy: bool
) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.Import):
            yield from (Import(module, name.name, lazy) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.module
            assert node.level == 0, f"{module} has a relative import"
            for name in node.names:
                inner = f"{node.module}.{name.name}"
                yield Import(module, inner if inner in modules else node.module, lazy)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "import_module":
            argument = node.args[0]
            if isinstance(argument, ast.Constant):
                yield Import(module, str(argument.value), lazy)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(modules, module, node, lazy=lazy or inside)


def read_layers() -> dict[str, int]:
    """Module or package to layer, as the table on the page says."""
    rows = re.findall(r"^\| (\d+) \| (.*?) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    return {
        f"pcm3.{name}": int(layer)
        for layer, names in rows
        for name in re.findall(r"`([\w.]+)`", names)
    }


def home(module: str, layers: dict[str, int]) -> str:
    """The entry of the layers that a module belongs to, the most precise one."""
    fits = [name for name in layers if f"{module}.".startswith(f"{name}.")]
    assert fits, f"{module} is in no layer of docs/architecture.md"
    return max(fits, key=len)


def describe_files(modules: dict[str, Path]) -> str:
    """The lists of files, a table for each package."""
    packages: dict[str, list[str]] = {}
    for module, file in modules.items():
        if file.name == "__init__.py":
            packages.setdefault(module, [])
        else:
            packages.setdefault(module.rpartition(".")[0], []).append(module)
    lines: list[str] = []
    for package, files in packages.items():
        folder = package.replace(".", "/")
        lines += [
            f"### `{folder}/`",
            "",
            _about(modules[package]),
            "",
            "| File | |",
            "| --- | --- |",
        ]
        lines += [f"| `{modules[file].name}` | {_about(modules[file])} |" for file in files]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _about(file: Path) -> str:
    """The first line of a module's docstring, in Markdown."""
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0].replace("``", "`").replace("|", "\\|")


def draw(modules: dict[str, Path]) -> str:
    """The layers as SVG: an arrow from what imports to what is imported, unless it goes on."""
    layers = read_layers()
    uses: dict[str, set[str]] = {entry: set() for entry in layers}
    for source, target, lazy in find_imports(modules):
        if source != "pcm3" and target.startswith("pcm3.") and not lazy:
            here, there = home(source, layers), home(target, layers)
            if here != there:
                uses[here].add(there)
    reached = {entry: _reached(entry, uses) for entry in layers}
    rows = [
        [entry for entry in layers if layers[entry] == layer]
        for layer in sorted(set(layers.values()), reverse=True)
    ]
    width, gap, height = 820, 10, 26
    place: dict[str, tuple[float, float, float]] = {}
    for number, row in enumerate(rows):
        sizes = [16 + 7.2 * len(entry.removeprefix("pcm3.")) for entry in row]
        x = (width - sum(sizes) - gap * (len(row) - 1)) / 2
        for entry, size in zip(row, sizes, strict=True):
            place[entry] = (x, 16 + number * 62, size)
            x += size + gap
    bottom = 16 + len(rows) * 62 - 20
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {bottom}" '
        'font-family="sans-serif" font-size="12" role="img" aria-label="Layers of pcm3">',
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" '
        'markerHeight="6" orient="auto"><path d="M0 0L8 4L0 8z" fill="#789"/></marker></defs>',
        f'<rect width="{width}" height="{bottom}" rx="10" fill="#fff"/>',
    ]
    for entry, targets in uses.items():
        for target in sorted(targets):
            if any(target in reached[other] for other in targets - {target}):
                continue
            (x, y, size), (to_x, to_y, to_size) = place[entry], place[target]
            parts.append(
                f'<path d="M{x + size / 2:.0f} {y + height}L{to_x + to_size / 2:.0f} {to_y - 2}" '
                'stroke="#9ab" fill="none" marker-end="url(#tip)"/>'
            )
    for entry, (x, y, size) in place.items():
        name = escape(entry.removeprefix("pcm3."))
        parts.append(
            f'<rect x="{x:.0f}" y="{y}" width="{size:.0f}" height="{height}" rx="5" '
            'fill="#e8f0fa" stroke="#4a6a8a"/>'
            f'<text x="{x + size / 2:.0f}" y="{y + 17}" text-anchor="middle" '
            f'fill="#1b2a3a">{name}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _reached(entry: str, uses: dict[str, set[str]]) -> set[str]:
    """What an entry uses, directly or through others."""
    found, left = set(), [entry]
    while left:
        for target in uses[left.pop()] - found:
            found.add(target)
            left.append(target)
    return found


def main() -> None:
    modules = find_modules()
    head = PAGE.read_text(encoding="utf-8").partition(BELOW)[0]
    PAGE.write_text(head + BELOW + "\n" + describe_files(modules), encoding="utf-8")
    PICTURE.write_text(draw(modules), encoding="utf-8")


if __name__ == "__main__":
    main()
