"""Tensors and a header of text in one safetensors file, with a checksum of both."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from pathlib import Path

import torch
from torch import Tensor

from pcm3.errors import SkeletonFormatError, explain_missing
from pcm3.io.files import regular, replacing


def write_tensors(file: Path, header: Mapping[str, str], tensors: Mapping[str, Tensor]) -> None:
    """Write tensors, a header and their checksum; equal content gives equal files.

    Raises:
        ValueError: If a tensor is not finite.
    """
    with explain_missing():
        from safetensors.torch import save  # noqa: PLC0415

    check_finite(tensors)
    contiguous = {name: tensor.detach().contiguous() for name, tensor in tensors.items()}
    whole = {**header, "checksum": _checksum(header, contiguous)}
    with replacing(file) as temporary:
        temporary.write_bytes(_ordered(save(contiguous, metadata=whole)))


def read_tensors(file: Path, hint: str = "") -> tuple[dict[str, str], dict[str, Tensor]]:
    """Read the header and the tensors, on the CPU; ``verify`` tells whether they are intact.

    Args:
        file: The file.
        hint: What the error adds if it is not a safetensors file.

    Raises:
        SkeletonFormatError: If it is not a safetensors file.
    """
    with explain_missing():
        from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    try:
        with safe_open(regular(file), framework="pt") as archive:
            header = archive.metadata() or {}
            tensors = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise SkeletonFormatError(f"{file}: not a safetensors file ({error}){hint}") from None
    return header, tensors


def verify(
    file: Path, header: Mapping[str, str], tensors: Mapping[str, Tensor], known: Collection[str]
) -> None:
    """Require the checksum, if the header has one, and no other keys than the known ones.

    Raises:
        SkeletonFormatError: If the file was damaged or changed after it was written.
    """
    unknown = sorted(header.keys() - {*known, "checksum"})
    if unknown or header.get("checksum") not in (None, _checksum(header, tensors)):
        damage = f"{unknown[0]!r:.60} in the header" if unknown else "the checksum is wrong"
        raise SkeletonFormatError(f"{file}: damaged, {damage}")


def check_finite(tensors: Mapping[str, Tensor]) -> None:
    """Require tensors without NaN and infinity.

    Raises:
        ValueError: Naming some that are not.
    """
    bad = [name for name, tensor in tensors.items() if not bool(tensor.isfinite().all())]
    if bad:
        raise ValueError(f"expected finite weights, got NaN or infinity in {', '.join(bad[:3])}")


def _checksum(header: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Checksum of the tensors and of the header without its own checksum."""
    digest = hashlib.blake2b(digest_size=16)
    content = {key: value for key, value in header.items() if key != "checksum"}
    digest.update(json.dumps(content, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _ordered(content: bytes) -> bytes:
    """Sort the metadata of a safetensors file, which safetensors writes in random order."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[end:]
