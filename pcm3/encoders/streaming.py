"""Features of a live recording, frame by frame."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pcm3.checks import check_clips, check_tensor, type_name
from pcm3.encoders.base import Encoder


class StreamState(NamedTuple):
    """All that a stream remembers. Pushing never writes into it, so it may be kept.

    Attributes:
        hidden: State of the encoder; of a ``GRUEncoder`` that of every GRU, layer by layer.
        last: Feature of the latest frame ``(N, D)``.
        mean: Mean feature of all frames so far ``(N, D)``.
        frames: How many those are.
        batched: Whether the latest frame came with an axis N, and features go out with it.
    """

    hidden: tuple[Tensor, ...]
    last: Tensor
    mean: Tensor
    frames: int
    batched: bool


class StreamingEncoder:
    """A causal encoder that is handed one frame at a time, as from a camera.

    The features are those of the whole sequence so far, at the cost of one frame: the encoder's
    state is carried along. Frames are what the encoder was trained on: normalised, and
    of its stream; bones of a frame are ``to_stream`` of it, motion needs the next frame too.
    The encoder's weights are used where they are, not copied.

    Features are those of frames; ``pooled`` is the sequence's so far. Evaluations resize sequences
    to a fixed number of frames, a stream does not: compare its features with others that were made
    frame by frame.

    Args:
        encoder: One that does not look ahead (``encoder.causal``), such as a ``GRUEncoder`` with
            ``direction="causal_pair"`` or ``"forward"``, in evaluation mode.

    Attributes:
        state: What has been seen; None before the first frame. Setting it to an earlier one
            goes back there, and one encoder can so serve several cameras.

    Raises:
        ValueError: If the encoder is not causal or is in training mode.

    Example:
        >>> from pcm3.encoders import GRUEncoder
        >>> encoder = GRUEncoder(25, hidden=8).eval()
        >>> stream = StreamingEncoder(encoder)
        >>> clip = torch.randn(3, 40, 25, 2)
        >>> features = [stream.push(clip[:, t]) for t in range(40)]
        >>> torch.allclose(features[-1], encoder(clip[None])[0, -1], atol=1e-5)
        True
    """

    def __init__(self, encoder: Encoder) -> None:
        if not isinstance(encoder, Encoder) or not encoder.causal:
            raise ValueError(
                "expected a causal encoder, such as a GRUEncoder of direction 'causal_pair' or "
                f"'forward', got {type_name(encoder)}, whose features depend on frames to come"
            )
        self.encoder = encoder
        self.state: StreamState | None = None
        self._check_mode()

    def reset(self) -> None:
        """Forget all frames: the next one is the first of a new sequence."""
        self.state = None

    @torch.no_grad()
    def push(self, frame: Tensor) -> Tensor:
        """Take the next frame and return its feature, without gradient.

        Args:
            frame: ``(C, V, M)`` of one recording, or ``(N, C, V, M)`` of N at once.

        Returns:
            ``(D,)``, or ``(N, D)``: what the encoder gives for this frame in the whole sequence.

        Raises:
            ValueError: If the frame does not have the encoder's sizes and dtype or the N of the
                frames before, is not finite (it would stay in the state; looked at on the CPU
                only), or the encoder is in training mode.
        """
        self._check_mode()
        self._check_frame(frame)
        batched = frame.ndim == 4
        frames = frame if batched else frame[None]
        check_clips(frames.unsqueeze(2), finite=True)
        before = self.state
        if before is not None and len(before.last) != len(frames):
            raise ValueError(
                f"expected frames of N={len(before.last)} recordings, as before, got {len(frames)};"
                " reset() starts anew"
            )
        last, hidden = self.encoder.step(frames, before and before.hidden)
        seen, mean = (before.frames, before.mean) if before else (0, torch.zeros_like(last))
        mean = mean.to(torch.promote_types(mean.dtype, torch.float32))  # or it would stop moving
        mean = mean + (last - mean) / (seen + 1)
        self.state = StreamState(hidden, last, mean, seen + 1, batched)
        return last if batched else last[0]

    @property
    def pooled(self) -> Tensor:
        """Feature of the sequence so far, ``(D,)`` or ``(N, D)``: what ``encoder.pool`` gives.

        Raises:
            ValueError: Before the first frame.
        """
        if self.state is None:
            raise ValueError("expected at least one frame, got none since the start or reset()")
        last = self.state.last
        pooled = last if self.encoder.pooling == "last" else self.state.mean.to(last.dtype)
        return pooled if self.state.batched else pooled[0]

    def _check_mode(self) -> None:
        if self.encoder.training:
            raise ValueError("expected an encoder in evaluation mode; call encoder.eval()")

    def _check_frame(self, frame: Tensor) -> None:
        check_tensor("frame", frame)
        size = (self.encoder.in_channels, self.encoder.joints, self.encoder.persons)
        if frame.ndim not in (3, 4) or frame.shape[-3:] != size or 0 in frame.shape:
            channels, joints, persons = size
            layout = f"C={channels}, V={joints}, M={persons})"
            raise ValueError(
                f"expected a frame ({layout}, or frames of N recordings (N, {layout}, "
                f"got {tuple(frame.shape)}"
            )
