"""The contract of an encoder, and an adapter that turns any module into one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from inspect import signature
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from pcm3.checks import check_clips, check_count, shape_or_type, shorten
from pcm3.skeleton import Skeleton

Pool = Literal["last", "mean"]

SIZES = ("frames", "hidden", "layers", "direction", "pool")
"""Settings of methods that apply to any encoder."""


class Encoder(nn.Module, ABC):
    """Maps clips to frame features, and by ``pool`` to one feature per sequence.

    A subclass sets ``out_features`` and defines ``forward``. Everything else has a default that
    works in PCM3 and in every task. A subclass declares further abilities with the attributes and
    methods below, as ``TransformerEncoder`` and ``GRUEncoder`` do.

    Encoders take no lengths, and all T frames count. Crop padded clips first, with
    :class:`pcm3.augment.TemporalCropResize` or :func:`pcm3.augment.functional.center_crop_resize`.

    Args:
        joints: Number of joints V of the clips.
        in_channels: Number of coordinates C of the clips.
        persons: Number of persons M of the clips.
        pool: Sequence feature: that of the ``"last"`` frame or the ``"mean"`` over frames.

    Attributes:
        out_features: Width D of the features.
        feature_blocks: Number of equal parts of a feature, for example 2 if the encoder
            concatenates two directions.
        fixed_frames: Whether the weights depend on the number of frames, as temporal embeddings do.
            Tasks then resize clips to the number of frames that the encoder was trained on.
        has_tokens: Whether the encoder defines ``tokens``, which MAMP's fine-tuning needs.
        has_maps: Whether the encoder defines ``maps``, a feature of each joint, which the attention
            drop of AimCLR needs.
        drop_path: Probability of dropping the branches of the last block in training; None if the
            encoder has no drop-path.
        causal: Whether the encoder defines ``step``, which ``StreamingEncoder`` needs.
        origin: File that the weights were loaded from; None for new weights.

    With ``TrainSettings.compile``, every submodule whose class has a true attribute ``compiles``
    is compiled on its own.

    Raises:
        ValueError: If a size is below 1 or ``pool`` is unknown.
    """

    joints: int
    in_channels: int
    persons: int
    out_features: int
    feature_blocks: int = 1
    fixed_frames: bool = False
    has_tokens: bool = False
    has_maps: bool = False
    drop_path: float | None = None
    causal: bool = False
    origin: str | None = None
    _given: tuple[tuple[Any, ...], dict[str, Any]]

    def __init__(self, joints: int, in_channels: int, persons: int, pool: Pool) -> None:
        super().__init__()
        if pool not in get_args(Pool):
            raise ValueError(f"expected pool among {get_args(Pool)}, got {pool!r}")
        for name, size in (("joints", joints), ("in_channels", in_channels), ("persons", persons)):
            check_count(name, size)
        self.joints = joints
        self.in_channels = in_channels
        self.persons = persons
        self.pooling = pool

    def __new__(cls, *args: Any, **kwargs: Any) -> Encoder:
        """Record the constructor arguments for ``arguments``."""
        encoder = super().__new__(cls)
        object.__setattr__(encoder, "_given", (args, kwargs))
        return encoder

    @classmethod
    def from_sizes(
        cls, skeleton: Skeleton, in_channels: int, persons: int, **sizes: Any
    ) -> Encoder:
        """Build an encoder with the sizes in the settings of a method.

        The constructor is called with skeleton, channels and persons in this order. A subclass
        whose constructor takes other arguments overrides this method.

        Args:
            skeleton: Joint layout of the clips.
            in_channels: Number of coordinates C of the clips.
            persons: Number of persons M of the clips.
            sizes: ``frames``, ``hidden``, ``layers``, ``direction`` and ``pool``, which are ignored
                if the constructor does not take them, and further arguments of the constructor.

        Raises:
            ValueError: If the constructor does not take a further argument.
        """
        known = signature(cls).parameters
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
            unknown = [name for name in sizes if name not in known and name not in SIZES]
            if unknown:
                raise ValueError(
                    f"expected arguments of {cls.__name__}{signature(cls)}, got {unknown[0]}"
                )
            sizes = {name: size for name, size in sizes.items() if name in known}
        build: Any = cls
        encoder: Encoder = build(skeleton, in_channels, persons, **sizes)
        return encoder

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Encoder:
        """Rebuild a trained encoder on the CPU, in evaluation mode; needs safetensors.

        Args:
            path: The ``encoder.safetensors`` of a run, or the run folder.

        Raises:
            SkeletonFormatError: If the file is missing or does not hold an encoder.
            ValueError: If the file holds an encoder of another class.
        """
        from pcm3.encoders.files import load_encoder  # noqa: PLC0415

        encoder = load_encoder(path).encoder
        if not isinstance(encoder, cls):
            raise ValueError(f"expected a {cls.__name__} in {path}, got {type(encoder).__name__}")
        return encoder

    @property
    def arguments(self) -> dict[str, Any]:
        """Constructor arguments that rebuild the encoder, as values for JSON.

        By default the arguments that it was built with, and for a skeleton its ``to_dict()``.
        """
        args, kwargs = self._given
        given = signature(type(self)).bind(*args, **kwargs).arguments
        return {
            name: value.to_dict() if isinstance(value, Skeleton) else value
            for name, value in given.items()
        }

    @abstractmethod
    def forward(self, clips: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Encode clips ``(N, C, T, V, M)`` to frame features ``(N, T', D)``.

        Args:
            clips: The clips.
            prompt: ``(C, V, M)``, added to every frame after the input normalisation, such as the
                ``offset`` of a :class:`pcm3.prompts.DomainPrompt`.
        """

    def check_clips(self, clips: Tensor, prompt: Tensor | None = None) -> None:
        """Require finite clips of the encoder's sizes, dtype and device, and a prompt of its size.

        One NaN would spoil the running statistics of an input normalisation for good. Values are
        checked on the CPU only, and not in compiled code.

        Args:
            clips: The clips.
            prompt: The prompt to add to every frame.

        Raises:
            ValueError: If clips or prompt do not fit, or a coordinate is not finite.
        """
        check_clips(
            clips,
            joints=self.joints,
            channels=self.in_channels,
            persons=self.persons,
            finite=True,
        )
        weights: list[Tensor] = []
        if not torch.compiler.is_compiling():  # compiling cannot trace the parameters of a GRU
            weights = [weight for weight in self.parameters() if weight.is_floating_point()]
        if weights and clips.device != weights[0].device:
            raise ValueError(
                f"expected clips on {weights[0].device}, the device of the encoder, got clips on "
                f"{clips.device}"
            )
        mixed = clips.device.type != "meta" and torch.is_autocast_enabled(clips.device.type)
        if weights and not mixed and all(weight.dtype != clips.dtype for weight in weights):
            raise ValueError(
                f"expected clips of {weights[0].dtype}, the dtype of the encoder's weights, got "
                f"{clips.dtype}; convert them with clips.to({weights[0].dtype})"
            )
        if prompt is None:
            return
        size = (self.in_channels, self.joints, self.persons)
        if not isinstance(prompt, Tensor) or prompt.shape != size:
            hint = ""
            if isinstance(prompt, Tensor) and prompt.shape == clips.shape[:1]:
                hint = (
                    "; encoders take no lengths: crop padded clips first, with TemporalCropResize "
                    "or center_crop_resize"
                )
            raise ValueError(
                f"expected as second argument a prompt (C={self.in_channels}, V={self.joints}, "
                f"M={self.persons}), the offset of a DomainPrompt, got {shape_or_type(prompt)}"
                f"{hint}"
            )

    def pool(self, frames: Tensor) -> Tensor:
        """Reduce frame features ``(N, T', D)`` to sequence features ``(N, D)``."""
        return frames[:, -1] if self.pooling == "last" else frames.mean(dim=1)

    def encode_views(
        self, views: Sequence[Tensor], prompts: Sequence[Tensor | None]
    ) -> list[Tensor]:
        """Encode several views of a batch, each normalised with its own statistics.

        The result equals that of calling the encoder on each view. An encoder that can run the
        views together overrides this method.
        """
        return [self(view, prompt) for view, prompt in zip(views, prompts, strict=True)]

    def tokens(self, clips: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Encode clips ``(N, C, T, V, M)`` to tokens ``(N, M, T', V, D)``; see ``has_tokens``."""
        raise NotImplementedError(f"{type(self).__name__} has no tokens")

    def maps(self, clips: Tensor) -> Tensor:
        """Encode clips ``(N, C, T, V, M)`` to ``(N, M, T', V, D)``; see ``has_maps``.

        The mean over persons and joints is the feature of a frame.
        """
        raise NotImplementedError(f"{type(self).__name__} has no maps")

    def encode_joints(self, clips: Tensor, joints: Tensor) -> Tensor:
        """Encode clips to frame features ``(N, T', D)`` from some of their joints alone.

        By default the other joints are set to zero. An encoder that can leave them out overrides
        this method.

        Args:
            clips: The clips ``(N, C, T, V, M)``.
            joints: Indices of the V' joints to encode ``(N, V')``.

        Raises:
            ValueError: If clips or joints do not fit.
        """
        self.check_joints(clips, joints)
        hidden = torch.ones(clips.shape[0], self.joints, dtype=torch.bool, device=clips.device)
        hidden = hidden.scatter(1, joints, False)
        frames: Tensor = self(clips.masked_fill(hidden[:, None, None, :, None], 0))
        return frames

    def check_joints(self, clips: Tensor, joints: Tensor) -> None:
        """Require integer indices of joints ``(N, V')``.

        Raises:
            ValueError: If shape or dtype is another.
        """
        rows = isinstance(joints, Tensor) and joints.ndim == 2 and joints.dtype == torch.long
        if not rows or len(joints) != len(clips) or not 1 <= joints.shape[1] <= self.joints:
            raise ValueError(
                f"expected int64 indices of joints (N={len(clips)}, V') with V' in "
                f"[1, {self.joints}], got {shape_or_type(joints)}"
            )

    def present(self, clips: Tensor) -> Tensor:
        """Return which persons of clips ``(N, C, T, V, M)`` count, ``(N, M)``; by default all."""
        return torch.ones(len(clips), self.persons, dtype=torch.bool, device=clips.device)

    def step(
        self, frames: Tensor, hidden: tuple[Tensor, ...] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Encode the next frame of every sequence; see ``causal``.

        Args:
            frames: The frames ``(N, C, V, M)``.
            hidden: State that the previous step returned; None in the first step.

        Returns:
            Features ``(N, D)`` of the frames, and the state for the next step. Later steps must not
            write to the state, because callers may keep it.
        """
        raise NotImplementedError(f"{type(self).__name__} cannot encode frame by frame")

    def set_drop_path(self, rate: float) -> None:
        """Set ``drop_path``; an encoder without drop-path accepts only 0.

        Raises:
            ValueError: If the rate is not in [0, 1), or is not 0 for an encoder without drop-path.
        """
        if rate:
            raise ValueError(f"expected drop_path 0 for a {type(self).__name__}, got {rate}")

    def stack(self) -> Sequence[nn.Module]:
        """Return the layers from bottom to top, for layer-wise learning rates; empty by default.

        Other parameters, such as an input embedding, count as below the bottom layer.
        """
        return ()

    def learning_rate_scales(self, decay: float = 0.8) -> dict[str, float]:
        """Return a learning-rate factor for each parameter name, with layer-wise decay.

        With the L layers of ``stack``, parameters of layer i = 1 ... L get ``decay ** (L - i)``,
        and parameters below get ``decay ** L``. The top layer gets 1, as a head on top should.

        Args:
            decay: Decay from one layer to the next, in (0, 1].

        Raises:
            ValueError: If the decay is out of range.
        """
        if not 0 < decay <= 1:
            raise ValueError(f"expected decay in (0, 1], got {decay}")
        layers = self.stack()
        level = {
            id(parameter): at
            for at, layer in enumerate(layers, start=1)
            for parameter in layer.parameters()
        }
        return {
            name: decay ** (len(layers) - level.get(id(parameter), 0))
            for name, parameter in self.named_parameters()
        }


class EncoderAdapter(Encoder):
    """Encoder around any module that maps clips to features.

    Args:
        module: Maps clips ``(N, C, T, V, M)`` to frame features ``(N, T', D)``, or to sequence
            features ``(N, D)``, which are treated as one frame. A prompt is added to the clips.
        out_features: Width D of the features.
        joints: Number of joints V of the clips.
        in_channels: Number of coordinates C of the clips.
        persons: Number of persons M of the clips.
        pool: Sequence feature: that of the ``"last"`` frame or the ``"mean"`` over frames.
        fixed_frames: Whether the module only takes clips of one length.

    Raises:
        ValueError: If a size is below 1, or the module does not return such features.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 16 * 25 * 2, 8))
        >>> encoder = EncoderAdapter(network, out_features=8, fixed_frames=True)
        >>> encoder(torch.randn(4, 3, 16, 25, 2)).shape
        torch.Size([4, 1, 8])
    """

    def __init__(
        self,
        module: nn.Module,
        out_features: int,
        joints: int = 25,
        in_channels: int = 3,
        persons: int = 2,
        pool: Pool = "mean",
        fixed_frames: bool = False,
    ) -> None:
        super().__init__(joints, in_channels, persons, pool)
        if not isinstance(module, nn.Module):
            raise ValueError(f"expected a torch module, got {shorten(module)}")
        check_count("out_features", out_features)
        self.out_features = out_features
        self.fixed_frames = fixed_frames
        self.module = module

    def forward(self, clips: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Encode clips ``(N, C, T, V, M)``, plus the prompt, to features ``(N, T', D)``.

        Raises:
            ValueError: If clips or prompt do not have the encoder's sizes, a coordinate is not
                finite (checked on the CPU only), or the module does not return such features.
        """
        self.check_clips(clips, prompt)
        features: Tensor = self.module(clips if prompt is None else clips + prompt[:, None])
        if isinstance(features, Tensor) and features.ndim == 2:
            features = features[:, None]
        check_frames(self, features, len(clips))
        return features


def check_encoder(encoder: Encoder) -> None:
    """Require an encoder, compiled or not, with all its sizes.

    Raises:
        ValueError: If it is not an encoder, or a size is missing.
    """
    if not isinstance(getattr(encoder, "_orig_mod", encoder), Encoder):  # set by torch.compile
        raise ValueError(
            f"expected a pcm3.encoders.Encoder, got {shorten(encoder)}; EncoderAdapter turns any "
            "module into one"
        )
    name = type(encoder).__name__
    for size in ("joints", "in_channels", "persons", "out_features", "feature_blocks"):
        value = getattr(encoder, size, None)
        if not isinstance(value, int) or value < 1:
            raise ValueError(f"expected {name}.{size} to be an integer >= 1, got {shorten(value)}")
    forward = signature(encoder.forward)
    try:
        forward.bind("clips", "prompt")
    except TypeError:
        raise ValueError(
            f"expected {name}.forward(clips, prompt=None), got forward{forward}"
        ) from None


def check_frames(encoder: Encoder, frames: Tensor, samples: int) -> None:
    """Require that an encoder returned frame features ``(N, T', D)``.

    Raises:
        ValueError: If it returned another shape or type.
    """
    _check_result(encoder, "", "T', ", frames, samples)


def pool_features(encoder: Encoder, frames: Tensor) -> Tensor:
    """Pool frame features ``(N, T', D)`` to sequence features ``(N, D)``.

    Raises:
        ValueError: If the encoder pools to another shape.
    """
    pooled = encoder.pool(frames)
    _check_result(encoder, ".pool", "", pooled, len(frames))
    return pooled


def _check_result(
    encoder: Encoder, method: str, steps: str, features: Tensor, samples: int
) -> None:
    of_rank = isinstance(features, Tensor) and features.ndim == 2 + bool(steps)
    if not of_rank or (len(features), features.shape[-1]) != (samples, encoder.out_features):
        raise ValueError(
            f"expected {type(encoder).__name__}{method} to return features "
            f"(N={samples}, {steps}D={encoder.out_features}), got {shape_or_type(features)}"
        )
