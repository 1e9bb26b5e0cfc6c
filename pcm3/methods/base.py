"""What every method offers once it is built."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from torch import Tensor, nn

from pcm3.checks import check_at_least, check_number
from pcm3.encoders import Encoder
from pcm3.methods.features import sequence_features
from pcm3.skeleton import NTU25, Skeleton, Stream, check_skeleton

if TYPE_CHECKING:
    from typing_extensions import Self

    from pcm3.data.dataset import ClipDataset
    from pcm3.methods.settings import TrainConfig


class Method(nn.Module):
    """A pretraining method: called on clips it returns a loss, and it ends with an encoder.

    Attributes:
        encoder: The encoder that is trained.
        skeleton: Joint layout of the clips.
        stream: Derived from the augmented joints.
        frames: T that every clip is resized to.
    """

    encoder: Encoder
    skeleton: Skeleton
    stream: Stream
    frames: int
    _batches_a_step = 1
    _recipe: TrainConfig | None = None
    _published_preset: ClassVar[str]

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
            options: Fields of :class:`pcm3.methods.settings.TrainConfig`, ``epochs=100`` say;
                the others are the preset's, or the method's published ones for a model built
                without one. Where ``epochs`` comes without ``drop_epoch`` and
                ``warmup_epochs``, these keep their proportion to it.

        Raises:
            ValueError: If there is no such option, or the dataset or the run folder do not fit.
        """
        from pcm3.methods.presets import get_preset  # noqa: PLC0415
        from pcm3.methods.settings import change  # noqa: PLC0415
        from pcm3.training.trainer import fit  # noqa: PLC0415

        recipe = self._recipe or get_preset(self._published_preset).train
        check_number("epochs", options.get("epochs", 0))
        if "epochs" in options and not {"drop_epoch", "warmup_epochs"} & options.keys():
            recipe = recipe.scaled_to(options["epochs"])
        fit(self, dataset, change(recipe, options), out, quiet=quiet)
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
            name: ``"ntu60-xsub"`` for example; :data:`pcm3.methods.presets.PRESETS` lists all.
            skeleton: Joint layout of the data.
            persons: M of the data.
            in_channels: C of the data.
            changes: Settings of the model to change, fields of the preset's ``model``.

        Raises:
            ValueError: If there is no such preset or setting, the preset is of another method, or
                it is no skeleton.
        """
        from pcm3.methods.presets import get_preset  # noqa: PLC0415

        check_skeleton(skeleton)
        preset = get_preset(name)
        known = preset.model.builds
        kind: Any = cls if issubclass(cls, known) else known  # with a loss of its own, say
        if not issubclass(kind, cls):
            raise ValueError(
                f"expected a preset of {cls.__name__}, but {name!r} is one of {known.__name__}"
            )
        model = preset.model.build(skeleton, persons, in_channels, kind, **changes)
        model._recipe = preset.train
        return cast("Self", model)
