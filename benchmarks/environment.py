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
    commit = _git("rev-parse", "HEAD") or "unknown"
    changed = _git("status", "--porcelain", "--", "../pcm3", "*.py")
    return {
        "commit": commit + (" with changes" if changed else ""),
        "pcm3": pcm3.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "device": f"cpu {platform.machine()}, {os.cpu_count()} cores",
    }


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
