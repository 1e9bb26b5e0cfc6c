"""The contract of a method: views of clips, a loss of views, and the trained encoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, cast, get_args

from torch import Generator, Tensor, nn

from pcm3.checks import check_at_least, check_number
from pcm3.encoders import Encoder
from pcm3.encoders.base import check_encoder
from pcm3.errors import explain_missing
from pcm3.io.imports import import_path
from pcm3.methods.features import sequence_features
from pcm3.methods.settings import MethodSettings, TrainSettings
from pcm3.skeleton import NTU25, Skeleton, Stream, check_skeleton

if TYPE_CHECKING:
    from typing_extensions import Self

    from pcm3.data.dataset import ClipDataset


class Output(NamedTuple):
    """The result of one step.

    Attributes:
        total: The loss to minimise.
        terms: Unweighted loss terms by name, as detached scalars.
        prediction: Predicted clips ``(N, C, T, V, M)`` of masked prediction; None if nothing is
            predicted.
    """

    total: Tensor
    terms: dict[str, Tensor]
    prediction: Tensor | None = None


class Preset(NamedTuple):
    """A named set of settings, with the data that it is for and what it costs.

    Attributes:
        model: Settings of the method.
        train: Settings of training.
        protocol: Protocol that selects the training sequences.
        data: The recordings, a key of :data:`pcm3.methods.catalog.DATA`.
        text: Short description of the method.
        parameters: Number of parameters in millions, for 25 joints and two persons.
        forward: 10^9 multiply-accumulates of the forward pass of a sequence, all views and losses.
        published: Accuracy of the linear evaluation in papers and of published checkpoints, not of
            runs with this library; empty if unknown.
        normalization: Normalization of the recordings in the paper; None without a paper.
        max_frames: Number of frames at which longer recordings are truncated; None for no limit.
    """

    model: MethodSettings
    train: TrainSettings
    protocol: str
    data: str
    text: str
    parameters: float
    forward: float
    published: str = ""
    normalization: Literal["none", "center", "isc", "sgn"] | None = None
    max_frames: int | None = None


class Method(nn.Module, ABC):
    """A pretraining method: a module that maps clips to a loss and holds the trained encoder.

    A custom method subclasses it and defines ``make_views`` and ``loss``. With a ``Settings`` class
    it can be trained from the command line; presets are optional.
    :class:`pcm3.methods.simclr.SimCLR` is a short example.

    Args:
        encoder: The encoder to train, an instance of ``encoder_type``.
        skeleton: Joint layout of the clips.
        settings: Settings of the method; its defaults if None.
        changes: Settings to change, by name, except those that only a new encoder needs.

    Attributes:
        encoder: The encoder that is trained.
        skeleton: Joint layout of the clips.
        settings: All settings.
        stream: Input stream, derived from the augmented joints.
        frames: Number of frames T that each clip is resized to.
        pairs: Whether batches are pairs: each movement twice, shown in two ways.
        past: What the model was trained on, a :class:`pcm3.runs.seen.Past`; None before the first
            training.
        Settings: Class of the method's settings.
        encoder_type: Class of the encoders that the method can train.
        streams: Input streams that the method can train on.
        recipe: Training settings of a model that was built without a preset.
        presets: Presets by name.
        name: Name of the method in commands and run folders; the import path of a custom method.

    Raises:
        ValueError: If encoder, skeleton and stream do not fit each other or the method, or a
            setting is unknown or out of range.
    """

    Settings: ClassVar[type[MethodSettings]] = MethodSettings
    encoder_type: ClassVar[type[Encoder]] = Encoder  # type: ignore[type-abstract]
    streams: ClassVar[tuple[Stream, ...]] = get_args(Stream)
    recipe: ClassVar[TrainSettings] = TrainSettings()
    presets: ClassVar[Mapping[str, Preset]] = {}
    name: ClassVar[str]

    encoder: Encoder
    crop: Callable[..., Tensor]
    spatial: Callable[..., Tensor]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = import_path(cls)
        owner = vars(cls.Settings).get("method")
        others = owner is not None and owner.name != cls.name  # equal if a class is defined anew
        if "Settings" not in cls.__dict__ or others:  # each settings class belongs to one method
            cls.Settings = type(f"{cls.__name__}Settings", (cls.Settings,), {})
        cls.Settings.method = cls
        if "__init__" in cls.__dict__:
            cls.__signature__ = _signature(cls)  # type: ignore[attr-defined]

    def __init__(
        self,
        encoder: Encoder,
        skeleton: Skeleton = NTU25,
        settings: MethodSettings | None = None,
        changes: Mapping[str, Any] = {},
    ) -> None:
        super().__init__()
        settings = self.Settings() if settings is None else settings
        ours = isinstance(settings, MethodSettings)
        if not ours or not isinstance(self, getattr(settings, "method", Method)):
            raise ValueError(f"expected {self.Settings.__name__}, got {settings!r:.80}")
        self._check_fit(encoder, skeleton, settings, changes)
        self.settings = settings.changed(changes)
        self.encoder = encoder
        self.skeleton = skeleton
        self.stream: Stream = self.settings.stream
        self.frames = self.settings.frames
        self.pairs = bool(getattr(self.settings, "pairs", False))
        self.past: Any = None
        self._batches_a_step = 1
        self._recipe = self.recipe
        if self.stream not in self.streams:
            raise ValueError(f"expected a stream among {self.streams}, got {self.stream!r}")

    def _check_fit(
        self,
        encoder: Encoder,
        skeleton: Skeleton,
        settings: MethodSettings,
        changes: Mapping[str, Any],
    ) -> None:
        if self.encoder_type is Encoder:
            check_encoder(encoder)  # any encoder, also a compiled one
        elif not isinstance(encoder, self.encoder_type):
            wanted = self.encoder_type.__name__
            raise ValueError(f"expected a {wanted}, got {type(encoder).__name__}")
        check_skeleton(skeleton)
        if encoder.joints != len(skeleton):
            raise ValueError(
                f"expected an encoder for the {len(skeleton)} joints of skeleton "
                f"{skeleton.name!r}, got one for {encoder.joints}"
            )
        settings.check_names(changes)
        taken = [name for name in changes if name in settings.of_encoder()]
        if taken:
            raise ValueError(
                f"{', '.join(taken)}: a setting of the encoder, which is built already; "
                f"{type(self).__name__}.Settings(...).build(skeleton, persons) builds both"
            )

    @abstractmethod
    def make_views(
        self, clips: Tensor, lengths: Tensor | None = None, generator: Generator | None = None
    ) -> Any:
        """Draw the random views of a training step.

        Args:
            clips: Joint coordinates ``(N, C, T, V, M)``.
            lengths: Number of valid frames of each clip ``(N,)``; T by default.
            generator: Random generator on the clips' device.

        Returns:
            The views, for ``loss``.
        """

    def draw_view(
        self, clips: Tensor, lengths: Tensor | None = None, generator: Generator | None = None
    ) -> Tensor:
        """Crop and transform each clip by ``self.crop`` and ``self.spatial``.

        ``make_views`` may call it. It does not check the clips, and does not derive the stream.

        Args:
            clips: Joint coordinates ``(N, C, T, V, M)``.
            lengths: Number of valid frames of each clip ``(N,)``; T by default.
            generator: Random generator on the clips' device.

        Returns:
            Joint coordinates ``(N, C, frames, V, M)``.
        """
        cropped = self.crop(clips, lengths, generator=generator)
        view: Tensor = self.spatial(cropped, generator=generator)
        return view

    @abstractmethod
    def loss(self, views: Any) -> Output:
        """Compute the loss of views, which need not come from ``make_views``."""

    def forward(
        self, clips: Tensor, lengths: Tensor | None = None, generator: Generator | None = None
    ) -> Output:
        """Draw views of clips ``(N, C, T, V, M)`` and compute their loss."""
        return self.loss(self.make_views(clips, lengths, generator))

    def accumulate(self, batches: int) -> None:
        """Set the number of batches whose gradients make one optimiser step.

        Momentum encoder and queue are then updated once per step, as with one large batch.

        Raises:
            ValueError: If the number is below 1.
        """
        check_at_least("batches", batches, 1)
        self._batches_a_step = batches

    def progress(self, epoch: int, epochs: int, step: int) -> None:
        """Learn how far training is, before each optimiser step; by default nothing happens.

        A schedule of a method, such as that of a momentum, follows from the position alone, so that
        a run that continues needs no state of it. It may only set values of buffers in place:
        captured steps do not run other code again.

        Args:
            epoch: Number of complete epochs.
            epochs: Number of all epochs.
            step: Number of optimiser steps before this one.
        """

    @property
    def static(self) -> bool:
        """Whether all batches of one shape need the same operations.

        The host then decides nothing from values, or from a state of its own such as a count of
        steps, and training may capture steps as CUDA graphs. By default true if the method, its
        modules and its transforms are classes of this package or of torch.
        """
        parts = [*self.modules(), *(value for value in vars(self).values() if callable(value))]
        parts += [inner for part in parts for inner in getattr(part, "transforms", ())]
        return all(type(part).__module__.partition(".")[0] in ("pcm3", "torch") for part in parts)

    @property
    def trained_encoder(self) -> Encoder:
        """The encoder that pretraining produces."""
        return self.encoder

    @property
    def trained_encoders(self) -> dict[Stream, Encoder]:
        """The encoders that pretraining produces, by stream.

        Only ``trained_encoder`` by default; a method that trains several streams together returns
        several. Evaluations use the first one by default.
        """
        return {self.stream: self.trained_encoder}

    def features(self, clips: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Sequence features ``(N, D)`` of clips ``(N, C, T, V, M)`` for downstream use.

        The encoder runs in evaluation mode on a centre crop of 95 %, without masks or prompts.

        Args:
            clips: Joint coordinates, from which the stream is derived.
            lengths: Number of valid frames of each clip ``(N,)``; T by default.
        """
        return sequence_features(
            self.trained_encoder, clips, lengths, self.skeleton, self.stream, self.frames
        )

    def fit(
        self,
        dataset: ClipDataset,
        out: str | Path | None = None,
        *,
        quiet: bool = False,
        **options: Any,
    ) -> Self:
        """Pretrain on a dataset; needs the ``train`` extra.

        Args:
            dataset: The training sequences: joint coordinates in the order of ``skeleton``, from
                which the stream is derived.
            out: Run folder. A run in it is continued. Nothing is written without it.
            quiet: Show no progress.
            options: Fields of :class:`pcm3.methods.settings.TrainSettings`, for example
                ``epochs=100``. Other fields keep the values of the preset, or of the method's
                ``recipe`` for a model built without one. If ``epochs`` is given without
                ``drop_epoch`` and ``warmup_epochs``, both are scaled in proportion.

        Raises:
            ValueError: If an option is unknown or has no effect under the others, or the dataset or
                the run folder does not fit.
        """
        with explain_missing():
            from pcm3.training.trainer import fit  # noqa: PLC0415

        recipe = self._recipe
        check_number("epochs", options.get("epochs", 0))
        if "epochs" in options and not {"drop_epoch", "warmup_epochs"} & options.keys():
            recipe = recipe.scaled_to(options["epochs"])
        settings = recipe.changed(options)
        settings.check_effect(options)
        fit(self, dataset, settings, out, quiet=quiet)
        return self

    @classmethod
    def from_preset(
        cls,
        name: str,
        skeleton: Skeleton = NTU25,
        persons: int = 2,
        in_channels: int = 3,
        **changes: Any,
    ) -> Self:
        """Build the model of a preset, which ``fit`` then trains with the preset's settings.

        Args:
            name: Name of the preset, for example ``"ntu60-xsub"``; ``pcm3 presets`` lists all.
            skeleton: Joint layout of the data.
            persons: Number of persons M of the data.
            in_channels: Number of coordinates C of the data.
            changes: Settings of the model to change, by name.

        Raises:
            ValueError: If the preset or a setting is unknown, a changed setting has no effect under
                the others, the preset belongs to another method, or ``skeleton`` is not a skeleton.
        """
        check_skeleton(skeleton)
        preset = find_preset(name)
        known = preset.model.method
        kind = cls if issubclass(cls, known) else known  # a subclass may define another loss
        if not issubclass(kind, cls):
            raise ValueError(
                f"expected a preset of {cls.__name__}, got {name!r}, a preset of {known.__name__}"
            )
        settings = kind.Settings.sharing(preset.model).changed(changes)
        settings.check_effect(changes)
        model = settings.build(skeleton, persons, in_channels)
        model._recipe = preset.train
        return cast("Self", model)


def methods(kind: type[Method] = Method) -> Iterator[type[Method]]:
    """Iterate over all imported methods, those of this package first."""
    for method in kind.__subclasses__():
        yield method
        yield from methods(method)


def find_preset(name: str) -> Preset:
    """Find a preset of any method by its name.

    Raises:
        ValueError: If the name is unknown; the message suggests similar names.
    """
    presets: dict[str, Preset] = {}
    for method in methods():
        presets |= method.presets
    if name not in presets:
        near = get_close_matches(str(name), presets, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"expected a preset that pcm3 presets lists, got {name!r}{hint}")
    return presets[name]


def _signature(method: type[Method]) -> Any:
    """Signature of the constructor, with the single settings in place of ``**changes``."""
    constructor = signature(method.__init__)
    _, *parameters = constructor.parameters.values()  # without self
    if not parameters or parameters[-1].kind is not Parameter.VAR_KEYWORD:
        return constructor.replace(parameters=parameters)
    hidden = {*method.Settings.of_encoder(), *constructor.parameters}
    settings = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for field in fields(method.Settings)
        if field.name not in hidden
    ]
    return constructor.replace(parameters=[*parameters[:-1], *settings])
