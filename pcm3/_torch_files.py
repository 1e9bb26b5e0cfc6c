"""Files that ``torch.save`` wrote, read as plain data."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import torch


def load_plain(file: Path) -> Any:
    """``torch.load`` on the CPU, which runs nothing that the file says.

    Raises:
        ValueError: If members of the archive are compressed or overlap, which torch never does:
            they could unpack to far more than the file.
        Exception: Whatever torch raises for a file that is damaged, or holds more than plain data.
    """
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
        packed = [each.filename for each in members if each.compress_type != zipfile.ZIP_STORED]
        if packed or sum(each.file_size for each in members) > file.stat().st_size:
            raise ValueError("expected members that are neither compressed nor overlap")
    return torch.load(file, map_location="cpu", weights_only=True)
