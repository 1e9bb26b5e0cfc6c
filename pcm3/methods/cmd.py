"""CMD: momentum contrast of joints, motion and bones, which teach each other."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import permutations
from typing import Any, NamedTuple

import torch
from torch import Generator, Tensor, nn

from pcm3.augment import JointJitter, OneOf, Shear, TemporalCropResize
from pcm3.checks import check_transforms
from pcm3.data.dataset import LONGEST
from pcm3.encoders.base import Encoder, check_encoder, check_frames
from pcm3.losses import info_nce, similarities, topk_relational_kl
from pcm3.methods.base import Output, Preset
from pcm3.methods.momentum import KeyNetworks, MomentumContrast
from pcm3.methods.recordings import FULL_SIZE, LAPTOP
from pcm3.methods.settings import EncoderSettings, TrainSettings
from pcm3.queue import MemoryQueue
from pcm3.skeleton import NTU25, Skeleton, Stream, to_stream

STREAMS: tuple[Stream, ...] = ("joint", "motion", "bone")


@dataclass(frozen=True)
class CMDSettings(EncoderSettings):
    """Settings of CMD; the defaults are those of its paper for NTU RGB+D."""

    embedding: int = 128
    """Width of the contrastive embedding."""
    queue_size: int = 16384
    """Number of keys in the memory queue of each stream."""
    momentum: float = 0.999
    """Momentum of the key encoders."""
    temperature: float = 0.07
    """Temperature tau of InfoNCE."""
    student_temperature: float = 0.1
    """Temperature tau_q of the students of the distillation."""
    teacher_temperature: float = 0.05
    """Temperature tau_k of the teachers of the distillation."""
    topk: int = 8192
    """Number of neighbours of the teacher that are distilled."""
    distill_weight: float = 1.0
    """Weight of the distillation; 0 leaves it out."""
    crop_scale: tuple[float, float] = (0.1, 1.0)
    """Range of the cropped share of a sequence."""
    crop_min_frames: int = 64
    """No crop is shorter than this many frames."""
    shear: float = 1.0
    """Amplitude of shear."""
    jitter: float = 1.0
    """Amplitude of joint jitter."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.topk <= self.queue_size:
            raise ValueError(f"expected topk in [1, queue_size={self.queue_size}], got {self.topk}")
        if self.distill_weight < 0:
            raise ValueError(f"expected distill_weight >= 0, got {self.distill_weight}")

    def without_effect(self) -> dict[str, str]:
        """Settings that change nothing under the other settings, each with the reason."""
        names = ("student_temperature", "teacher_temperature", "topk")
        unused = {} if self.distill_weight else dict.fromkeys(names, "distill_weight is 0")
        return super().without_effect() | unused


class CMDViews(NamedTuple):
    """Joints of query and key ``(N, C, T, V, M)``, from which the streams are derived."""

    query: Tensor
    key: Tensor


class Branch(KeyNetworks):
    """The networks and the queue of one further stream."""

    def __init__(self, encoder: Encoder, settings: CMDSettings) -> None:
        super().__init__()
        self.encoder = encoder
        self.add_networks(settings.embedding, settings.momentum)
        self.queue = MemoryQueue(size=settings.queue_size, dim=settings.embedding)


class CMD(MomentumContrast):
    r"""Momentum contrast of three streams, each of which is a teacher of the two others.

    .. math::
        L = \sum_a L_{Info}(z_a, z'_a) + \sum_{a \ne b} \mathrm{KL}\left(
        p_{I}(z'_a, \tau_k) \,\|\, p_{I}(z_b, \tau_q) \right)

    where p are the distributions of the key of the teacher a and the query of the student b, each
    over the queue of its own stream, and I are the teacher's ``topk`` nearest neighbours. The
    queues are filled in step: a position holds the same recording in all of them.

    Args:
        encoder: The query encoder of joints.
        skeleton: Joint layout of the clips.
        settings: Settings of the method; those of the paper if None.
        others: Encoders of motion and bones; by default built like ``encoder``, with new weights.
        crop: Temporal transform of both views, called with ``lengths``; by default a
            ``TemporalCropResize``.
        spatial: Spatial transform of both views; by default either jitter or shear, at random.
        changes: Settings to change, by name, see ``CMDSettings``.

    Attributes:
        branches: The networks by stream; this method itself is that of joints.

    Raises:
        ValueError: If skeleton and encoders disagree, a setting is out of range, or clips do not
            fit.

    Source:
        Mao, Zhou, Lu, Deng, Zhang: CMD: Self-supervised 3D Action Representation Learning with
        Cross-modal Mutual Distillation, ECCV 2022.

    Example:
        >>> from pcm3.encoders import GRUEncoder
        >>> model = CMD(GRUEncoder(NTU25, hidden=8), NTU25, queue_size=32, topk=8)
        >>> output = model(torch.randn(4, 3, 80, 25, 2))
        >>> output.total.backward()
        >>> list(output.terms)[:4]
        ['info_nce/joint', 'info_nce/motion', 'info_nce/bone', 'distill/joint-motion']
        >>> list(model.trained_encoders)
        ['joint', 'motion', 'bone']
    """

    Settings = CMDSettings
    streams = ("joint",)
    name = "cmd"
    settings: CMDSettings

    def __init__(
        self,
        encoder: Encoder,
        skeleton: Skeleton = NTU25,
        settings: CMDSettings | None = None,
        *,
        others: Mapping[Stream, Encoder] | None = None,
        crop: Callable[..., Tensor] | None = None,
        spatial: Callable[..., Tensor] | None = None,
        **changes: Any,
    ) -> None:
        super().__init__(encoder, skeleton, settings, changes)
        check_transforms(crop=crop, spatial=spatial)
        chosen = self.settings
        self.crop = crop or TemporalCropResize(
            chosen.frames, chosen.crop_scale, chosen.crop_min_frames
        )
        self.spatial = spatial or OneOf(JointJitter(amplitude=chosen.jitter), Shear(chosen.shear))
        self.queue = MemoryQueue(size=chosen.queue_size, dim=chosen.embedding)
        further = (
            {stream: _rebuilt(encoder) for stream in STREAMS[1:]} if others is None else others
        )
        _check_others(encoder, further)
        self.others = nn.ModuleDict(
            {stream: Branch(further[stream], chosen) for stream in STREAMS[1:]}
        )

    @property
    def branches(self) -> dict[Stream, KeyNetworks]:
        """Networks and queue of each stream."""
        found: dict[Stream, KeyNetworks] = {"joint": self}
        for stream in STREAMS[1:]:
            branch = self.others[stream]
            assert isinstance(branch, KeyNetworks)
            found[stream] = branch
        return found

    @property
    def trained_encoders(self) -> dict[Stream, Encoder]:
        """The encoders of joints, motion and bones."""
        return {stream: branch.encoder for stream, branch in self.branches.items()}

    def accumulate(self, batches: int) -> None:
        """Set the number of batches that make one step of optimiser, twins and queues."""
        super().accumulate(batches)
        for branch in self.branches.values():
            branch.wait_for(batches)

    @torch.no_grad()
    def make_views(
        self, clips: Tensor, lengths: Tensor | None = None, generator: Generator | None = None
    ) -> CMDViews:
        """Draw two crops of each clip, with a spatial transform each.

        Args:
            clips: Joint coordinates ``(N, C, T, V, M)``.
            lengths: Number of valid frames of each clip ``(N,)``; T by default.
            generator: Random generator on the clips' device.
        """
        self.encoder.check_clips(clips)
        return CMDViews(*(self.draw_view(clips, lengths, generator) for _ in range(2)))

    def loss(self, views: CMDViews) -> Output:
        """Compute the losses of views; in training mode, also update twins and queues.

        Raises:
            ValueError: If the views do not fit the encoders.
        """
        chosen, terms = self.settings, {}
        students, teachers, keys = {}, {}, {}
        for stream, branch in self.branches.items():
            clips = to_stream(views.query, self.skeleton, stream)
            frames = branch.encoder(clips)
            check_frames(branch.encoder, frames, len(clips))
            query = branch.embed(frames)
            key = branch.embed_key(to_stream(views.key, self.skeleton, stream))
            anchors = branch.queue.anchors
            students[stream] = similarities(query, anchors)
            teachers[stream], keys[stream] = similarities(key, anchors), key
            terms[f"info_nce/{stream}"] = info_nce(
                query, key, anchors, chosen.temperature, similarity=students[stream]
            )
        total = torch.stack([*terms.values()]).sum()
        if chosen.distill_weight > 0:
            temperatures = (chosen.student_temperature, chosen.teacher_temperature)
            distilled = {
                f"distill/{teacher}-{student}": topk_relational_kl(
                    students[student], teachers[teacher], chosen.topk, *temperatures
                )
                for teacher, student in permutations(STREAMS, 2)
            }
            total = total + chosen.distill_weight * torch.stack([*distilled.values()]).sum()
            terms |= distilled
        for stream, branch in self.branches.items():
            branch.keep(keys[stream])
        return Output(total, {name: term.detach() for name, term in terms.items()})


def _rebuilt(encoder: Encoder) -> Encoder:
    """An encoder like another one, with new weights."""
    arguments = copy.deepcopy(encoder.arguments)
    if isinstance(arguments.get("skeleton"), dict):
        arguments["skeleton"] = Skeleton.from_dict(arguments["skeleton"])
    kind: Any = type(encoder)
    built: Encoder = kind(**arguments)
    weight = next(encoder.parameters())
    return built.to(weight.device, weight.dtype)


def _check_others(encoder: Encoder, others: Mapping[Stream, Encoder]) -> None:
    if set(others) != set(STREAMS[1:]):
        raise ValueError(f"expected encoders of {STREAMS[1:]}, got {tuple(others)}")
    for stream, other in others.items():
        check_encoder(other)
        sizes, wanted = ((each.joints, each.in_channels, each.persons) for each in (other, encoder))
        if sizes != wanted:
            raise ValueError(
                f"expected an encoder of {stream} for joints, channels, persons {wanted}, got one "
                f"for {sizes}"
            )


_SMALL = CMDSettings(
    frames=32,
    hidden=64,
    pool="mean",
    queue_size=2048,
    momentum=0.99,
    topk=1024,
    crop_scale=(0.5, 1.0),
    crop_min_frames=32,
    shear=0.5,
    jitter=0.5,
)
_SMALL_TRAIN = TrainSettings(
    epochs=200, batch_size=64, optimizer="adamw", lr=2e-3, drop_epoch=160, knn_every=10
)


def _presets() -> Iterator[tuple[str, Preset]]:
    for place, published in (
        ("ntu60-xsub", "79.8 %, three streams 84.1 %"),
        ("ntu60-xview", "86.9 %, three streams 90.9 %"),
    ):
        yield (
            f"{place}-cmd",
            Preset(
                CMDSettings(),
                TrainSettings(batch_size=64, lr=0.01),
                place.split("-")[1],
                FULL_SIZE[place],
                "CMD",
                parameters=296.75,
                forward=17.3,
                published=published,
                normalization="isc",
                max_frames=LONGEST,
            ),
        )
    yield "small-cmd", Preset(_SMALL, _SMALL_TRAIN, "xsub", LAPTOP, "CMD", 1.592, 0.0459)


CMD.presets = dict(_presets())
