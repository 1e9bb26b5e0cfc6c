"""Compiled blocks."""

from __future__ import annotations

from torch import nn

from pcm3.encoders.stgcn import GraphBlock
from pcm3.encoders.transformer import Block


def compile_blocks(model: nn.Module) -> None:
    """Compile every block of transformers and graph encoders in a model, in place.

    Blocks are alike, so few are compiled anew, and what lies around them stays as it is.

    Raises:
        ValueError: If there is none: recurrent layers are compiled code already.
    """
    blocks = [module for module in model.modules() if isinstance(module, (Block, GraphBlock))]
    if not blocks:
        raise ValueError("expected a transformer or graph encoder to compile, got neither")
    for block in blocks:
        block.compile()
