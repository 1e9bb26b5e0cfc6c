"""Features of a live recording, one frame at a time."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from pcm3.checks import check_clips, check_tensor, type_name
from pcm3.encoders.base import Encoder


class StreamState(NamedTuple):
    """State of a stream. ``push`` never changes it in place, so it may be kept.

    Attributes:
        hidden: State of the encoder; for a ``GRUEncoder``, the states of all GRUs, layer by layer.
        last: Feature of the latest frame ``(N, D)``.
        mean: Mean feature of all frames so far ``(N, D)``.
        frames: Number of frames so far.
        batched: Whether the latest frame had an axis N; features then have it too.
    """

    hidden: tuple[Tensor, ...]
    last: Tensor
    mean: Tensor
    frames: int
    batched: bool


class StreamingEncoder:
    """Run a causal encoder one frame at a time, as on a camera.

    The state of the encoder is carried from frame to frame, so each feature equals that of the
    whole sequence so far at the cost of a single frame. Frames must be normalised and of the stream
    that the encoder was trained on: ``to_stream`` gives the bones of a frame, but motion also needs
    the next frame. The encoder's weights are not copied.

    ``push`` returns features of frames; ``pooled`` is the feature of the sequence so far.
    Evaluations resize sequences to a fixed number of frames, but a stream does not: compare its
    features only with features of other streams.

    Args:
        encoder: A causal encoder (``encoder.causal``) in evaluation mode, such as a ``GRUEncoder``
            with ``direction="causal_pair"`` or ``"forward"``.

    Attributes:
        state: State of the stream; None before the first frame. Setting it to an earlier state
            goes back to that frame, so one encoder can serve several cameras.

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
                f"'forward', got {type_name(encoder)}, whose features depend on later frames"
            )
        self.encoder = encoder
        self.state: StreamState | None = None
        self._check_mode()

    def reset(self) -> None:
        """Forget all frames; the next one starts a new sequence."""
        self.state = None

    @torch.no_grad()
    def push(self, frame: Tensor) -> Tensor:
        """Encode the next frame, without gradient.

        Args:
            frame: Frame ``(C, V, M)`` of one recording, or frames ``(N, C, V, M)`` of N recordings.

        Returns:
            Feature ``(D,)`` or features ``(N, D)``, equal to the encoder's for this frame in the
            whole sequence.

        Raises:
            ValueError: If the frame does not have the encoder's sizes and dtype or the N of earlier
                frames, is not finite (checked on the CPU only), or the encoder is in training mode.
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
                " reset() starts new sequences"
            )
        last, hidden = self.encoder.step(frames, before and before.hidden)
        seen, mean = (before.frames, before.mean) if before else (0, torch.zeros_like(last))
        # a mean in bfloat16 would stop changing
        mean = mean.to(torch.promote_types(mean.dtype, torch.float32))
        mean = mean + (last - mean) / (seen + 1)
        self.state = StreamState(hidden, last, mean, seen + 1, batched)
        return last if batched else last[0]

    @property
    def pooled(self) -> Tensor:
        """Feature of the sequence so far, ``(D,)`` or ``(N, D)``, as ``encoder.pool`` returns.

        Raises:
            ValueError: Before the first frame.
        """
        if self.state is None:
            raise ValueError("expected at least one frame since the start or reset(), got none")
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
