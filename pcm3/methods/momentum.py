"""Momentum contrast: twins of encoder and projector embed keys, and a queue keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcm3.ema import MomentumTwin
from pcm3.encoders.base import Encoder, pool_features
from pcm3.heads import Projector
from pcm3.methods.base import Method
from pcm3.methods.settings import MethodSettings
from pcm3.queue import MemoryQueue
from pcm3.skeleton import Skeleton


class KeyNetworks(nn.Module):
    """An encoder with a projector, the momentum twins of both, and a queue of keys.

    A step in training mode embeds queries, calls ``embed_key``, compares with ``queue.anchors`` and
    ends with ``keep``. When batches accumulate, twins and queue move once per optimiser step.

    Attributes:
        encoder: The query encoder.
        projector: Head that maps features to embeddings.
        key_encoder: Momentum twin of the encoder.
        key_projector: Momentum twin of the projector.
        queue: Keys of earlier batches.
    """

    encoder: Encoder
    queue: MemoryQueue

    def add_networks(self, embedding: int, momentum: float) -> None:
        """Build all networks but the encoder, which is there."""
        self.projector = Projector(self.encoder.out_features, embedding)
        self.key_encoder = MomentumTwin(self.encoder, momentum)
        self.key_projector = MomentumTwin(self.projector, momentum)
        self.wait_for(1)

    def wait_for(self, batches: int) -> None:
        """Set the number of batches that make one step, and forget keys that wait for its end."""
        self._batches_a_step = batches
        self._waiting: list[Tensor] = []  # keys of batches before the optimiser's next step

    def embed(self, frames: Tensor) -> Tensor:
        """Embeddings of length 1 ``(N, D)`` of frame features ``(N, T', F)`` of queries."""
        features = pool_features(self.encoder, frames)
        return F.normalize(self.projector(features).float(), dim=1)

    @torch.no_grad()
    def embed_key(self, clips: Tensor) -> Tensor:
        """Embeddings of length 1 ``(N, D)`` of keys, by the twins, which move before."""
        self.move_twins()
        features = pool_features(self.encoder, self.key_encoder(clips))
        return F.normalize(self.key_projector(features).float(), dim=1)

    def move_twins(self) -> None:
        """Move the twins, in training mode and once for each optimiser step."""
        if self.training and not self._waiting:
            self.key_encoder.update(self.encoder)
            self.key_projector.update(self.projector)

    def keep(self, key: Tensor) -> None:
        """Put keys ``(N, D)`` into the queue, in training mode after the last batch of a step."""
        if not self.training:
            return
        self._waiting.append(key)
        if len(self._waiting) == self._batches_a_step:
            self.queue.enqueue(torch.cat(self._waiting))
            self._waiting.clear()


class MomentumContrast(KeyNetworks, Method):
    """Base of the methods that compare queries with keys of a momentum encoder.

    A subclass builds the ``queue``.

    Args:
        encoder: The query encoder.
        skeleton: Joint layout of the clips.
        settings: Settings of the method, ``embedding`` and ``momentum`` among them.
        changes: Settings to change, by name.

    Source:
        MoCo (He et al., CVPR 2020); for skeletons, SkeletonCLR (Li et al., CVPR 2021).
    """

    def __init__(
        self,
        encoder: Encoder,
        skeleton: Skeleton,
        settings: MethodSettings | None,
        changes: Mapping[str, Any],
    ) -> None:
        super().__init__(encoder, skeleton, settings, changes)
        chosen: Any = self.settings
        self.add_networks(chosen.embedding, chosen.momentum)

    def accumulate(self, batches: int) -> None:
        """Set the number of batches that make one step of optimiser, twins and queue."""
        super().accumulate(batches)
        self.wait_for(batches)
