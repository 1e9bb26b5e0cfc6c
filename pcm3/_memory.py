"""How memory that was freed is used again."""

from __future__ import annotations

import numpy as np


def reuse_memory() -> None:
    """Let the C library keep freed memory instead of handing it back and asking for it anew.

    glibc takes blocks larger than a threshold from the system and returns them when they are freed;
    every new one then costs a page fault for each 4 KiB. Freeing one block raises the threshold to
    its size, at most 32 MiB. Elsewhere this does nothing.
    """
    np.empty(31 << 20, np.uint8)
