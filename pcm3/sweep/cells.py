"""The cells of a sweep: checked against stores and run folders, run, and joined in a report."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pcm3.data.body import form_of
from pcm3.data.splits import part_protocols, split
from pcm3.data.store import Store
from pcm3.errors import SkeletonFormatError
from pcm3.evaluation.evaluate import evaluate_runs
from pcm3.evaluation.kept import find_kept, result_file
from pcm3.evaluation.tasks.registry import TASKS
from pcm3.report.page import Report, write_report
from pcm3.runs.folder import Run
from pcm3.runs.results import plain_settings, write_result
from pcm3.sweep.file import Cell, Evaluation, Sweep, Variation, shown_settings
from pcm3.terminal import tell
from pcm3.training.pretrain import pretrain, run_settings


class _Test(NamedTuple):
    """An evaluation of the runs of a variation."""

    task: str
    store: Store
    protocol: str
    settings: Any
    other: bool  # whether the normalization is another than that of the training
    max_frames: int | None


class Cells:
    """The cells of a sweep in a folder.

    Args:
        sweep: The sweep.
        out: The folder of its runs.
        numbers: Numbers of the cells to check; all of them if None.

    Attributes:
        chosen: The cells.

    Raises:
        SkeletonFormatError: If a store or a protocol does not exist or does not fit, or a folder
            holds a run with other settings; the message says where.
        ValueError: If there is no cell of a number.
    """

    def __init__(self, sweep: Sweep, out: Path, numbers: Sequence[int] | None = None) -> None:
        self.sweep, self.out = sweep, out
        self.all = sweep.cells
        numbers = range(len(self.all)) if numbers is None else numbers
        for number in numbers:
            if not 0 <= number < len(self.all):
                raise ValueError(f"expected a cell from 0 to {len(self.all) - 1}, got {number}")
        self.chosen = [self.all[number] for number in numbers]
        self._stores: dict[Path, Store] = {}
        self._tests: dict[str, list[_Test]] = {}
        expected: dict[str, dict[str, Any]] = {}
        for cell in self.chosen:
            name = cell.variation.name
            try:
                if name not in expected:
                    expected[name] = self._check(cell.variation)
                self._check_folder(cell, expected[name])
            except ValueError as error:
                raise SkeletonFormatError(f"{sweep.file}: {name}: {error}") from None

    def run(self, cell: Cell) -> Run:
        """Return the run folder of a cell."""
        return Run(self.out / cell.name)

    def is_trained(self, cell: Cell) -> bool:
        """Return whether the run of a cell is trained to the end."""
        return self.run(cell).encoder.is_file()

    def is_finished(self, cell: Cell) -> bool:
        """Return whether a cell is trained and has all results."""
        return self.is_trained(cell) and all(
            self._kept(cell, test) for test in self._tests[cell.variation.name]
        )

    def complete(self, cell: Cell) -> None:
        """Train a cell, or continue it, and make the results that it lacks.

        Raises:
            ValueError: If the cell that it starts from is not trained, or as ``pretrain`` and
                ``evaluate_runs`` raise it.
        """
        run, variation = self.run(cell), cell.variation
        start = None
        if cell.start is not None:
            first = self.all[cell.start]
            if not self.is_trained(first):
                raise ValueError(
                    f"cell {cell.number} ({cell.name}) starts from cell {first.number} "
                    f"({first.name}), which is not trained yet"
                )
            start = self.run(first).path
        if not self.is_trained(cell):
            stores = [self._store(path) for path in variation.data]
            pretrain(cell.config, stores, run.path, start=start)
        for test in self._tests[variation.name]:
            if self._kept(cell, test):
                continue
            result = evaluate_runs(
                test.task,
                [run.path],
                test.store,
                test.protocol,
                test.settings,
                allow_normalization=test.other,
                max_frames=test.max_frames,
            )
            summary = TASKS[test.task].summary(result.metrics)
            tell(f"{cell.name}: {test.task} {summary}  ({result.seconds:.0f} s)", flush=True)
            file = result_file(result, [run.path])
            assert file is not None  # as the run is a folder
            write_result(file, result)

    def report(self) -> Report | None:
        """Join the results of all cells in ``report``; None if there are none yet.

        Cells without results are listed as left out. The baseline is left out as long as it has no
        results.
        """
        done = {
            cell.variation.name for cell in self.all if any(self.run(cell).results.glob("*.json"))
        }
        if not done:
            return None
        return write_report(
            [self.run(cell).path for cell in self.all],
            self.out / "report",
            columns=[cell.variation.name for cell in self.all],
            settings=shown_settings(self.sweep),
            baseline=self.sweep.baseline if self.sweep.baseline in done else None,
        )

    def _store(self, path: Path) -> Store:
        if path not in self._stores:
            try:
                self._stores[path] = Store(path)
            except SkeletonFormatError as error:
                if path.exists():
                    raise
                file = self.sweep.file
                raise ValueError(f"{error}; see the comment at the top of {file}, if any") from None
        return self._stores[path]

    def _check(self, variation: Variation) -> dict[str, Any]:
        """Check the stores of a variation; return the settings that its runs have."""
        stores = [self._store(path) for path in variation.data]
        expected = run_settings(variation.config, stores)
        tests = [
            self._test(variation, evaluation, expected["data"]["normalization"], at)
            for at, evaluation in enumerate(self.sweep.evaluations)
        ]
        self._tests[variation.name] = tests
        return expected

    def _check_folder(self, cell: Cell, expected: dict[str, Any]) -> None:
        settings = expected | json.loads(cell.config.to_json())
        if cell.start is not None:
            settings["start"] = self.all[cell.start].name
        self.run(cell).check(settings)

    def _test(
        self, variation: Variation, evaluation: Evaluation, trained: str | None, at: int
    ) -> _Test:
        task, where = TASKS[evaluation.task], f"evaluations[{at}] ({evaluation.task})"
        try:
            store = self._store(evaluation.data or variation.data[0])
            if lacking := task.lacks(store):
                raise ValueError(f"{store.path}: {lacking}, which {evaluation.task} needs")
            protocol = evaluation.protocol or _default_protocol(variation, evaluation, store)
            if protocol == "all":
                raise ValueError("protocol 'all' would test on training data: give another one")
            split(store, protocol)
            actual = store.meta["normalization"]
            other = form_of(trained) is None and trained not in (None, actual)
            if other and not evaluation.allow_normalization:
                raise ValueError(
                    f"{store.path} has normalization {actual!r} and the training data {trained!r}; "
                    "allow_normalization = true accepts it"
                )
            plain = plain_settings(evaluation.settings)
            if evaluation.max_frames is not None and task.frames(plain) == "all":
                raise ValueError("max_frames has no effect: recordings are read whole")
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
        return _Test(
            evaluation.task, store, protocol, evaluation.settings, other, evaluation.max_frames
        )

    def _kept(self, cell: Cell, test: _Test) -> bool:
        return (
            find_kept(
                test.task,
                [self.run(cell).path],
                test.store,
                test.protocol,
                test.other,
                plain_settings(test.settings),
                test.max_frames,
            )
            is not None
        )


def _default_protocol(variation: Variation, evaluation: Evaluation, store: Store) -> str:
    """Choose the protocol of an evaluation as ``evaluate_runs`` does.

    Raises:
        ValueError: If runs are trained under several protocols, on other stores than this one.
    """
    protocols = part_protocols(variation.config.protocol)
    trained = [path.resolve() for path in variation.data]
    if store.path.resolve() in trained:
        at = trained.index(store.path.resolve())
        return protocols[at] if len(protocols) > 1 else protocols[0]
    own = TASKS[evaluation.task].protocol(store)
    if own is not None:
        return own
    if len(protocols) > 1:
        raise ValueError(f"expected a protocol for {store.path}, on which no run is trained")
    return protocols[0]
