"""Names of the published checkpoints, and the names of the same weights here."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pcm3.encoders import Encoder, TransformerEncoder
from pcm3.errors import SkeletonFormatError
from pcm3.methods.pcm3 import PCM3
from pcm3.skeleton import Skeleton

Weights = dict[str, Tensor]

_GRU = r"^encoder_{side}\.encoder\.gru\.(\w+?)_l(\d+){back}$"
_RENAMED = [
    *(
        (_GRU.format(side=side, back=back), rf"{prefix}encoder.{module}layers.\2.{second}.\1_l0")
        for side, prefix, module in (("q", "", ""), ("k", "key_", "module."))
        for back, second in (("", 0), ("_reverse", 1))
    ),
    (r"^encoder_q\.fc\.", "projector."),
    (r"^encoder_k\.fc\.", "key_projector.module."),
    (r"^encoder_q\.", "encoder."),
    (r"^encoder_k\.", "key_encoder.module."),
    (r"^linear\.", "decoder.adapter."),
    (r"^recons_decoder\.decoder\.", "decoder.gru."),
    (r"^recons_decoder\.reconstruction\.", "decoder.output."),
    (r"^queue$", "queue.anchors"),
    (r"^queue_ptr$", "queue.position"),
    (r"^base_prompt$", "domain_prompts.intra.offset"),
    (r"^mix_prompt$", "domain_prompts.inter.offset"),
    (r"^mask_prompt$", "domain_prompts.mask.offset"),
    (r"^recons_prompt$", "domain_prompts.predict.offset"),
    (r"^cl_prompt$", "task_prompts.contrast.vector"),
    (r"^mp_prompt$", "task_prompts.predict.vector"),
]
"""PCM3's names, as patterns, and what stands for them here; the first that fits counts."""

_LAYERS = {"attn.qkv": "qkv", "attn.proj": "proj", "mlp.fc1": "mlp.0", "mlp.fc2": "mlp.2"}
_MAMP_RENAMED = [
    *(
        (rf"^{prefix}blocks\.(\d+)\.{re.escape(layer)}\.", rf"{owner}.blocks.\1.{ours}.")
        for prefix, owner in (("", "encoder"), ("decoder_", "decoder"))
        for layer, ours in _LAYERS.items()
    ),
    (r"^blocks\.", "encoder.blocks."),
    (r"^decoder_blocks\.", "decoder.blocks."),
    (r"^joints_embed\.proj\.", "encoder.tokenizer."),
    (r"^temp_embed$", "encoder.positions.time"),
    (r"^pos_embed$", "encoder.positions.joint"),
    (r"^norm\.", "encoder.norm."),
    (r"^mask_token$", "decoder.mask_token"),
    (r"^decoder_temp_embed$", "decoder.positions.time"),
    (r"^decoder_pos_embed$", "decoder.positions.joint"),
    (r"^decoder_embed\.", "decoder.embed."),
    (r"^decoder_norm\.", "decoder.norm."),
    (r"^decoder_pred\.", "decoder.output."),
]


def read_weights(source: str | Path | Mapping[str, Any]) -> tuple[Weights, str]:
    """The tensors of a checkpoint without wrappers, and what to call it in errors.

    Raises:
        SkeletonFormatError: If it is not there, or holds anything but plain data.
    """
    name = "state_dict" if isinstance(source, Mapping) else str(source)
    content: Any = source if isinstance(source, Mapping) else _load(Path(source))
    while isinstance(content, Mapping):
        inner = next(
            (k for k in ("state_dict", "model") if isinstance(content.get(k), Mapping)), None
        )
        if inner is None:
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
        raise SkeletonFormatError(f"{name}: expected named weights, found no tensor")
    return weights, name


def _load(file: Path) -> Any:
    if not file.is_file():
        raise SkeletonFormatError(f"{file}: no such file")
    try:
        # Published checkpoints keep their command line beside the weights.
        with torch.serialization.safe_globals([argparse.Namespace]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken or unsafe file may raise anything
        what = " ".join(str(error).split())
        raise SkeletonFormatError(
            f"{file}: not a checkpoint of plain tensors, {what:.200}"
        ) from None


def fill(module: nn.Module, weights: Weights, name: str, prefix: str = "") -> tuple[str, ...]:
    """Load weights into a module; the names of those it has no place for.

    Raises:
        SkeletonFormatError: Naming what is missing or of another shape.
    """
    wanted = {f"{prefix}{key}": value for key, value in module.state_dict().items()}
    counters = {key for key in wanted if key.endswith("num_batches_tracked")}
    wrong = [
        f"{key} is {tuple(weights[key].shape)}, expected {tuple(value.shape)}"
        if key in weights
        else f"{key} is missing"
        for key, value in wanted.items()
        if key not in counters - weights.keys()
        and (key not in weights or weights[key].shape != value.shape)
    ]
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise SkeletonFormatError(f"{name}: {'; '.join(wrong[:3])}{more}")
    here = {key.removeprefix(prefix): weights[key] for key in wanted if key in weights}
    module.load_state_dict(here, strict=False)
    return tuple(key for key in weights if key not in wanted)


def rename_pcm3(weights: Weights) -> Weights:
    """Weights of the reference PCM3, whole model or encoder alone, under this library's names."""
    whole = any(key.startswith("encoder_q.") for key in weights)
    renamed: Weights = {}
    for key, value in weights.items():
        name = _rename(key if whole else f"encoder_q.{key}", _RENAMED)
        renamed[name] = _reshape_pcm3(name, value)
    return renamed


def rename_mamp(weights: Weights) -> Weights:
    """Weights of the reference MAMP, whole model or encoder alone, under this library's names."""
    renamed = {_rename(key, _MAMP_RENAMED): value for key, value in weights.items()}
    kernel = renamed.get("encoder.tokenizer.weight")
    if kernel is not None and kernel.ndim == 4:  # of a convolution (D, C, patch, 1)
        renamed["encoder.tokenizer.weight"] = kernel[..., 0].transpose(1, 2).flatten(1)
    return renamed


def depth(weights: Weights, owner: str) -> int:
    """Number of blocks of the encoder or the decoder."""
    prefix = f"{owner}.blocks."
    return len({key.split(".")[2] for key in weights if key.startswith(prefix)})


def transformer_for(
    weights: Weights, name: str, skeleton: Skeleton, in_channels: int, persons: int, heads: int
) -> TransformerEncoder:
    """An encoder of the sizes that the weights have.

    Raises:
        SkeletonFormatError: If these are not the weights of such an encoder.
    """
    kernel, time = (weights.get(f"encoder.{key}") for key in ("tokenizer.weight", "positions.time"))
    if kernel is None or time is None:
        raise SkeletonFormatError(
            f"{name}: expected the encoder's joints_embed.proj.weight and temp_embed, found "
            f"{', '.join(list(weights)[:3])}, ..."
        )
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


def gru_width(weights: Weights, name: str) -> int:
    """Hidden units of one GRU of the encoder.

    Raises:
        SkeletonFormatError: If these are not the weights of such an encoder.
    """
    first = weights.get("encoder.layers.0.0.weight_hh_l0")
    if first is None:
        raise SkeletonFormatError(
            f"{name}: expected the encoder's encoder.gru.weight_hh_l0, found "
            f"{', '.join(list(weights)[:3])}, ..."
        )
    return int(first.shape[-1])


def pcm3_for(encoder: Encoder, skeleton: Skeleton, weights: Weights, name: str) -> PCM3:
    """A model of the sizes that the weights have; domain prompts are brought into its shape."""
    try:
        model = PCM3(
            encoder,
            skeleton,
            embedding=len(weights["projector.2.bias"]),
            queue_size=len(weights["queue.anchors"]),
            decoder_hidden=len(weights["decoder.adapter.0.bias"]),
        )
    except KeyError as error:
        raise SkeletonFormatError(f"{name}: {error.args[0]} is missing") from None
    recorded = model.state_dict()
    for kind in ("domain_prompts", "task_prompts"):
        keys = [key for key in recorded if key.startswith(kind)]
        if any(key not in weights or weights[key].numel() != recorded[key].numel() for key in keys):
            setattr(model, kind, nn.ModuleDict())  # none, or not of this encoder's size
    size = (len(skeleton), encoder.in_channels, encoder.persons)
    for key in [key for key in weights if key.startswith("domain_prompts.")]:
        if weights[key].numel() == math.prod(size):  # flat in the checkpoint, joint by joint
            weights[key] = weights[key].reshape(size).transpose(0, 1).contiguous()
    return model


def _rename(key: str, patterns: Sequence[tuple[str, str]]) -> str:
    for pattern, ours in patterns:
        renamed, fits = re.subn(pattern, ours, key)
        if fits:
            return renamed
    return key


def _reshape_pcm3(name: str, value: Tensor) -> Tensor:
    if name == "queue.anchors":
        return value.T.contiguous()
    if name == "queue.position":
        return value.reshape(())
    if name.startswith("task_prompts."):
        return value.reshape(-1)
    return value
