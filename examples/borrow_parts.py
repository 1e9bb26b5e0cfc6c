"""PCM3's mask, mixing, losses and queue in a plain PyTorch loop with a network of your own.

Runs in seconds on synthetic skeletons and prints how the loss falls, epoch by epoch.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader

from pcm3 import NTU25, MemoryQueue
from pcm3.augment import Compose, RandomMix, Shear, TemporalCropResize, TopologyMask
from pcm3.augment.functional import apply_mask
from pcm3.data import SkeletonDataset, collate, generate
from pcm3.ema import MomentumTwin
from pcm3.losses import InfoNCE


def main(epochs: int = 5) -> list[float]:
    """Train a small network; return the mean loss of each epoch."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        store = generate(Path(folder) / "store", sequences=192)
        loader = DataLoader(
            SkeletonDataset(store), 32, shuffle=True, drop_last=True, collate_fn=collate
        )
        network = nn.Sequential(
            nn.Flatten(), nn.Linear(3 * 32 * 25, 128), nn.ReLU(), nn.Linear(128, 32)
        )
        key_network = MomentumTwin(network, momentum=0.99)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)

        view = Compose(TemporalCropResize(size=32, scale=(0.5, 1.0), min_frames=16), Shear(0.5))
        hide, mix = TopologyMask(NTU25, ratio=0.4), RandomMix(NTU25)
        info_nce, queue = InfoNCE(temperature=0.1), MemoryQueue(size=96, dim=32)

        for clips, lengths, _, _ in loader:  # real keys instead of the random ones it starts with
            queue.enqueue(F.normalize(key_network(view(clips, lengths)), dim=1))

        losses = []
        for epoch in range(epochs):
            total = 0.0
            for clips, lengths, _, _ in loader:
                query_clips = view(clips, lengths)
                masked = apply_mask(query_clips, hide(query_clips))
                mixed = mix(query_clips)
                key = F.normalize(key_network(view(clips, lengths)), dim=1)
                lam = mixed.lam[:, None]
                mixed_key = F.normalize((1 - lam) * key + lam * key[mixed.partner], dim=1)
                loss = info_nce(F.normalize(network(masked), dim=1), key, queue.anchors)
                loss = loss + info_nce(
                    F.normalize(network(mixed.clips), dim=1), mixed_key, queue.anchors
                )
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                key_network.update(network)
                queue.enqueue(key)
                total += loss.item()
            losses.append(total / len(loader))
            print(f"epoch {epoch + 1}: loss {losses[-1]:.3f}")
    return losses


if __name__ == "__main__":
    main()
