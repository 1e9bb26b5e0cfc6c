"""Save trained encoders as safetensors, and load them."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, cast, get_args

import numpy as np
import torch
from torch import Tensor

from pcm3.checks import type_name
from pcm3.encoders import ENCODERS, Encoder
from pcm3.errors import SkeletonFormatError
from pcm3.io.files import regular, replacing
from pcm3.io.imports import find_class, import_path, is_import_path
from pcm3.skeleton import MOST_PERSONS, Skeleton, Stream

_MOST_FRAMES = 100_000
MOST_LAYERS = 200
"""Limit far above real encoders: building layers takes much longer than reading their weights."""
_ENCODERS = {kind.__name__: kind for kind in ENCODERS.values()}


class Pretrained(NamedTuple):
    """A trained encoder and the input that it was trained on.

    Attributes:
        encoder: The encoder; in evaluation mode when loaded from a file.
        skeleton: Joint layout of the clips.
        stream: Stream of the clips.
        frames: Number of frames that clips are resized to.
        normalization: Normalization of the recordings; None if unknown.
    """

    encoder: Encoder
    skeleton: Skeleton
    stream: Stream
    frames: int
    normalization: str | None = None


def save_encoder(file: str | Path, pretrained: Pretrained) -> None:
    """Write an encoder as safetensors; the header holds what ``load_encoder`` needs to rebuild it.

    Raises:
        ValueError: If the encoder is not an ``Encoder`` or cannot be rebuilt, its joints, stream or
            frames do not fit, or a weight is not finite.
    """
    from safetensors.torch import save  # noqa: PLC0415

    check_savable(pretrained)
    encoder = pretrained.encoder
    header = {
        "encoder": _name_of(type(encoder)),
        "arguments": json.dumps(encoder.arguments),
        **describe_input(pretrained),
    }
    weights = {name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}
    _check_finite(weights)
    header["checksum"] = _checksum(header, weights)
    with replacing(Path(file)) as temporary:
        temporary.write_bytes(_ordered(save(weights, metadata=header)))


_HEADER = {"encoder", "arguments", "skeleton", "stream", "frames", "normalization", "checksum"}
"""Keys in the header of an encoder's file."""


def _checksum(header: Mapping[str, str], weights: Mapping[str, Tensor]) -> str:
    """Compute the checksum of the weights and of the header without its own checksum."""
    digest = hashlib.blake2b(digest_size=16)
    content = {key: value for key, value in header.items() if key != "checksum"}
    digest.update(json.dumps(content, sort_keys=True).encode())
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _check_finite(weights: Mapping[str, Tensor]) -> None:
    bad = [name for name, tensor in weights.items() if not bool(tensor.isfinite().all())]
    if bad:
        raise ValueError(f"expected finite weights, got NaN or infinity in {', '.join(bad[:3])}")


def fingerprint(path: str | Path) -> str:
    """Hash an encoder's file; the hash changes with its weights or its input.

    Args:
        path: The file, or its run folder.

    Raises:
        SkeletonFormatError: If the file is missing.
    """
    return hashlib.blake2b(encoder_file(path).read_bytes(), digest_size=8).hexdigest()


def describe_input(pretrained: Pretrained) -> dict[str, str]:
    """Describe the input of an encoder in the header of a file.

    The keys are ``skeleton`` (JSON), ``stream``, ``frames`` and, if known, ``normalization``.
    """
    entries = {
        "skeleton": json.dumps(pretrained.skeleton.to_dict()),
        "stream": pretrained.stream,
        "frames": str(pretrained.frames),
    }
    if pretrained.normalization is not None:
        entries["normalization"] = pretrained.normalization
    return entries


def _ordered(content: bytes) -> bytes:
    """Sort the metadata of a safetensors file, which safetensors writes in random order."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:end])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # tensors start at a multiple of 8
    return len(text).to_bytes(8, "little") + text + content[end:]


def encoder_file(path: str | Path) -> Path:
    """Return the path of the encoder in a run folder, or of the file itself.

    Raises:
        SkeletonFormatError: If the file is missing.
    """
    path = Path(path)
    if not path.exists():
        raise SkeletonFormatError(
            f"expected a run folder or an encoder's file, found no file or folder {path}"
        )
    file = path / "encoder.safetensors" if path.is_dir() else path
    if (path / "meta.json").is_file():
        raise SkeletonFormatError(
            f"expected a run folder or an encoder's file, got the store {path}"
        )
    if not regular(file).is_file():
        raise SkeletonFormatError(
            f"expected a trained encoder, found no file {file}; a run writes it when it is finished"
        )
    return file


def load_encoder(path: str | Path) -> Pretrained:
    """Rebuild the encoder that ``save_encoder`` wrote, on the CPU.

    Args:
        path: The file, or its run folder.

    Raises:
        SkeletonFormatError: If the file is missing, does not hold an encoder, or is damaged: its
            checksum is wrong or a weight is not finite. Files of earlier versions have no checksum;
            only their weights are checked.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    file = encoder_file(path)
    try:
        with safe_open(file, framework="pt") as archive:
            header = archive.metadata() or {}
            weights = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        other = file.suffix != ".safetensors"
        hint = "; published checkpoints need load_official, then save_encoder" if other else ""
        raise SkeletonFormatError(f"{file}: not a safetensors file ({error}){hint}") from None
    kind = _find(header.get("encoder", ""), file)
    unknown = sorted(header.keys() - _HEADER)
    if unknown or header.get("checksum") not in (None, _checksum(header, weights)):
        damage = f"{unknown[0]!r:.60} in the header" if unknown else "the checksum is wrong"
        raise SkeletonFormatError(f"{file}: damaged, {damage}")
    try:
        _check_finite(weights)
        return _rebuild(kind, header, weights)
    except Exception as error:  # invalid arguments may raise any error
        reason = " ".join(str(error).split())  # torch names each weight on its own line
        raise SkeletonFormatError(
            f"{file}: the header does not describe the weights "
            f"({type(error).__name__}: {reason:.1000})"
        ) from None


def _name_of(kind: type[Encoder]) -> str:
    """Name of an encoder class in files: the class name if built-in, else the import path."""
    return kind.__name__ if _ENCODERS.get(kind.__name__) is kind else import_path(kind)


def _find(name: str, file: Path) -> type[Encoder]:
    """Find the encoder class that a file names.

    Raises:
        SkeletonFormatError: If the class does not exist, or its module is not imported.
    """
    if name in _ENCODERS:
        return _ENCODERS[name]
    if not is_import_path(name):
        known = ", ".join(_ENCODERS)
        raise SkeletonFormatError(
            f"{file}: expected an encoder among {known} or MODULE:CLASS in the header, "
            f"got {name!r:.60}"
        )
    try:
        return find_class(name, Encoder)
    except SkeletonFormatError as error:
        raise SkeletonFormatError(f"{file}: {error}") from None


def _check_rebuildable(encoder: object) -> None:
    """Require an encoder that a file can name by its class and describe by arguments in JSON."""
    if not isinstance(encoder, Encoder):
        raise ValueError(
            f"expected a pcm3.encoders.Encoder, got {type_name(encoder)}, which cannot be rebuilt "
            "from a file; train without a run folder, and save its state_dict"
        )
    name = _name_of(type(encoder))
    if "<locals>" in name:
        raise ValueError(
            f"expected an encoder whose class is at the top level of a module, got {name}, which "
            "cannot be imported"
        )
    try:
        json.dumps(encoder.arguments)
    except (TypeError, ValueError, NotImplementedError) as error:
        raise ValueError(
            f"expected {type(encoder).__name__}.arguments that can be written as JSON: {error}"
        ) from None


def _rebuild(kind: type[Encoder], header: dict[str, str], weights: dict[str, Tensor]) -> Pretrained:
    skeleton = Skeleton.from_dict(json.loads(header["skeleton"]))
    arguments = json.loads(header["arguments"])
    if isinstance(arguments.get("skeleton"), dict):
        arguments["skeleton"] = Skeleton.from_dict(arguments["skeleton"])
    for name, parameter in inspect.signature(kind).parameters.items():
        value = arguments.get(name, parameter.default)
        if type(parameter.default) is int and name != "skeleton" and type(value) is not int:
            raise ValueError(f"expected {name} to be an integer, got {value!r:.60}")
    layers = min(len(weights), MOST_LAYERS)  # each layer has weights
    for name in ("layers", "depth"):
        if np.sum(arguments.get(name, 0)) > layers:
            raise ValueError(f"expected {name} <= {layers}, got {arguments[name]!r:.60}")
    with torch.device("meta"):  # checks the shapes without allocating memory
        kind(**arguments).load_state_dict(weights, assign=True)
    encoder = kind(**arguments)
    encoder.load_state_dict(weights)
    stream, frames = cast(Stream, header["stream"]), int(header["frames"])
    pretrained = Pretrained(encoder.eval(), skeleton, stream, frames, header.get("normalization"))
    check_savable(pretrained)
    if frames > _MOST_FRAMES or encoder.persons > MOST_PERSONS:  # not limited by the weights
        most = f"{_MOST_FRAMES:,} frames and {MOST_PERSONS:,} persons"
        raise ValueError(f"expected at most {most}, got {frames} and {encoder.persons}")
    return pretrained


def check_savable(pretrained: Pretrained) -> None:
    """Require an encoder that ``save_encoder`` can write and ``load_encoder`` can rebuild.

    Raises:
        ValueError: If the encoder is not an ``Encoder`` or cannot be rebuilt, or its joints, stream
            or frames do not fit.
    """
    if not isinstance(pretrained, Pretrained):
        raise ValueError(
            f"expected Pretrained(encoder, skeleton, stream, frames), got {type_name(pretrained)}"
        )
    encoder, skeleton, stream, frames, _ = pretrained
    _check_rebuildable(encoder)
    if stream not in get_args(Stream):
        raise ValueError(f"expected a stream among {get_args(Stream)}, got {stream!r:.60}")
    if encoder.joints != len(skeleton):
        raise ValueError(
            f"expected an encoder for the {len(skeleton)} joints of skeleton {skeleton.name!r}, "
            f"got one for {encoder.joints}"
        )
    if not isinstance(frames, int) or frames < 1:
        raise ValueError(f"expected frames >= 1, got {frames!r}")
