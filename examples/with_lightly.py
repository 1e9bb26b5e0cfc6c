"""pcm3's views, mask and encoder in lightly's MoCo: its head, momentum update, memory and loss.

Needs ``pip install lightly``. Prints the loss, and how often the nearest of all keys is the clip's
own, though the query has lost two of its five body parts.
"""

from __future__ import annotations

import copy
import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from lightly.loss import NTXentLoss
from lightly.models.modules import MoCoProjectionHead
from lightly.models.utils import deactivate_requires_grad, update_momentum
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pcm3 import NTU25
from pcm3.augment import Compose, Shear, TemporalCropResize, TopologyMask
from pcm3.augment.functional import apply_mask
from pcm3.data import SkeletonDataset, collate, generate
from pcm3.encoders import GRUEncoder


class Embedder(nn.Module):
    """Clips ``(N, C, T, V, M)`` to embeddings: an encoder of pcm3 under a head of lightly."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = GRUEncoder(NTU25, persons=1, hidden=32, layers=2, pool="mean")
        width = self.encoder.out_features
        self.head = MoCoProjectionHead(width, width, 64)

    def forward(self, clips: Tensor) -> Tensor:
        embeddings: Tensor = self.head(self.encoder.pool(self.encoder(clips)))
        return embeddings


def main(epochs: int = 12) -> list[float]:
    """Train; return the share of clips that find their own key before and after each epoch."""
    torch.manual_seed(0)
    view = Compose(TemporalCropResize(size=32, scale=(0.5, 1.0), min_frames=16), Shear(0.5))
    hide = TopologyMask(NTU25, ratio=0.4, clip_length=4)
    query_side = Embedder()
    key_side = copy.deepcopy(query_side)
    deactivate_requires_grad(key_side)
    criterion = NTXentLoss(temperature=0.1, memory_bank_size=(128, 64))
    optimizer = torch.optim.AdamW(query_side.parameters(), lr=2e-3)
    shares = []
    with tempfile.TemporaryDirectory() as folder:
        store = generate(Path(folder) / "store", sequences=192)
        loader = DataLoader(
            SkeletonDataset(store), 32, shuffle=True, drop_last=True, collate_fn=collate
        )
        clips, lengths, _, _ = SkeletonDataset(store).batch(range(len(store)))

        def found() -> float:
            with torch.no_grad():
                whole = view(clips, lengths)
                query = F.normalize(query_side(apply_mask(whole, hide(whole))), dim=1)
                nearest = (query @ F.normalize(query_side(view(clips, lengths)), dim=1).T).argmax(1)
            return float((nearest == torch.arange(len(nearest))).float().mean())

        shares.append(found())
        for epoch in range(epochs):
            total = 0.0
            for batch in loader:
                update_momentum(query_side, key_side, m=0.99)
                whole = view(batch.clips, batch.lengths)
                query = query_side(apply_mask(whole, hide(whole)))
                key = key_side(view(batch.clips, batch.lengths))
                loss = criterion(query, key)  # and the keys enter lightly's memory
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item()
            shares.append(found())
            loss_said, share = f"loss {total / len(loader):.2f}", f"{shares[-1]:.0%}"
            print(f"epoch {epoch + 1}: {loss_said}, own key nearest of {len(clips)}: {share}")
    print(f"before: {shares[0]:.0%}")
    return shares


if __name__ == "__main__":
    main()
