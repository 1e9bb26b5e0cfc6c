"""Which small changes of losses, queue, masks and metrics no test notices.

Changes one operator, number, condition, loop or decorator at a time with cosmic-ray, in a copy of
the repository, and runs the module's tests on it. An operator is replaced by those of its kind
alone: arithmetic by arithmetic. Writes the counts and the changes that survive to
results/mutation.json. A survivor that changes nothing that can be observed is explained there, in
its field "why", which later runs keep; one without an explanation is a missing test.

    pip install cosmic-ray
    python benchmarks/mutation.py
    python benchmarks/mutation.py pcm3/queue.py
    python benchmarks/mutation.py --survivors
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parents[1]
TESTS = {
    "pcm3/losses/contrast.py": ["tests/test_losses.py"],
    "pcm3/queue.py": ["tests/test_queue.py"],
    "pcm3/augment/mask.py": ["tests/augment/test_mask.py", "tests/augment/test_transforms.py"],
    "pcm3/evaluation/metrics.py": ["tests/evaluation/test_metrics.py"],
    "pcm3/evaluation/tasks/detection/average_precision.py": [
        "tests/evaluation/tasks/detection/test_average_precision.py",
        "tests/evaluation/tasks/detection/test_detection.py",
    ],
    "pcm3/evaluation/neighbours.py": ["tests/evaluation/test_neighbours.py"],
}
KINDS = [  # as cosmic-ray calls them
    {"Add", "Sub", "Mul", "Div", "FloorDiv", "Mod", "Pow", "MatMul"},
    {"BitOr", "BitAnd", "BitXor"},
    {"Eq", "NotEq", "Lt", "LtE", "Gt", "GtE"},
    {"Is", "IsNot"},
    {"In", "NotIn"},
]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("modules", nargs="*", default=list(TESTS), help="of " + ", ".join(TESTS))
    parser.add_argument(
        "--survivors", action="store_true", help="test those on file again, none that was killed"
    )
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    options = parser.parse_args()
    file = options.out / "mutation.json"
    before = json.loads(file.read_text())["modules"] if file.is_file() else {}
    # every mutant is tested in a fork that has these already, and takes the same examples
    for name in ("torch", "numpy", "scipy.stats", "sklearn.metrics", "einops"):
        importlib.import_module(name)
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    hypothesis.settings.register_profile("once", phases=phases, derandomize=True, database=None)
    hypothesis.settings.load_profile("once")
    modules = dict(before)
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("pcm3", "tests", "benchmarks"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        for module in options.modules:
            known = {each["change"]: each for each in before.get(module, {}).get("survivors", ())}
            modules[module] = examine(copy, module, known, options.survivors)
    from environment import environment  # noqa: PLC0415 (imports pcm3, which the forks must not)

    result = {
        "benchmark": "mutation",
        "command": "python benchmarks/mutation.py",
        "modules": {module: modules[module] for module in TESTS if module in modules},
        "environment": environment(),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n")
    survivors = [each for one in result["modules"].values() for each in one["survivors"]]
    sys.exit(any(not each["why"] for each in survivors))


def examine(copy: Path, module: str, known: dict[str, Any], again: bool) -> dict[str, Any]:
    """Counts and survivors of one module, given what is on file of earlier ones."""
    code = (ROOT / module).read_text()
    began = time.perf_counter()
    if not passes(copy, module, code, 600):
        sys.exit(f"the tests of {module} fail without a change")
    limit = 30 + 5 * (time.perf_counter() - began)
    mutants, survivors = 0, []
    for line, mutant in changed(code):
        mutants += 1
        change = difference(code, mutant)
        if (change in known or not again) and passes(copy, module, mutant, limit):
            why = known.get(change, {}).get("why", "")
            survivors.append({"place": f"{module}:{line}", "change": change, "why": why})
            print(f"{module}:{line}: {change}", flush=True)
    (copy / module).write_text(code)
    killed = mutants - len(survivors)
    print(f"{module}: {killed} of {mutants} killed", flush=True)
    return {
        "tests": TESTS[module],
        "mutants": mutants,
        "killed": killed,
        "survived": len(survivors),
        "survivors": survivors,
    }


def changed(code: str) -> Iterator[tuple[int, str]]:
    """Line and code of every mutant that is another program; annotations are not run."""
    from cosmic_ray import plugins  # noqa: PLC0415 (--help works without)
    from cosmic_ray.ast import ast_nodes, get_ast  # noqa: PLC0415
    from cosmic_ray.mutating import mutate_code  # noqa: PLC0415

    seen = {meaning(code)}
    tree = get_ast(code)
    for name in plugins.operator_names():
        _, *replaced = name.split("_")
        if len(replaced) == 2 and not any(set(replaced) <= kind for kind in KINDS):
            continue
        if plugins.get_operator(name).arguments():
            continue  # renames of variables, which want their names
        operator = plugins.get_operator(name)()
        places = [place for node in ast_nodes(tree) for place in operator.mutation_positions(node)]
        for occurrence, ((line, _), _) in enumerate(places):
            mutant = mutate_code(code, operator, occurrence)
            said = meaning(mutant) if mutant is not None else None
            if said is not None and said not in seen:
                seen.add(said)
                yield line, mutant


def meaning(code: str) -> str | None:
    """The program without annotations; None if it is none."""
    try:
        tree = ast.parse(code)
    except SyntaxError:
        return None
    for node in ast.walk(tree):
        for name in {"annotation", "returns"} & set(node._fields):
            setattr(node, name, None)
    return ast.dump(tree)


def difference(code: str, mutant: str) -> str:
    """``old -> new``, of the lines that differ."""
    lines = list(difflib.ndiff(code.splitlines(), mutant.splitlines()))
    old, new = (
        " ".join(line[2:].strip() for line in lines if line.startswith(sign)) for sign in "-+"
    )
    return f"{old} -> {new}"


def passes(copy: Path, module: str, code: str, limit: float) -> bool:
    """Whether all tests pass within a time limit in seconds."""
    (copy / module).write_text(code)
    process = multiprocessing.get_context("fork").Process(target=test, args=(copy, module))
    process.start()
    process.join(limit)
    if process.is_alive():
        os.killpg(process.pid, signal.SIGKILL)
        process.join()
    return process.exitcode == 0


def test(copy: Path, module: str) -> None:
    os.setsid()  # a process group of its own, with whatever the tests start
    os.chdir(copy)
    sys.path.insert(0, str(copy))
    os.environ["PYTHONPATH"] = str(copy)
    sys.dont_write_bytecode = True
    with Path(os.devnull).open("w") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        os.dup2(nowhere.fileno(), 2)
    os._exit(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *TESTS[module]]))


if __name__ == "__main__":
    main()
