"""Trained encoders in and out of files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple, cast, get_args

from torch import Tensor

from pcm3._files import replacing
from pcm3.encoders import Encoder, GRUEncoder
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import Skeleton, Stream

_ENCODERS: dict[str, type[Encoder]] = {"GRUEncoder": GRUEncoder}


class Pretrained(NamedTuple):
    """An encoder and how it wants its clips.

    Attributes:
        encoder: In evaluation mode.
        skeleton: Joint layout it was trained on.
        stream: Stream it was trained on.
        frames: Frames that clips are resized to.
        normalization: Recipe of the recordings that it was trained on; None if unknown.
    """

    encoder: Encoder
    skeleton: Skeleton
    stream: Stream
    frames: int
    normalization: str | None = None


def save_encoder(file: str | Path, pretrained: Pretrained) -> None:
    """Write an encoder as safetensors, with all that is needed to rebuild it in the header."""
    from safetensors.torch import save  # noqa: PLC0415

    encoder = pretrained.encoder
    header = {
        "encoder": type(encoder).__name__,
        "arguments": json.dumps(encoder.arguments),
        "skeleton": json.dumps(pretrained.skeleton.to_dict()),
        "stream": pretrained.stream,
        "frames": str(pretrained.frames),
    }
    if pretrained.normalization is not None:
        header["normalization"] = pretrained.normalization
    weights = {name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}
    with replacing(Path(file)) as temporary:
        temporary.write_bytes(save(weights, metadata=header))


def load_encoder(file: str | Path) -> Pretrained:
    """Rebuild the encoder that ``save_encoder`` wrote, on the CPU.

    Raises:
        SkeletonFormatError: If the file is missing, or is not such an encoder.
    """
    from safetensors import SafetensorError, safe_open  # noqa: PLC0415

    if not Path(file).is_file():
        raise SkeletonFormatError(
            f"expected a trained encoder, found no file {file}; a run has one when it is finished"
        )
    try:
        with safe_open(file, framework="pt") as archive:
            header = archive.metadata() or {}
            weights = {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    except SafetensorError as error:
        raise SkeletonFormatError(f"{file}: not a safetensors file ({error})") from None
    kind = _ENCODERS.get(header.get("encoder", ""))
    if kind is None:
        raise SkeletonFormatError(
            f"{file}: expected an encoder among {', '.join(_ENCODERS)} in the header, "
            f"got {header.get('encoder')!r}"
        )
    try:
        return _rebuild(kind, header, weights)
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        what = " ".join(str(error).split())  # torch names each weight on a line of its own
        raise SkeletonFormatError(
            f"{file}: the header does not describe the weights ({type(error).__name__}: {what})"
        ) from None


def _rebuild(kind: type[Encoder], header: dict[str, str], weights: dict[str, Tensor]) -> Pretrained:
    skeleton = Skeleton.from_dict(json.loads(header["skeleton"]))
    encoder = kind(**json.loads(header["arguments"]))
    encoder.load_state_dict(weights)
    stream = cast(Stream, header["stream"])
    if stream not in get_args(Stream):
        raise ValueError(f"expected a stream among {get_args(Stream)}, got {stream!r}")
    if encoder.joints != len(skeleton):
        raise ValueError(f"an encoder for {encoder.joints} joints, {len(skeleton)} in the skeleton")
    frames, normalization = int(header["frames"]), header.get("normalization")
    return Pretrained(encoder.eval(), skeleton, stream, frames, normalization)
