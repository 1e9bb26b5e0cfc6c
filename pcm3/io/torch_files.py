"""A reader of ``torch.save`` files that accepts plain data only."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from pcm3.io.files import regular

_Unpickler: Any = pickle._Unpickler


def load_plain(file: Path) -> Any:
    """Load a file of ``torch.save`` on the CPU, without running code from the file.

    Raises:
        ValueError: If members of the archive are compressed or overlap. Torch writes no such
            files, and they could expand far beyond the size of the file. Also if a file of torch's
            old format lacks the values of a tensor, which torch would leave uninitialised.
        Exception: Any exception of torch, if the file is damaged or holds more than plain data.
    """
    if zipfile.is_zipfile(regular(file)):
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
        packed = [member for member in members if member.compress_type != zipfile.ZIP_STORED]
        if packed or sum(member.file_size for member in members) > file.stat().st_size:
            raise ValueError("expected members that are neither compressed nor overlap")
        return torch.load(file, map_location="cpu", weights_only=True)
    content = torch.load(file, map_location="cpu", weights_only=True)
    with file.open("rb") as stream:
        for _ in range(3):  # the header
            _StorageKeys(stream).load()
        body = _StorageKeys(stream)
        body.load()
        if body.found != set(_StorageKeys(stream).load()):
            raise ValueError("expected values for every tensor")
    return content


class _Anything:
    """A stand-in for any object in a pickle."""

    def __init__(self, *_: Any) -> None:
        pass

    def __setitem__(self, *_: Any) -> None:
        pass

    def __setstate__(self, _: Any) -> None:
        pass


class _StorageKeys(_Unpickler):  # type: ignore[misc]
    """Unpickler that collects the storages of a pickle without looking up any name in it."""

    def __init__(self, stream: IO[bytes]) -> None:
        super().__init__(stream, encoding="utf-8")
        self.found: set[Any] = set()

    def find_class(self, _module: str, _name: str) -> Any:
        return _Anything

    def persistent_load(self, pid: Any) -> None:
        self.found.add(pid[2])

    def get_extension(self, code: int) -> None:
        raise pickle.UnpicklingError(f"refused the extension {code}")
