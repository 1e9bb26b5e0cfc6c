"""PCM3 on a joint layout of your own: one training step and features, from tensors alone."""

from __future__ import annotations

import torch

from pcm3 import PCM3, Skeleton
from pcm3.encoders import GRUEncoder


def main() -> torch.Tensor:
    """Derive a skeleton, take one step, return features of four clips."""
    skeleton = Skeleton.from_parents(
        names=["pelvis", "chest", "head"]
        + [f"{side}_{joint}" for side in ("left", "right") for joint in ("elbow", "hand")]
        + [f"{side}_{joint}" for side in ("left", "right") for joint in ("knee", "foot")],
        parents=[-1, 0, 1, 1, 3, 1, 5, 0, 7, 0, 9],
        name="stick_figure",
    )
    for part, joints in skeleton.parts.items():
        print(f"{part:<10}", ", ".join(skeleton.joints[joint] for joint in joints))

    torch.manual_seed(0)
    encoder = GRUEncoder(skeleton, persons=1, hidden=32, pool="mean")
    model = PCM3(encoder, skeleton, queue_size=256, decoder_hidden=32)
    clips = torch.randn(4, 3, 90, len(skeleton), 1)
    lengths = torch.tensor([90, 60, 75, 40])  # frames beyond these are padding
    output = model(clips, lengths)
    output.total.backward()
    print({name: round(float(term), 3) for name, term in output.terms.items()})
    return model.features(clips, lengths)


if __name__ == "__main__":
    print("features", tuple(main().shape))
