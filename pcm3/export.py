"""Export of trained encoders to files that run without this package."""

from __future__ import annotations

import copy
import json
import logging
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import torch
from torch import Tensor, nn

from pcm3.checks import check_positive, type_name
from pcm3.data.body import BODY, BODY_UNIT
from pcm3.encoders import Encoder
from pcm3.encoders.files import Pretrained, describe_input
from pcm3.errors import how_to_install
from pcm3.io.files import replacing

__all__ = [
    "Network",
    "describe_clips",
    "export_onnx",
    "export_program",
    "write_onnx",
    "write_program",
]

_TOLERANCE = 1e-5
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")

Run = Callable[[Tensor], tuple[Tensor, ...]]


class Network(nn.Module):
    """What a file computes from clips: tensors that are made with an encoder.

    A subclass names its tensors in ``outputs``, and defines ``forward`` from clips
    ``(N, C, T, V, M)`` to a tuple of them.

    Args:
        encoder: The encoder. It is copied, to the CPU and to float32 in evaluation mode.

    Example:
        >>> class Scores(Network):
        ...     outputs = ("scores",)
        ...
        ...     def __init__(self, encoder, head):
        ...         super().__init__(encoder)
        ...         self.head = head.eval()
        ...
        ...     def forward(self, clips):
        ...         return (self.head(self.encoder.pool(self.encoder(clips))),)
        >>> scores = Scores(encoder, head)                               # doctest: +SKIP
        >>> write_program(scores, "scores.pt2", 64, {})                  # doctest: +SKIP
    """

    outputs: tuple[str, ...]
    """Names of the tensors that ``forward`` returns, in order."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = copy.deepcopy(encoder).cpu().float()
        self.eval().requires_grad_(False)


class _Both(Network):
    """An encoder that returns the frame features and the sequence feature of clips."""

    outputs = ("frame_features", "features")

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        frames = self.encoder(clips)
        return frames, self.encoder.pool(frames)


def export_program(
    encoder: Encoder | Pretrained, file: str | Path, frames: int | None = None
) -> float:
    """Write an encoder as a ``torch.export`` program (``.pt2``), which runs with torch alone.

    The program takes clips ``(N, C, T, V, M)`` of any N and ``frames`` frames, normalised,
    resized and of the encoder's stream, in float32 on the CPU. It returns frame features
    ``(N, T', D)`` and sequence features ``(N, D)`` of the encoder in evaluation mode. The written
    program is read back and compared with the encoder on random clips; the file is kept only if
    they agree.

    For a ``Pretrained`` encoder, the extra file ``pcm3.json`` inside describes its input, see
    ``describe_clips``.

    Args:
        encoder: The encoder, or the result of ``load_encoder``. It is not changed.
        file: The file to write, usually ``.pt2``.
        frames: T, fixed in the program. By default the number of frames that a ``Pretrained``
            encoder was trained on, else 64.

    Returns:
        The largest deviation of a feature, relative to the largest feature if that is above 1.

    Raises:
        ValueError: If ``encoder`` is not an encoder, ``frames`` is below 1, or the encoder does
            not accept this number of frames.
        RuntimeError: If a feature deviates by 1e-5 or more; nothing is written then.

    Example:
        >>> export_program(encoder, "encoder.pt2")                       # doctest: +SKIP
        >>> program = torch.export.load("encoder.pt2").module()          # doctest: +SKIP
        >>> frame_features, features = program(clips)                    # doctest: +SKIP
        >>> extra = {"pcm3.json": ""}                                    # doctest: +SKIP
        >>> torch.export.load("encoder.pt2", extra_files=extra)          # doctest: +SKIP
        >>> json.loads(extra["pcm3.json"])["stream"]                     # doctest: +SKIP
        'joint'
    """
    model, length = _frozen(encoder, frames)
    return write_program(model, file, length, _about(encoder, length))


def write_program(
    network: Network, file: str | Path, frames: int, about: Mapping[str, str]
) -> float:
    """Write a network as a ``torch.export`` program, see ``export_program``.

    Args:
        network: What the program computes.
        file: The file to write.
        frames: T, fixed in the program.
        about: Content of the extra file ``pcm3.json``.

    Returns:
        The largest deviation of an output, as of ``export_program``.

    Raises:
        ValueError: If ``frames`` is below 1, or the encoder does not accept this number of frames.
        RuntimeError: If an output deviates by 1e-5 or more; nothing is written then.
    """
    program = _trace(network, frames)
    with replacing(Path(file)) as temporary:
        content = BytesIO()  # writing to a full disk, torch would end the process
        torch.export.save(program, content, extra_files={"pcm3.json": json.dumps(dict(about))})
        temporary.write_bytes(content.getbuffer())
        with temporary.open("rb") as stream:
            written = torch.export.load(stream).module()
        return _deviation(written, network, frames, Path(file))


def export_onnx(
    encoder: Encoder | Pretrained, file: str | Path, frames: int | None = None
) -> float:
    """Write an encoder as ONNX, for runtimes of other languages and devices.

    Input ``clips`` and outputs ``frame_features`` and ``features`` are those of
    ``export_program``, and the metadata are the content of its extra file. Needs
    ``pip install "pcm3[onnx]"``.

    Args:
        encoder: The encoder, or the result of ``load_encoder``. It is not changed.
        file: The file to write, usually ``.onnx``. It contains the weights, up to 2 GB.
        frames: T, fixed in the graph. By default the number of frames that a ``Pretrained``
            encoder was trained on, else 64.

    Returns:
        The largest deviation in onnxruntime, as in ``export_program``.

    Raises:
        ImportError: If a package is missing.
        ValueError: If ``encoder`` is not an encoder, ``frames`` is below 1, or the encoder does
            not accept this number of frames.
        RuntimeError: If a feature deviates by 1e-5 or more; nothing is written then.
    """
    model, length = _frozen(encoder, frames)
    return write_onnx(model, file, length, _about(encoder, length))


def write_onnx(network: Network, file: str | Path, frames: int, about: Mapping[str, str]) -> float:
    """Write a network as ONNX, see ``export_onnx``.

    Args:
        network: What the graph computes; its outputs have the names of the network's.
        file: The file to write.
        frames: T, fixed in the graph.
        about: The metadata.

    Returns:
        The largest deviation of an output in onnxruntime, as of ``export_program``.

    Raises:
        ImportError: If a package is missing.
        ValueError: If ``frames`` is below 1, or the encoder does not accept this number of frames.
        RuntimeError: If an output deviates by 1e-5 or more; nothing is written then.
    """
    missing = [name for name in ONNX_PACKAGES if find_spec(name) is None]
    if missing:
        raise ImportError(f"writing ONNX needs {', '.join(missing)}; {how_to_install(missing[0])}")
    with _quietly():
        program = torch.onnx.export(
            _trace(network, frames),
            dynamo=True,
            input_names=["clips"],
            output_names=list(network.outputs),
            verbose=False,
        )
    assert program is not None
    program.model.metadata_props.update(about)
    with replacing(Path(file)) as temporary:
        program.save(temporary, external_data=False)
        return _deviation(_onnx_run(temporary), network, frames, Path(file))


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence torch's warnings on its own code, and on torchvision, which no encoder needs."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logger.setLevel(level)


def _frozen(encoder: Encoder | Pretrained, frames: int | None) -> tuple[_Both, int]:
    """Return a float32 copy on the CPU in evaluation mode, and its number of frames."""
    if isinstance(encoder, Pretrained):
        return _frozen(encoder.encoder, encoder.frames if frames is None else frames)
    if not isinstance(encoder, Encoder):
        raise ValueError(
            f"expected an Encoder or the result of load_encoder, got {type_name(encoder)}; pass "
            "the trained_encoder of a method, or load_encoder(path) of a file or run"
        )
    return _Both(encoder), 64 if frames is None else frames


def _about(encoder: Encoder | Pretrained, frames: int) -> dict[str, str]:
    """Return the description of the input that the file contains."""
    if isinstance(encoder, Pretrained):
        return describe_clips(encoder, frames)
    return {"frames": str(frames)}


def describe_clips(pretrained: Pretrained, frames: int) -> dict[str, str]:
    """Describe the clips that an exported file takes.

    Args:
        pretrained: The encoder and its input.
        frames: T, fixed in the file.

    Returns:
        ``skeleton`` (JSON, with the names of the joints in order), ``stream``, ``frames`` and, if
        known, ``normalization`` and ``unit``, all as text. With the normalization ``body`` also
        ``up`` and ``front``, the axes to which the head and the face of the first person point.
    """
    about = describe_input(pretrained._replace(frames=frames))
    if pretrained.normalization == BODY:
        about |= {"unit": BODY_UNIT, "up": "y", "front": "-z"}
    return about


def _trace(model: Network, frames: int) -> torch.export.ExportedProgram:
    check_positive("frames", frames)
    clips = next(_random_clips(model.encoder, frames))
    model(clips)  # raises the encoder's own error, which torch.export would wrap
    # strict, because otherwise len() of a batch would fix its size
    program = torch.export.export(
        model, (clips,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},), strict=True
    )
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)  # it names folders of this machine
    return program


def _random_clips(encoder: Encoder, frames: int) -> Iterator[Tensor]:
    generator = torch.Generator().manual_seed(0)
    for batch in (2, 1, 5):
        size = (batch, encoder.in_channels, frames, encoder.joints, encoder.persons)
        clips = torch.randn(size, generator=generator)
        clips[1:2, ..., -1] = 0  # an encoder may treat absent persons separately
        yield clips


@torch.no_grad()
def _deviation(run: Run, model: Network, frames: int, file: Path) -> float:
    """Return the largest deviation of an output; raise if it is too large."""
    worst = 0.0
    for clips in _random_clips(model.encoder, frames):
        for exported, expected in zip(run(clips), model(clips), strict=True):
            scale = max(1.0, float(expected.abs().max()))
            deviation = float((exported - expected).abs().max()) / scale
            worst = max(worst, deviation) if deviation >= 0 else math.inf  # inf if it is NaN
    if not worst < _TOLERANCE:
        raise RuntimeError(
            f"{file}: expected outputs that deviate less than {_TOLERANCE} from the network's, "
            f"got {worst:.1e}; nothing was written"
        )
    return worst


def _onnx_run(file: Path) -> Run:
    onnxruntime = import_module("onnxruntime")
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])

    def run(clips: Tensor) -> tuple[Tensor, ...]:
        return tuple(map(torch.from_numpy, session.run(None, {"clips": clips.numpy()})))

    return run
