"""The motion predictor, an encoder with a recurrent decoder, and the baselines."""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from pcm3.augment.functional import center_crop_resize
from pcm3.encoders.files import Pretrained
from pcm3.skeleton import to_stream


class MotionDecoder(nn.Module):
    r"""A recurrent decoder that continues a motion from its last frame, fed its own output.

    With the feature :math:`f` and the last observed frame :math:`x_0`, both vectors,

    .. math::
        h_0 = W f + b, \qquad h_t = \mathrm{GRU}(x_{t-1}, h_{t-1}), \qquad
        x_t = x_{t-1} + V h_t + c.

    There is no teacher forcing: gradients flow through the predicted frames. V and c start at 0,
    so that an untrained decoder predicts that nothing moves.

    Args:
        in_features: Width D of the encoder's feature.
        joints: Number of joints V.
        in_channels: Number of coordinates C of a joint.
        persons: Number of persons M.
        hidden: Width of the GRU.

    Shapes:
        Feature ``(N, D)`` and last frame ``(N, C, V, M)`` to clips ``(N, C, frames, V, M)``.
        Coordinates should be of the order of 1, such as metres.

    Source:
        The decoder of Martinez et al., CVPR 2017, with another encoder; PCM3 Sec. 4.3.

    Example:
        >>> decoder = MotionDecoder(in_features=8, joints=25, hidden=16)
        >>> decoder(torch.randn(2, 8), torch.randn(2, 3, 25, 1), frames=10).shape
        torch.Size([2, 3, 10, 25, 1])
    """

    def __init__(
        self,
        in_features: int,
        joints: int,
        in_channels: int = 3,
        persons: int = 1,
        hidden: int = 1024,
    ) -> None:
        super().__init__()
        self.frame = {"c": in_channels, "v": joints, "m": persons}
        size = joints * in_channels * persons
        self.start = nn.Linear(in_features, hidden)
        self.cell = nn.GRUCell(size, hidden)
        self.velocity = nn.Linear(hidden, size)
        nn.init.zeros_(self.velocity.weight)
        nn.init.zeros_(self.velocity.bias)

    def forward(self, features: Tensor, last: Tensor, frames: int) -> Tensor:
        """Predict the clips ``(N, C, frames, V, M)`` that follow the frames ``(N, C, V, M)``."""
        state: Tensor = self.start(features)
        pose = rearrange(last, "n c v m -> n (c v m)")
        predicted = []
        for _ in range(frames):
            state = self.cell(pose, state)
            pose = pose + self.velocity(state)
            predicted.append(pose)
        return rearrange(torch.stack(predicted), "t n (c v m) -> n c t v m", **self.frame)


class MotionPredictor(nn.Module):
    """An encoder of the observed motion and a decoder that continues it.

    Args:
        pretrained: The encoder, which is not copied, and its input.
        hidden: Width of the decoder; by default that of the encoder's features, 1024 at most.
    """

    def __init__(self, pretrained: Pretrained, hidden: int | None = None) -> None:
        super().__init__()
        encoder = pretrained.encoder
        self.encoder = encoder
        self.skeleton, self.stream, self.frames = pretrained[1:4]
        hidden = hidden or min(1024, encoder.out_features)
        self.decoder = MotionDecoder(
            encoder.out_features, encoder.joints, encoder.in_channels, hidden=hidden
        )

    def forward(self, observed: Tensor, last: Tensor, frames: int) -> Tensor:
        """Predict clips ``(N, C, frames, V, 1)`` of the first person.

        Args:
            observed: Joint coordinates ``(N, C, T, V, M)`` in the encoder's unit and
                normalization. They are resized if the encoder needs a fixed number of frames.
            last: Last observed frame ``(N, C, V, 1)``, in metres, relative to the centre joint.
            frames: Number of frames to predict.
        """
        if self.encoder.fixed_frames:
            observed = center_crop_resize(observed, None, self.frames, ratio=1.0)
        features = self.encoder(to_stream(observed, self.skeleton, self.stream))[:, -1]
        predicted: Tensor = self.decoder(features, last, frames)
        return predicted


def hold_mean(observed: Tensor, frames: int, window: int = 1) -> Tensor:
    """Predict that the body holds the mean of its last frames; a window of 1 is zero velocity.

    Args:
        observed: Clips ``(N, C, T, V, M)``.
        frames: Number of frames to predict.
        window: Number of frames in the mean, 1 to T.

    Returns:
        Clips ``(N, C, frames, V, M)``.

    Raises:
        ValueError: If there are fewer observed frames than ``window``.

    Source:
        The baselines of Martinez et al., CVPR 2017.
    """
    if not 1 <= window <= observed.shape[2]:
        raise ValueError(f"expected a window in [1, {observed.shape[2]}], got {window}")
    mean = observed[:, :, -window:].mean(dim=2, keepdim=True)
    return mean.expand(-1, -1, frames, -1, -1)
