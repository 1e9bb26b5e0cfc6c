"""Which test triggers each message of ValueError and SkeletonFormatError, after ``make coverage``.

Prints file and line, the message and one test for every place in pcm3 that makes such an error:
calls of the two classes, of functions that return them and of those that always raise them. Reads
what ``pytest --cov --cov-context=test`` left; exits with 1 if a place was never reached.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

from coverage import Coverage

ROOT = Path(__file__).resolve().parents[1]
ERRORS = {"ValueError", "SkeletonFormatError"}
Tree = dict[Path, ast.Module]


def main() -> None:
    coverage = Coverage(config_file=str(ROOT / "pyproject.toml"))
    coverage.load()
    trees = {file: ast.parse(file.read_text()) for file in sorted((ROOT / "pcm3").rglob("*.py"))}
    makers = ERRORS
    while new := set(functions(trees, makers)) - makers:
        makers = makers | new
    untested = total = 0
    for file, tree in trees.items():
        tests = coverage.get_data().contexts_by_lineno(str(file))
        for line, message in places(tree, makers):
            total += 1
            untested += line not in tests
            test = max(tests.get(line, ["NO TEST"])).partition("|")[0].partition("[")[0]
            print(f"{file.relative_to(ROOT)}:{line}\t{message}\t{test or 'a process of a test'}")
    print(f"{total - untested} of {total} messages are triggered by a test")
    sys.exit(untested > 0)


def functions(trees: Tree, makers: set[str]) -> Iterator[str]:
    """Names of those that return such an error, and of those that always raise one."""
    for tree in trees.values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.returns is not None:
                returns = ast.unparse(node.returns)
                if returns in ERRORS or (returns == "NoReturn" and called(node) & makers):
                    yield node.name


def called(tree: ast.AST) -> set[str]:
    return {name(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def name(function: ast.expr) -> str:
    """``error`` of ``error(...)`` and ``checkpoint.error(...)``."""
    return getattr(function, "id", getattr(function, "attr", ""))


def places(tree: ast.AST, makers: set[str]) -> Iterator[tuple[int, str]]:
    """Line and message of every call that makes an error."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and name(node.func) in makers:
            yield node.lineno, " ".join(map(ast.unparse, node.args))


if __name__ == "__main__":
    main()
