"""Borrowing a part must not pull in what only training needs."""

from __future__ import annotations

import subprocess
import sys

HEAVY = ("lightning_fabric", "tyro", "rich", "sklearn", "matplotlib", "safetensors")


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


def test_reading_files_needs_no_torch() -> None:
    """Or every process that reads would take seconds to start, and its memory."""
    assert "torch" not in loaded_after("import pcm3.data.prepare, pcm3.data.readers")
