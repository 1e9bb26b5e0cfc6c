"""PCM3 with an encoder of your own: what an encoder has to offer, in thirty lines.

A plain module needs none of this: ``EncoderAdapter`` makes an encoder of it.

Prints the shapes, and for people who were not in pretraining, untrained and trained: how far hidden
joints are predicted from where they are, and how often the nearest features are of the same class.
"""

from __future__ import annotations

import math
import tempfile
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn

from pcm3 import NTU25, PCM3, Skeleton
from pcm3.augment import TemporalCropResize
from pcm3.data import SkeletonDataset, generate, split
from pcm3.encoders import Encoder
from pcm3.evaluation.tasks.knn import evaluate_knn
from pcm3.hub import Pretrained

FRAMES = 32


class OwnEncoder(Encoder):
    """A strided convolution over time under a GRU, so that T' is half of T."""

    def __init__(
        self, skeleton: Skeleton, in_channels: int = 3, persons: int = 1, hidden: int = 64
    ) -> None:
        super().__init__(len(skeleton), in_channels, persons, pool="mean")
        self.out_features = hidden  # D
        size = self.joints * self.in_channels * self.persons
        self.norm = nn.BatchNorm1d(size)
        self.shorten = nn.Conv1d(size, hidden, kernel_size=4, stride=2, padding=1)
        self.gru = nn.GRU(hidden, hidden, num_layers=2, batch_first=True)

    def forward(self, clips: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Clips ``(N, C, T, V, M)``, and the prompt of their kind, to features ``(N, T', D)``."""
        flat = self.norm(rearrange(clips, "n c t v m -> n (c v m) t"))
        if prompt is not None:  # after the normalisation, which would subtract it
            flat = flat + rearrange(prompt, "c v m -> (c v m) 1")
        frames, _ = self.gru(rearrange(self.shorten(flat), "n d t -> n t d"))
        features: Tensor = frames
        return features


def main(epochs: int = 20) -> tuple[tuple[float, float], tuple[float, float]]:
    """Pretrain; return both figures before and after."""
    torch.manual_seed(0)
    model = PCM3(
        OwnEncoder(NTU25),
        NTU25,
        frames=FRAMES,
        queue_size=512,
        momentum=0.99,
        mask_weight=10.0,
        decoder_hidden=64,
        prompt_position="post_norm",
        crop=TemporalCropResize(FRAMES, scale=(0.5, 1.0), min_frames=FRAMES),
    )
    with tempfile.TemporaryDirectory() as folder:
        store = generate(Path(folder) / "store", subjects=24)
        training, test = (SkeletonDataset(store, part) for part in split(store, "xsub"))
        clips, lengths, _, _ = test.batch(range(len(test)))
        print(f"frames {tuple(model.encoder(model.crop(clips[:4], lengths[:4])).shape)}, ", end="")
        print(f"features {tuple(model.features(clips[:4], lengths[:4]).shape)} of four clips")

        def measure() -> tuple[float, float]:
            view = Pretrained(model.trained_encoder, NTU25, "joint", FRAMES)
            top1 = evaluate_knn(view, training, test)["top1"]
            return hidden_error(model, clips, lengths), float(top1)

        before = measure()
        model.fit(
            training, epochs=epochs, batch_size=32, optimizer="adamw", lr=2e-3, accelerator="cpu"
        )
        after = measure()
    for name, (error, top1) in {"untrained": before, "trained": after}.items():
        print(f"{name:<9}  hidden joints {error:.0f} mm off, nearest neighbours {top1:.0%} right")
    return before, after


@torch.no_grad()
def hidden_error(model: PCM3, clips: Tensor, lengths: Tensor) -> float:
    """Root mean square error of the predicted joints in millimetres; the same ones every time."""
    views = model.make_views(clips, lengths, torch.Generator().manual_seed(0))
    mode = model.training
    error = model.eval().loss(views).terms["masked_mse"]  # of a coordinate, squared
    model.train(mode)
    return 1000 * math.sqrt(3 * float(error))


if __name__ == "__main__":
    main()
