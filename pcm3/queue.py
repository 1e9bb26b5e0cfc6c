"""The memory queue of momentum contrast."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pcm3._torch import gather_rows
from pcm3.checks import (
    check_count,
    check_generator,
    check_rows_finite,
    check_unit_rows,
    readable,
    shape_or_type,
)


class MemoryQueue(nn.Module):
    """The last K keys, first in first out: negatives and anchors of the contrastive losses.

    It starts with random unit vectors and takes batches of any size. In distributed runs every
    process enqueues the keys of all processes, so that the queues stay identical. Content and
    position are part of the ``state_dict``.

    Args:
        size: Number of keys K.
        dim: Width D of an embedding.
        generator: Source of the random vectors.

    Attributes:
        anchors: ``(K, D)``, float32 unless the module is cast. ``enqueue`` replaces this tensor
            rather than writing into it, so a loss that used it can still be differentiated
            afterwards.
        position: Integer scalar, the row of the next key.

    Raises:
        ValueError: If a size is below 1.

    Source:
        MoCo (He et al., CVPR 2020); PCM3 Sec. 3.1.

    Example:
        >>> queue = MemoryQueue(size=4, dim=2)
        >>> queue.enqueue(torch.tensor([[1.0, 0.0]]).expand(3, 2))
        >>> queue.enqueue(torch.tensor([[0.0, 1.0]]).expand(3, 2))
        >>> queue.anchors.tolist()
        [[0.0, 1.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]]
    """

    anchors: Tensor
    position: Tensor

    def __init__(
        self, *, size: int = 16384, dim: int = 128, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        check_count("size", size)
        check_count("dim", dim)
        check_generator(generator, torch.get_default_device())
        self.register_buffer(
            "anchors", F.normalize(torch.randn(size, dim, generator=generator), dim=1)
        )
        self.register_buffer("position", torch.zeros((), dtype=torch.long))

    def __len__(self) -> int:
        """K."""
        return len(self.anchors)

    def enqueue(self, keys: Tensor) -> None:
        """Replace the oldest keys by keys ``(N, D)``; of more than K, the last K are kept.

        Args:
            keys: L2-normalised embeddings of any floating-point dtype.

        Raises:
            ValueError: If the keys have another shape or dtype, or a key is not finite or not of
                length 1 to within 1 %. Values are checked on the CPU only, as the host would
                otherwise wait for the device, and not in compiled code.
        """
        size, dim = self.anchors.shape
        rows = isinstance(keys, Tensor) and keys.ndim == 2
        if not rows or keys.shape[1] != dim:
            swapped = rows and keys.shape[1] == size
            hint = f"; did you mean MemoryQueue(size={dim}, dim={size})?" if swapped else ""
            raise ValueError(
                f"expected keys (N, D={dim}) for {self!r}, got {shape_or_type(keys)}{hint}"
            )
        if not keys.is_floating_point():
            raise ValueError(f"expected floating-point keys, got {keys.dtype}")
        # not in inference mode, as a loss with these anchors may need a gradient later
        with torch.inference_mode(False), torch.no_grad():
            self._put(keys)

    def _put(self, keys: Tensor) -> None:
        size = len(self.anchors)
        keys = gather_rows(keys)
        # after gathering, so that all processes raise and none is left waiting
        if readable(keys):
            check_rows_finite("keys", keys)
            check_unit_rows("keys", keys)
        skipped = max(len(keys) - size, 0)
        rows = torch.arange(skipped, len(keys), device=keys.device)
        rows = (self.position + rows) % size
        self.anchors = self.anchors.index_copy(0, rows, keys[skipped:].to(self.anchors.dtype))
        self.position = (self.position + len(keys)) % size

    def extra_repr(self) -> str:
        """Size and width, for the repr."""
        return f"size={self.anchors.shape[0]}, dim={self.anchors.shape[1]}"
