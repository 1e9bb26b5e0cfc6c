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
from pcm3.io.files import regular
from pcm3.io.imports import find_class, import_path, is_import_path
from pcm3.io.tensors import check_finite, read_tensors, verify, write_tensors
from pcm3.skeleton import MOST_PERSONS, Skeleton, Stream

PRETRAINED = "pretrained"
"""Name of the encoder of this package, where the path of an encoder is expected."""
_SHIPPED = Path(__file__).with_name("pretrained.safetensors")

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
        normalization: Normalization of the recordings; None if unknown. With ``"body"`` the encoder
            takes recordings of any layout, in the body form, see :mod:`pcm3.data.body`.
        unit: Unit of the coordinates, such as ``"metres"``; None if unknown.
    """

    encoder: Encoder
    skeleton: Skeleton
    stream: Stream
    frames: int
    normalization: str | None = None
    unit: str | None = None

    @property
    def device(self) -> torch.device:
        """Device of the encoder's weights; the CPU if it has none."""
        weight = next(self.encoder.parameters(), None)
        return torch.device("cpu") if weight is None else weight.device


def save_encoder(file: str | Path, pretrained: Pretrained) -> None:
    """Write an encoder as safetensors; the header holds what ``load_encoder`` needs to rebuild it.

    Raises:
        ValueError: If the encoder is not an ``Encoder`` or cannot be rebuilt, its joints, stream or
            frames do not fit, or a weight is not finite.
    """
    check_savable(pretrained)
    write_tensors(Path(file), describe_encoder(pretrained), pretrained.encoder.state_dict())


def describe_encoder(pretrained: Pretrained) -> dict[str, str]:
    """Describe an encoder and its input in the header of a file; ``HEADER`` has the keys."""
    return {
        "encoder": _name_of(type(pretrained.encoder)),
        "arguments": json.dumps(pretrained.encoder.arguments),
        **describe_input(pretrained),
    }


HEADER = ("encoder", "arguments", "skeleton", "stream", "frames", "normalization", "unit")
"""Keys that describe an encoder in the header of a file."""


def fingerprint(path: str | Path) -> str:
    """Hash an encoder's file; the hash changes with its weights or its input.

    Args:
        path: The file, or its run folder.

    Raises:
        SkeletonFormatError: If the file is missing.
    """
    return hashlib.blake2b(encoder_file(path).read_bytes(), digest_size=8).hexdigest()


def is_shipped(path: str | Path) -> bool:
    """Whether an encoder is the one that comes with this package, or a copy of its file.

    Raises:
        SkeletonFormatError: If the file is missing.
    """
    return fingerprint(path) == fingerprint(_SHIPPED)


def describe_input(pretrained: Pretrained) -> dict[str, str]:
    """Describe the input of an encoder in the header of a file.

    The keys are ``skeleton`` (JSON), ``stream``, ``frames`` and, if known, ``normalization`` and
    ``unit``.
    """
    entries = {
        "skeleton": json.dumps(pretrained.skeleton.to_dict()),
        "stream": pretrained.stream,
        "frames": str(pretrained.frames),
    }
    known = {"normalization": pretrained.normalization, "unit": pretrained.unit}
    return entries | {key: value for key, value in known.items() if value is not None}


def encoder_file(path: str | Path) -> Path:
    """Return the path of the encoder in a run folder, or of the file itself.

    ``"pretrained"`` is the encoder of this package, see ``load_pretrained``, unless there is a file
    or folder of this name.

    Raises:
        SkeletonFormatError: If the file is missing.
    """
    path = Path(path)
    if not path.exists():
        if str(path) == PRETRAINED:
            return _SHIPPED
        raise SkeletonFormatError(
            f"expected a run folder, an encoder's file or the word {PRETRAINED}, found no file or "
            f"folder {path}"
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
    file = encoder_file(path)
    other = file.suffix != ".safetensors"
    hint = "; published checkpoints need load_official, then save_encoder" if other else ""
    header, weights = read_tensors(file, hint)
    if "class_names" in header:
        raise SkeletonFormatError(
            f"{file}: expected an encoder, got a classifier, which load_classifier and "
            "pcm3 predict read"
        )
    kind = find_encoder(file, header)
    verify(file, header, weights, HEADER)
    try:
        pretrained = rebuild_encoder(kind, header, weights)
    except Exception as error:  # invalid arguments may raise any error
        raise wrong_header(file, error) from None
    pretrained.encoder.origin = str(file.resolve())
    return pretrained


def load_pretrained() -> Pretrained:
    """Load the encoder that comes with this package, on the CPU.

    It takes recordings of any layout that ``joint_map`` can map to ``COMMON15``, in 3D or 2D, in
    any unit, of one or two persons, in the body form (:mod:`pcm3.data.body`). It was trained on
    synthetic motion alone; the documentation says how, and what it is good for. Clips in this form
    have 15 joints, 3 coordinates and room for two persons. ``pcm3.data.body.body_form`` makes them
    from a recording; ``pcm3.inference.estimators.PretrainedEncoder`` makes features from many.

    Reading the file needs safetensors: ``pip install 'pcm3[train]'``.

    Raises:
        ModuleNotFoundError: If safetensors is missing.

    Example:
        >>> pretrained = load_pretrained()
        >>> pretrained.skeleton.name, pretrained.normalization, pretrained.frames
        ('common15', 'body', 32)
        >>> clips = torch.randn(4, 3, 32, 15, 2)  # (N, C, T, V, M), in the body form
        >>> frames = pretrained.encoder(clips)
        >>> frames.shape, pretrained.encoder.pool(frames).shape
        (torch.Size([4, 32, 128]), torch.Size([4, 128]))
    """
    return load_encoder(_SHIPPED)


def wrong_header(file: Path, error: Exception) -> SkeletonFormatError:
    """The error of a file whose header does not describe its weights, and why."""
    reason = " ".join(str(error).split())  # torch names each weight on its own line
    return SkeletonFormatError(
        f"{file}: the header does not describe the weights ({type(error).__name__}: {reason:.1000})"
    )


def _name_of(kind: type[Encoder]) -> str:
    """Name of an encoder class in files: the class name if built-in, else the import path."""
    return kind.__name__ if _ENCODERS.get(kind.__name__) is kind else import_path(kind)


def find_encoder(file: Path, header: Mapping[str, str]) -> type[Encoder]:
    """Find the encoder class that the header of a file names.

    Raises:
        SkeletonFormatError: If the class does not exist, or its module is not imported.
    """
    name = header.get("encoder", "")
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
            f"expected an encoder that can be rebuilt from JSON, got {type(encoder).__name__}, "
            f"whose arguments cannot be written ({error}); write a subclass of Encoder with plain "
            "arguments, or train without a run folder, and save the state_dict"
        ) from None


def rebuild_encoder(
    kind: type[Encoder], header: Mapping[str, str], weights: Mapping[str, Tensor]
) -> Pretrained:
    """Rebuild an encoder from the header and the weights of a file, in evaluation mode.

    Raises:
        Exception: Any, if the header does not describe the weights, or a weight is not finite.
    """
    check_finite(weights)
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
    known = header.get("normalization"), header.get("unit")
    pretrained = Pretrained(encoder.eval(), skeleton, stream, frames, *known)
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
    encoder, skeleton, stream, frames, *_ = pretrained
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
