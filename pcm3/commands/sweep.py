"""The command ``sweep``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pcm3.commands.options import finish, parse
from pcm3.terminal import tell

if TYPE_CHECKING:
    from pcm3.sweep.cells import Cells
    from pcm3.sweep.file import Cell


def sweep_command(arguments: Sequence[str]) -> None:
    """Train and evaluate variations with several seeds, and compare them in a report."""
    from tyro.conf import Positional, arg  # noqa: PLC0415

    from pcm3.checks import check_at_least  # noqa: PLC0415
    from pcm3.sweep.cells import Cells  # noqa: PLC0415
    from pcm3.sweep.file import read_sweep  # noqa: PLC0415
    from pcm3.sweep.processes import run_processes  # noqa: PLC0415

    def options(
        file: Annotated[Path, Positional, arg(metavar="FILE")],
        *,
        out: Path | None = None,
        jobs: int = 1,
        cell: int | None = None,
        dry_run: bool = False,
        json: bool = False,
    ) -> None:
        """Train and evaluate each variation in a file with each seed; repeat it to continue.

        Finished runs and results are kept. A variation that was changed after it was trained is
        refused: give it another name, or delete its runs.

        Args:
            file: The variations, seeds and evaluations, as TOML; examples/sweeps has some.
            out: Folder for runs and report; by default named after the file.
            jobs: Runs at a time, each in a process that writes NAME.log.
            cell: Number of the only run to train and evaluate, without a report, for job arrays.
            dry_run: Check the file, stores and folders, and list the runs; train nothing.
            json: Print the result as JSON on the last line.
        """
        check_at_least("jobs", jobs, 1)
        if cell is not None and jobs > 1:
            raise ValueError("an option has no effect: --cell is one run, --jobs is for several")
        folder = Path(file.stem) if out is None else out
        cells = Cells(read_sweep(file), folder, None if cell is None else [cell])
        if dry_run:
            tell(*_list(cells))
            done = sum(map(cells.is_finished, cells.chosen))
            metrics = {"cells": len(cells.all), "finished": done}
            finish("sweep", metrics, json, f"for a job array: --array=0-{len(cells.all) - 1}")
            return
        if cell is not None:
            cells.complete(cells.chosen[0])
            run = str(cells.run(cells.chosen[0]).path)
            finish("sweep", {"cell": cell}, json, f"{run}: finished", run=run)
            return
        rest = [chosen for chosen in cells.chosen if not cells.is_finished(chosen)]
        count = len(cells.all)
        tell(f"{folder}: {count} runs, {count - len(rest)} of them finished", flush=True)
        failed = run_processes(rest, lambda chosen: _command_of(cells, file, chosen), jobs, folder)
        _report(cells, failed, json)

    parse(
        options,
        "sweep",
        arguments,
        "pcm3 sweep table-10.toml --dry-run",
        "pcm3 sweep table-10.toml --jobs 4",
        "sbatch --array=0-7 examples/launch/slurm_sweep.sh table-10.toml table-10",
    )


def _report(cells: "Cells", failed: Sequence[str], json: bool) -> None:
    from pcm3.report.comparison import as_markdown, as_records  # noqa: PLC0415

    report = cells.report()
    if report is not None:
        rest = {"comparison": as_records(report.comparison), "out": str(report.page.parent)}
        lines = "\n\n".join(as_markdown(report.comparison)).split("\n")
        metrics: dict[str, Any] = {"cells": len(cells.all), "failed": len(failed)}
        finish("sweep", metrics, json, *lines, str(report.page), **rest)
    if failed:
        raise ValueError(f"{len(failed)} of {len(cells.all)} runs failed: {'; '.join(failed)}")
    if report is None:
        tell("no evaluations, so no report")


def _list(cells: "Cells") -> list[str]:
    lines = []
    for cell in cells.chosen:
        if cells.is_finished(cell):
            state = "finished"
        elif cells.is_trained(cell):
            state = "trained, lacks results"
        else:
            state = "begun" if cells.run(cell).checkpoint.exists() else "new"
        lines.append(f"{cell.number:>4}  {cell.name}  {state}")
    return lines


def _command_of(cells: "Cells", file: Path, cell: "Cell") -> list[str]:
    """Return the command that completes a cell; it imports the user's modules that this one did."""
    from pcm3.io.imports import is_import_path  # noqa: PLC0415

    modules = dict.fromkeys(
        name.partition(":")[0]
        for variation in cells.sweep.variations.values()  # a process reads the whole file
        for name in (variation.config.method, str(getattr(variation.config.model, "encoder", "")))
        if is_import_path(name)
    )
    allowed = [word for module in modules for word in ("--allow-import", module)]
    words = ["sweep", str(file), "--out", str(cells.out), "--cell", str(cell.number)]
    return [sys.executable, "-m", "pcm3", *allowed, *words]
