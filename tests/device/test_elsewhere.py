"""What other devices compute is what the CPU does; shown on one that needs no hardware."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

CASES = ("device", "steps", "training", "waits", "tasks")


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch has no devices written in Python",
)
@pytest.mark.parametrize("case", CASES)
def test_a_device_that_is_not_the_cpu(case: str, tmp_path: Path) -> None:
    script = Path(__file__).with_name("cases.py")
    command = [sys.executable, str(script), case]
    done = subprocess.run(
        command,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    assert done.stdout.splitlines()[-1] == f"{case}: holds"
