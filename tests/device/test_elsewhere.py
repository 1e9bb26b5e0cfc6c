"""What other devices compute is what the CPU does; shown on one that needs no hardware."""

from __future__ import annotations

from pathlib import Path

import forks
import pytest
from forks import Started
from torch.utils import backend_registration

pytestmark = pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch has no devices written in Python",
)
CASES = ("device", "steps", "tasks", "waits", "training")


def run(folder: Path, *cases: str) -> tuple[list[str], str]:
    """Lines of the cases that hold, and what was said of others."""
    script = Path(__file__).with_name("cases.py")
    done = Started(forks.script, script, *cases, TMPDIR=str(folder)).end(600)
    return done.stdout.splitlines(), done.stderr[-8000:]


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], str]:
    return run(tmp_path_factory.mktemp("cases"), *CASES)


@pytest.mark.parametrize("case", CASES)
def test_a_device_that_is_not_the_cpu(case: str, said: tuple[list[str], str]) -> None:
    assert f"{case}: holds" in said[0], said[1]


@pytest.mark.slow
def test_every_task_of_every_encoder(tmp_path: Path) -> None:
    lines, errors = run(tmp_path, "all tasks")
    assert "all tasks: holds" in lines, errors
