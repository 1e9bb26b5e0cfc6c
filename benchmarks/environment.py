"""What every result says about where it comes from."""

from __future__ import annotations

import os
import platform
import subprocess
from pathlib import Path

import torch

import pcm3


def environment() -> dict[str, str]:
    """Commit, versions and device of this measurement."""
    git = ["git", "-C", str(Path(__file__).parent)]
    commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True)
    changes = subprocess.run(
        [*git, "status", "--porcelain", "--", "../pcm3"], capture_output=True, text=True, check=True
    )
    return {
        "commit": commit.stdout.strip() + (" with changes" if changes.stdout.strip() else ""),
        "pcm3": pcm3.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": f"cpu {platform.machine()}, {os.cpu_count()} cores",
    }
