"""What a method is: it makes views of clips, and a loss of views, and ends with encoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import fields
from difflib import get_close_matches
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, cast, get_args

from torch import Generator, Tensor, nn

from pcm3.checks import check_at_least, check_number
from pcm3.encoders import Encoder
from pcm3.encoders.base import check_encoder
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
        terms: Each of its unweighted terms as a detached scalar, by name.
        prediction: What a masked prediction gave for the hidden joints, ``(N, C, T, V, M)``; None
            of a method, or a step, that predicts nothing.
    """

    total: Tensor
    terms: dict[str, Tensor]
    prediction: Tensor | None = None


class Preset(NamedTuple):
    """A named set of settings: what is trained and how, what for, and what it costs.

    Attributes:
        model: Settings of the method.
        train: Settings of training.
        protocol: Which sequences are the training part.
        data: The recordings, one of :data:`pcm3.methods.catalog.DATA`.
        text: The method in a few words.
        parameters: Millions of them, for 25 joints and two persons.
        forward: 10^9 multiply-accumulates of a sequence, forward, all views and losses.
        published: Accuracy of the linear evaluation in papers and of published checkpoints, not of
            runs with this library; empty if none is known.
        normalization: Recipe of the recordings that the paper trains on; None if there is no paper.
        max_frames: Frames after which longer recordings are cut off; None if all count.
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
    """A pretraining method: called on clips it returns a loss, and it ends with an encoder.

    A method of your own is a subclass with ``make_views`` and ``loss``. With ``Settings`` of its
    own it can be trained from the command line; presets are optional.
    :class:`pcm3.methods.simclr.SimCLR` is a short one.

    Args:
        encoder: What is trained; one that ``encoder_type`` allows.
        skeleton: Joint layout of the clips.
        settings: Settings of the method; its defaults if None.
        changes: Settings to change, by name; not those that only a new encoder needs.

    Attributes:
        encoder: The encoder that is trained.
        skeleton: Joint layout of the clips.
        settings: All settings.
        stream: Derived from the augmented joints.
        frames: T that each clip is resized to.
        Settings: Class of the method's settings.
        encoder_type: Class of the encoders that the method can train.
        streams: Input streams that the method can train on.
        recipe: How a model trains that was built without a preset.
        presets: Name to preset.
        name: What commands and run folders call the method; of your own its import path.

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

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = import_path(cls)
        if "Settings" not in cls.__dict__:  # settings know whose they are
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
        if not isinstance(self, getattr(settings, "method", Method)):
            raise ValueError(f"expected {self.Settings.__name__}, got {settings!r:.80}")
        self._check_fit(encoder, skeleton, settings, changes)
        self.settings = settings.changed(changes)
        self.encoder = encoder
        self.skeleton = skeleton
        self.stream: Stream = self.settings.stream
        self.frames = self.settings.frames
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
            check_encoder(encoder)  # anything that behaves like one
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
        """Draw everything random of a step.

        Args:
            clips: Joint coordinates ``(N, C, T, V, M)``.
            lengths: Valid frames of each clip ``(N,)``; T by default.
            generator: Source of randomness on the clips' device.

        Returns:
            What ``loss`` takes.
        """

    @abstractmethod
    def loss(self, views: Any) -> Output:
        """The loss of views, from ``make_views`` or of your own."""

    def forward(
        self, clips: Tensor, lengths: Tensor | None = None, generator: Generator | None = None
    ) -> Output:
        """Draw the views of clips ``(N, C, T, V, M)`` and return their loss."""
        return self.loss(self.make_views(clips, lengths, generator))

    def accumulate(self, batches: int) -> None:
        """Let so many batches make one optimiser step from now on.

        What moves once a step then waits for the last of them: the outcome for the momentum
        encoder and the queue is that of one large batch.

        Raises:
            ValueError: If it is below 1.
        """
        check_at_least("batches", batches, 1)
        self._batches_a_step = batches

    @property
    def trained_encoder(self) -> Encoder:
        """The encoder that pretraining is for."""
        return self.encoder

    @property
    def trained_encoders(self) -> dict[Stream, Encoder]:
        """The encoders that pretraining is for, by their stream.

        There is one, ``trained_encoder``, unless a method trains several streams together. The
        first one is what evaluations take if they are not told otherwise.
        """
        return {self.stream: self.trained_encoder}

    def features(self, clips: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Sequence features ``(N, D)`` of clips ``(N, C, T, V, M)`` for downstream use.

        Evaluation mode, centre crop of 95 %, nothing hidden, no prompts.

        Args:
            clips: Joint coordinates; the stream is derived here.
            lengths: Valid frames of each clip ``(N,)``; T by default.
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
            dataset: The training sequences: joint coordinates in the order of ``skeleton``; the
                stream is derived here.
            out: Run folder; a run that is there already is continued. Nothing is written
                without it.
            quiet: Show no progress.
            options: Fields of :class:`pcm3.methods.settings.TrainSettings`, ``epochs=100`` say;
                the others are the preset's, or the method's published ones for a model built
                without one. Where ``epochs`` comes without ``drop_epoch`` and
                ``warmup_epochs``, these keep their proportion to it.

        Raises:
            ValueError: If there is no such option, or the dataset or the run folder do not fit.
        """
        from pcm3.training.trainer import fit  # noqa: PLC0415

        recipe = self._recipe
        check_number("epochs", options.get("epochs", 0))
        if "epochs" in options and not {"drop_epoch", "warmup_epochs"} & options.keys():
            recipe = recipe.scaled_to(options["epochs"])
        fit(self, dataset, recipe.changed(options), out, quiet=quiet)
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
        """Build the model of a named preset; ``fit`` then trains by the preset's recipe.

        Args:
            name: ``"ntu60-xsub"`` for example; ``pcm3 presets`` lists all.
            skeleton: Joint layout of the data.
            persons: M of the data.
            in_channels: C of the data.
            changes: Settings of the model to change.

        Raises:
            ValueError: If there is no such preset or setting, the preset is of another method, or
                it is no skeleton.
        """
        check_skeleton(skeleton)
        preset = find_preset(name)
        known = preset.model.method
        kind = cls if issubclass(cls, known) else known  # with a loss of its own, say
        if not issubclass(kind, cls):
            raise ValueError(
                f"expected a preset of {cls.__name__}, but {name!r} is one of {known.__name__}"
            )
        model = preset.model.changed(changes).build(skeleton, persons, in_channels, kind)
        model._recipe = preset.train
        return cast("Self", model)


def methods(kind: type[Method] = Method) -> Iterator[type[Method]]:
    """All methods that were imported, those of this package first."""
    for method in kind.__subclasses__():
        yield method
        yield from methods(method)


def find_preset(name: str) -> Preset:
    """The preset of a name, of any method.

    Raises:
        ValueError: If there is none of that name; the message says which are like it.
    """
    presets: dict[str, Preset] = {}
    for method in methods():
        presets |= method.presets
    if name not in presets:
        near = get_close_matches(str(name), presets, n=3)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ValueError(f"expected one of the presets that pcm3 presets lists, got {name!r}{hint}")
    return presets[name]


def _signature(method: type[Method]) -> Any:
    """That of the constructor, with each setting in the place of ``**changes``."""
    own = signature(method.__init__)
    parameters = [each for each in own.parameters.values() if each.name != "self"]
    if not parameters or parameters[-1].kind is not Parameter.VAR_KEYWORD:
        return own.replace(parameters=parameters)
    hidden = {*method.Settings.of_encoder(), *own.parameters}
    settings = [
        Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=field.type)
        for field in fields(method.Settings)
        if field.name not in hidden
    ]
    return own.replace(parameters=[*parameters[:-1], *settings])
