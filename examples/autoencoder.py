"""Body-part masks as the corruption that an autoencoder of your own learns to undo.

Prints how far hidden joints end from where they were: restored by the network, filled with the mean
pose, and drawn as a straight line between the frames in which they were seen.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn

from pcm3 import NTU25
from pcm3.augment import TopologyMask
from pcm3.augment.functional import apply_mask, center_crop_resize
from pcm3.data import SkeletonDataset, Store, generate, split
from pcm3.losses import MaskedMSE

FRAMES = 32


class Autoencoder(nn.Module):
    """A few convolutions over time; sees the clip and where it is hidden."""

    def __init__(self, joints: int, width: int = 128) -> None:
        super().__init__()
        self.network = nn.Sequential(
            nn.Conv1d(4 * joints, width, 5, padding=2),
            nn.ReLU(),
            nn.Conv1d(width, width, 5, padding=4, dilation=2),
            nn.ReLU(),
            nn.Conv1d(width, width, 5, padding=8, dilation=4),
            nn.ReLU(),
            nn.Conv1d(width, 3 * joints, 5, padding=2),
        )

    def forward(self, clips: Tensor, hidden: Tensor) -> Tensor:
        seen = torch.cat([clips, hidden[:, None].to(clips.dtype)], dim=1)
        restored = self.network(rearrange(seen, "n c t v 1 -> n (c v) t"))
        return rearrange(restored, "n (c v) t -> n c t v 1", c=3)


def main(epochs: int = 40) -> dict[str, float]:
    """Train on some people, restore others; return the error of each way in millimetres."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        store = generate(Path(folder) / "store", views=1, subjects=24, missing=0.0)
        training, test = (load(store, part) for part in split(store, "xsub"))
    hide, masked_mse = TopologyMask(NTU25, ratio=0.4), MaskedMSE()  # two of five parts
    network = Autoencoder(len(NTU25))
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    for _ in range(epochs):
        for clips in training[torch.randperm(len(training))].split(32):
            hidden = hide(clips)
            loss = masked_mse(network(apply_mask(clips, hidden), hidden), clips, hidden)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    hidden = hide(test)
    corrupted = apply_mask(test, hidden)
    with torch.no_grad():
        fills = {
            "the autoencoder": network(corrupted, hidden),
            "the mean pose": training.mean(dim=(0, 2), keepdim=True).expand_as(test),
            "a straight line": interpolate(corrupted, hidden),
        }
    # of a coordinate squared; of a joint, three times that
    errors = {
        name: 1000 * math.sqrt(3 * float(masked_mse(fill, test, hidden)))
        for name, fill in fills.items()
    }
    for name, error in errors.items():
        print(f"hidden joints by {name:<16} {error:4.0f} mm off (root mean square)")
    return errors


def load(store: Store, indices: object) -> Tensor:
    """Clips ``(N, C, T, V, M)``, all of one length."""
    data = SkeletonDataset(store, indices)
    clips, lengths, _, _ = data.batch(range(len(data)))
    return center_crop_resize(clips, lengths, FRAMES, 1.0)


def interpolate(clips: Tensor, hidden: Tensor) -> Tensor:
    """Straight lines from the last frame in which a joint was seen to the next one."""
    time = torch.arange(clips.shape[2])[:, None, None]
    last = torch.where(hidden, -1, time).cummax(dim=1).values
    following = torch.where(hidden, len(time), time).flip(1).cummin(dim=1).values.flip(1)
    start = torch.where(last < 0, following, last).clamp(max=len(time) - 1)
    end = torch.where(following == len(time), start, following)
    share = ((time - start) / (end - start).clamp(min=1))[:, None]
    before, after = (clips.gather(2, each[:, None].expand_as(clips)) for each in (start, end))
    return before + share * (after - before)


if __name__ == "__main__":
    main()
