"""Published checkpoints: reading their weights and renaming them to the names used here."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from pcm3.encoders import Encoder, TransformerEncoder
from pcm3.encoders.files import MOST_LAYERS
from pcm3.errors import SkeletonFormatError
from pcm3.io.files import regular
from pcm3.io.torch_files import load_plain
from pcm3.methods.pcm3 import PCM3
from pcm3.skeleton import Skeleton

Weights = dict[str, Tensor]
_LONGEST_NAME, _WRAPPERS = 500, 10

_PCM3_NAMES = [
    *(
        (
            f"encoder_{side}.encoder.gru.<kind>_l<layer>{back}",
            f"{prefix}encoder.{module}layers.<layer>.{second}.<kind>_l0",
        )
        for side, prefix, module in (("q", "", ""), ("k", "key_", "module."))
        for back, second in (("_reverse", 1), ("", 0))
    ),
    ("encoder_q.fc.<rest>", "projector.<rest>"),
    ("encoder_k.fc.<rest>", "key_projector.module.<rest>"),
    ("encoder_q.<rest>", "encoder.<rest>"),
    ("encoder_k.<rest>", "key_encoder.module.<rest>"),
    ("linear.<rest>", "decoder.adapter.<rest>"),
    ("recons_decoder.decoder.<rest>", "decoder.gru.<rest>"),
    ("recons_decoder.reconstruction.<rest>", "decoder.output.<rest>"),
    ("queue", "queue.anchors"),
    ("queue_ptr", "queue.position"),
    ("base_prompt", "domain_prompts.intra.offset"),
    ("mix_prompt", "domain_prompts.inter.offset"),
    ("mask_prompt", "domain_prompts.mask.offset"),
    ("recons_prompt", "domain_prompts.predict.offset"),
    ("cl_prompt", "task_prompts.contrast.vector"),
    ("mp_prompt", "task_prompts.predict.vector"),
]
"""Names in PCM3's code and the names here; the first pattern that matches applies."""

_LAYERS = {"attn.qkv": "qkv", "attn.proj": "proj", "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.2"}
_MAMP_NAMES = [
    *(
        (f"{prefix}blocks.<block>.{layer}.<end>", f"{owner}.blocks.<block>.{name}.<end>")
        for prefix, owner in (("", "encoder"), ("decoder_", "decoder"))
        for layer, name in _LAYERS.items()
    ),
    ("blocks.<rest>", "encoder.blocks.<rest>"),
    ("decoder_blocks.<rest>", "decoder.blocks.<rest>"),
    ("joints_embed.proj.<end>", "encoder.tokenizer.<end>"),
    ("temp_embed", "encoder.positions.time"),
    ("pos_embed", "encoder.positions.joint"),
    ("norm.<end>", "encoder.norm.<end>"),
    ("mask_token", "decoder.mask_token"),
    ("decoder_temp_embed", "decoder.positions.time"),
    ("decoder_pos_embed", "decoder.positions.joint"),
    ("decoder_embed.<end>", "decoder.embed.<end>"),
    ("decoder_norm.<end>", "decoder.norm.<end>"),
    ("decoder_pred.<end>", "decoder.output.<end>"),
]


class Checkpoint(NamedTuple):
    """Weights under this library's names, with the names of the checkpoint for messages."""

    weights: Weights
    source: str
    published: Callable[[str], str]
    """Maps a name of this library to the name in the checkpoint."""

    def error(self, what: str) -> SkeletonFormatError:
        """Error that names the source."""
        return SkeletonFormatError(f"{self.source}: {what}")

    def lacks(self, *names: str) -> SkeletonFormatError:
        """Error for a checkpoint without the weights that identify its method."""
        wanted = " and ".join(self.published(name) for name in names)
        some = ", ".join(self.published(name) for name in list(self.weights)[:3])
        return self.error(f"expected the encoder's {wanted}, got {some}, ...")


def read_weights(source: str | Path | Mapping[str, Any]) -> tuple[Weights, str]:
    """Read the tensors of a checkpoint without wrappers, and its name for error messages.

    Raises:
        SkeletonFormatError: If the file is missing or holds anything but plain data.
    """
    name = "state_dict" if isinstance(source, Mapping) else str(source)
    content: Any = source if isinstance(source, Mapping) else _load(Path(source))
    for _ in range(_WRAPPERS):
        inner = isinstance(content, Mapping) and next(
            (k for k in ("state_dict", "model") if isinstance(content.get(k), Mapping)), None
        )
        if not inner:
            break
        content = content[inner]
    if not isinstance(content, Mapping):
        raise SkeletonFormatError(f"{name}: expected named weights, got {type(content).__name__}")
    weights = {
        str(key).removeprefix("module."): value
        for key, value in content.items()
        if isinstance(value, Tensor)
    }
    if not weights:
        raise SkeletonFormatError(f"{name}: expected named weights, got no tensor")
    for key, value in weights.items():
        if len(key) > _LONGEST_NAME:
            raise SkeletonFormatError(f"{name}: expected names of weights, got {key:.60}...")
        if not _is_whole(value):
            raise SkeletonFormatError(f"{name}: expected {key} in full, got repeated values")
        if value.is_complex() or value.dtype == torch.bool:
            raise SkeletonFormatError(f"{name}: expected {key} of numbers, got {value.dtype}")
    return weights, name


def _is_whole(value: Tensor) -> bool:
    """Whether every value of the shape was read, rather than repeated by strides."""
    if value.layout != torch.strided:
        return False
    return value.is_meta or value.numel() * value.element_size() <= value.untyped_storage().nbytes()


def _load(file: Path) -> Any:
    if not regular(file).exists():
        raise SkeletonFormatError(f"{file}: no such file")
    with file.open("rb") as stream:
        head = stream.read(9)
    if not head:
        raise SkeletonFormatError(f"{file}: expected a checkpoint, got an empty file")
    if head[8:] == b"{":  # safetensors: the length of a JSON header, and the header
        raise SkeletonFormatError(
            f"{file}: expected a checkpoint of the authors' code, got safetensors; an encoder that "
            "pcm3 wrote loads with Encoder.from_pretrained"
        )
    try:
        # Published checkpoints also hold the command line of their training.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return load_plain(file)
    except Exception as error:  # a damaged or unsafe file may raise any error
        unsafe = re.search(r"GLOBAL (\S+)", str(error))
        reason = (
            f"{unsafe[1]}, which may be code and is not loaded"
            if unsafe
            else "another or a damaged file"
        )
        raise SkeletonFormatError(
            f"{file}: expected a checkpoint of plain tensors, got {reason}"
        ) from None


def plan(make: Callable[[Checkpoint], nn.Module], checkpoint: Checkpoint, prefix: str = "") -> None:
    """Compare the weights with a module on the meta device, without allocating it.

    Raises:
        SkeletonFormatError: If a weight is missing or has another shape.
    """
    draft = checkpoint._replace(weights=dict(checkpoint.weights))
    try:
        with torch.device("meta"):
            module = make(draft)
    except SkeletonFormatError:
        raise
    except Exception as error:  # impossible sizes may raise any error
        reason = " ".join(str(error).split())
        raise checkpoint.error(f"the weights fit no such model: {reason:.200}") from None
    if wrong := _misfits(module, draft, prefix):
        raise checkpoint.error(_some(wrong))


def fill(module: nn.Module, checkpoint: Checkpoint, prefix: str = "") -> tuple[str, ...]:
    """Load weights into a module; return the checkpoint's names of unused weights.

    Raises:
        SkeletonFormatError: If a weight is missing, has another shape or is not finite.
    """
    weights, published = checkpoint.weights, checkpoint.published
    wanted = {f"{prefix}{key}": value for key, value in module.state_dict().items()}
    here = {key: weights[key] for key in wanted if key in weights}
    wrong = _misfits(module, checkpoint, prefix) or [
        f"{published(key)} holds NaN or infinity"
        for key, value in here.items()
        if not bool(torch.isfinite(value).all())
    ]
    if wrong:
        raise checkpoint.error(_some(wrong))
    module.load_state_dict(
        {key.removeprefix(prefix): value for key, value in here.items()}, strict=False
    )
    return tuple(published(key) for key in weights if key not in wanted)


def _misfits(module: nn.Module, checkpoint: Checkpoint, prefix: str) -> list[str]:
    """Describe weights that are missing or have another shape."""
    weights, published = checkpoint.weights, checkpoint.published
    wanted = {f"{prefix}{key}": value for key, value in module.state_dict().items()}
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}
    return [
        f"expected {published(key)} of shape {_published_shape(key, value)}, "
        f"got {_published_shape(key, weights[key])}"
        if key in weights
        else f"{published(key)} is missing"
        for key, value in wanted.items()
        if key not in counters - weights.keys()
        and (key not in weights or weights[key].shape != value.shape)
    ]


def _some(wrong: Sequence[str]) -> str:
    more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return f"{'; '.join(wrong[:3])}{more}"


def _published_shape(name: str, value: Tensor) -> tuple[int, ...]:
    return tuple(value.shape[::-1] if name == "queue.anchors" else value.shape)


def rename_pcm3(weights: Weights, source: str) -> Checkpoint:
    """Rename weights of the reference PCM3, of the whole model or of the encoder alone."""
    encoder = "" if any(key.startswith("encoder_q.") for key in weights) else "encoder_q."
    renamed: Weights = {}
    for key, value in weights.items():
        name = _rename(f"{encoder}{key}", _PCM3_NAMES)
        renamed[name] = _reshape_pcm3(name, value)
    back = [(name, published) for published, name in _PCM3_NAMES]
    return Checkpoint(renamed, source, lambda name: _rename(name, back).removeprefix(encoder))


def rename_mamp(weights: Weights, source: str) -> Checkpoint:
    """Rename weights of the reference MAMP, of the whole model or of the encoder alone."""
    renamed = {_rename(key, _MAMP_NAMES): value for key, value in weights.items()}
    kernel = renamed.get("encoder.tokenizer.weight")
    if kernel is not None and kernel.ndim == 4:  # of a convolution (D, C, patch, 1)
        renamed["encoder.tokenizer.weight"] = kernel[..., 0].transpose(1, 2).flatten(1)
    back = [(name, published) for published, name in _MAMP_NAMES]
    return Checkpoint(renamed, source, lambda name: _rename(name, back))


def depth(weights: Weights, owner: str) -> int:
    """Number of blocks of the encoder or the decoder."""
    return count_layers(weights, f"{owner}.blocks.")


def count_layers(weights: Weights, prefix: str) -> int:
    """Count the layers whose weights have names with a prefix.

    Raises:
        SkeletonFormatError: If there are more than ``MOST_LAYERS``.
    """
    count = len({key.split(".")[2] for key in weights if key.startswith(prefix)})
    if count > MOST_LAYERS:
        raise SkeletonFormatError(f"expected at most {MOST_LAYERS} layers, got {count:,}")
    return count


def transformer_for(
    checkpoint: Checkpoint, skeleton: Skeleton, in_channels: int, persons: int, heads: int
) -> TransformerEncoder:
    """Build a transformer with the sizes of the weights.

    Raises:
        SkeletonFormatError: If these are not the weights of a transformer encoder.
    """
    weights = checkpoint.weights
    names = [f"encoder.{key}" for key in ("tokenizer.weight", "positions.time")]
    if not weights.keys() >= set(names):
        raise checkpoint.lacks(*names)
    kernel, time = (weights[name] for name in names)
    patch = kernel.shape[1] // in_channels
    return TransformerEncoder(
        skeleton,
        in_channels,
        persons,
        frames=time.shape[1] * patch,
        patch=patch,
        width=len(kernel),
        depth=depth(weights, "encoder"),
        heads=heads,
    )


def gru_width(checkpoint: Checkpoint) -> int:
    """Number of hidden units of one GRU of the encoder.

    Raises:
        SkeletonFormatError: If these are not the weights of a GRU encoder.
    """
    first = "encoder.layers.0.0.weight_hh_l0"
    if first not in checkpoint.weights:
        raise checkpoint.lacks(first)
    width: int = checkpoint.weights[first].shape[-1] if checkpoint.weights[first].ndim else 0
    return width


def pcm3_for(encoder: Encoder, skeleton: Skeleton, checkpoint: Checkpoint) -> PCM3:
    """Build a PCM3 with the sizes of the weights, and reshape domain prompts to fit it.

    The model has no prompts of a kind that the checkpoint lacks or has in another size. Domain
    prompts ``(V C M,)`` of the checkpoint become ``(C, V, M)`` in place.

    Raises:
        SkeletonFormatError: If weights of projector, queue or decoder are missing.
    """
    weights = checkpoint.weights
    try:
        model = PCM3(
            encoder,
            skeleton,
            embedding=len(weights["projector.2.bias"]),
            queue_size=len(weights["queue.anchors"]),
            decoder_hidden=len(weights["decoder.adapter.0.bias"]),
        )
    except KeyError as error:
        raise checkpoint.error(f"{checkpoint.published(error.args[0])} is missing") from None
    recorded = model.state_dict()
    for kind in ("domain_prompts", "task_prompts"):
        keys = [key for key in recorded if key.startswith(kind)]
        if any(key not in weights or weights[key].numel() != recorded[key].numel() for key in keys):
            setattr(model, kind, nn.ModuleDict())  # absent, or of another encoder's size
    size = (len(skeleton), encoder.in_channels, encoder.persons)
    for key in [key for key in weights if key.startswith("domain_prompts.")]:
        if weights[key].numel() == math.prod(size):  # flat in the checkpoint, joint by joint
            weights[key] = weights[key].reshape(size).transpose(0, 1).contiguous()
    return model


def _rename(key: str, names: Sequence[tuple[str, str]]) -> str:
    """Rename by the first pattern that matches; ``<...>`` matches any text."""
    for pattern, other in names:
        regex = re.sub(r"<(\w+)>", r"(?P<\1>.+?)", re.escape(pattern))
        fit = re.fullmatch(regex, key)
        if fit:
            return fit.expand(re.sub(r"<(\w+)>", r"\\g<\1>", other))
    return key


def _reshape_pcm3(name: str, value: Tensor) -> Tensor:
    if name == "queue.anchors" and value.ndim == 2:
        return value.T.contiguous()
    if name == "queue.position" and value.numel() == 1:
        return value.reshape(())
    if name.startswith("task_prompts."):
        return value.reshape(-1)
    return value
