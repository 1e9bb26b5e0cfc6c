"""The memory queue of momentum contrast."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from pcm3._checks import check_tensor


class MemoryQueue(nn.Module):
    """The last K keys, first in first out: negatives and anchors of the contrastive losses.

    Starts with random unit vectors. Takes batches of any size. In distributed runs every process
    enqueues the keys of all of them, so that the queues stay identical. Contents and position
    are part of the ``state_dict``.

    Args:
        size: K.
        dim: Width D of an embedding.
        generator: Of the vectors that it starts with.

    Attributes:
        anchors: ``(K, D)`` float32. ``enqueue`` replaces this tensor rather than writing into
            it, so a loss that used it can still be differentiated afterwards.
        position: Integer scalar, the row that the next key goes to.

    Raises:
        ValueError: If a size is below 1.

    Source:
        MoCo (He et al., CVPR 2020); PCM3 Sec. 3.1.

    Example:
        >>> queue = MemoryQueue(size=4, dim=2)
        >>> queue.enqueue(torch.ones(3, 2))
        >>> queue.enqueue(torch.zeros(3, 2))
        >>> queue.anchors.tolist()
        [[0.0, 0.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]
    """

    anchors: Tensor
    position: Tensor

    def __init__(
        self, size: int = 16384, dim: int = 128, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if size < 1 or dim < 1:
            raise ValueError(f"expected size >= 1 and dim >= 1, got {size} and {dim}")
        self.register_buffer(
            "anchors", F.normalize(torch.randn(size, dim, generator=generator), dim=1)
        )
        self.register_buffer("position", torch.zeros((), dtype=torch.long))

    def __len__(self) -> int:
        """K."""
        return len(self.anchors)

    @torch.no_grad()
    def enqueue(self, keys: Tensor) -> None:
        """Put keys ``(N, D)`` in place of the oldest; of more than K keys the last K stay.

        Raises:
            ValueError: If the keys have another shape, or are not finite (looked at on the CPU
                only: on an accelerator the host would wait for the device).
        """
        check_tensor("keys", keys)
        size, dim = self.anchors.shape
        if keys.ndim != 2 or keys.shape[1] != dim:
            raise ValueError(f"expected keys (N, D={dim}), got {tuple(keys.shape)}")
        keys = _gather(keys.detach().to(self.anchors.dtype))
        # after gathering, so that every process sees it and none is left waiting
        if keys.device.type == "cpu" and not bool(torch.isfinite(keys).all()):
            row = int((~torch.isfinite(keys)).any(dim=1).nonzero()[0])
            raise ValueError(f"expected finite keys, got NaN or infinity in row {row}")
        skipped = max(len(keys) - size, 0)
        rows = torch.arange(skipped, len(keys), device=keys.device)
        rows = (self.position + rows) % size
        self.anchors = self.anchors.index_copy(0, rows, keys[skipped:])
        self.position = (self.position + len(keys)) % size

    def extra_repr(self) -> str:
        """Size and width."""
        return f"size={self.anchors.shape[0]}, dim={self.anchors.shape[1]}"


def _gather(keys: Tensor) -> Tensor:
    """The keys of all processes, in rank order; every process must hold as many."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return keys
    gathered = [torch.empty_like(keys) for _ in range(dist.get_world_size())]
    dist.all_gather(gathered, keys.contiguous())
    return torch.cat(gathered)
