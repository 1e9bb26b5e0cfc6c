"""Spatial-temporal graph convolution, the encoder of AimCLR and HiCLR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import torch
from einops import rearrange
from torch import Tensor, nn

from pcm3.checks import check_count
from pcm3.encoders.base import Encoder, Pool
from pcm3.skeleton import Skeleton

Graph = Literal["paper", "code"]


def spatial_partitions(skeleton: Skeleton, graph: Graph = "paper") -> Tensor:
    r"""Compute normalised adjacency matrices of the joint tree in three spatial partitions.

    Distance from the centre is counted in bones. Partition 0 (root) has the joint itself, 1
    (centripetal) its neighbour that is nearer to the centre, and 2 (centrifugal) its neighbours
    that are farther away. The matrix of partition k is :math:`\Lambda_k^{-1} A_k` with
    :math:`\Lambda_k^{ii} = \sum_j A_k^{ij}`: each row sums to 1, or to 0 if the joint has no such
    neighbour (centripetal at the centre, centrifugal at the tips).

    The code of SkeletonCLR and AimCLR, ``graph="code"``, differs. The centre is the root of the
    tree, distances above one bone all count as equal, and neighbours at an equal distance count as
    farther away. Those that are farther are in partition 1, those that are nearer in partition 2,
    which has only the bones that lead outward from the root and its neighbours. Each matrix is
    divided by the number of all neighbours, the joint included: the rows sum to 1 together.

    Args:
        skeleton: Any joint tree.
        graph: The definition, ``"paper"`` or ``"code"``.

    Returns:
        ``(3, V, V)`` float32; row i holds the weights of the joints j that joint i gathers from.

    Raises:
        ValueError: If the graph is unknown.

    Source:
        Yan et al., AAAI 2018, Sec. 3.4 (spatial configuration partitioning) and Eq. 10. The
        inverse degree is applied on one side, as in their code.

    Example:
        >>> from pcm3.skeleton import NTU25
        >>> spatial_partitions(NTU25).sum(dim=2)[:, NTU25.center]
        tensor([1., 0., 1.])
    """
    if graph not in get_args(Graph):
        raise ValueError(f"expected a graph among {get_args(Graph)}, got {graph!r}")
    joints = range(len(skeleton))
    bones = [(joint, skeleton.parents[joint]) for joint in joints if skeleton.parents[joint] != -1]
    neighbours: list[list[int]] = [[] for _ in joints]
    for a, b in bones:
        neighbours[a].append(b)
        neighbours[b].append(a)
    partitions = torch.zeros(3, len(skeleton), len(skeleton))
    partitions[0] = torch.eye(len(skeleton))
    if graph == "code":
        root = skeleton.parents.index(-1)
        far = [0 if joint == root else 1 + (joint not in neighbours[root]) for joint in joints]
        for joint in joints:
            for other in neighbours[joint]:
                partitions[2 if far[other] < far[joint] else 1, joint, other] = 1
        return partitions / partitions.sum(dim=(0, 2))[:, None]
    reached = [skeleton.center]
    for near in reached:  # grows during the loop: breadth first from the centre
        for other in neighbours[near]:
            if other not in reached:
                partitions[1, other, near] = partitions[2, near, other] = 1
                reached.append(other)
    return partitions / partitions.sum(dim=2, keepdim=True).clamp(min=1)


class _GraphConvolution(nn.Module):
    """A 1 x 1 convolution for each partition, averaged over the neighbours and summed."""

    adjacency: Tensor

    def __init__(
        self, in_channels: int, out_channels: int, adjacency: Tensor, edge_importance: bool
    ) -> None:
        super().__init__()
        self.mix = nn.Conv2d(in_channels, out_channels * len(adjacency), kernel_size=1)
        self.register_buffer("adjacency", adjacency, persistent=False)
        self.importance = nn.Parameter(torch.ones_like(adjacency)) if edge_importance else None

    def forward(self, joints: Tensor, kept: Tensor | None = None) -> Tensor:
        """Map ``(B, C, T, V)`` to ``(B, C', T, V)``.

        Args:
            joints: The joints, or those of them that were kept ``(B, C, T, V')``.
            kept: One-hot rows ``(B, V', V)`` that pick the joints that were kept; all if None.
        """
        edges = self.adjacency if self.importance is None else self.adjacency * self.importance
        mixed = rearrange(self.mix(joints), "b (k c) t v -> b c t (k v)", k=len(edges))
        if kept is None:
            weights = rearrange(edges, "k w v -> (k v) w")
        else:
            among = kept[:, None] @ edges @ kept.mT[:, None]
            weights = rearrange(among, "b k w v -> b 1 (k v) w")
        gathered: Tensor = mixed @ weights
        return gathered


class GraphBlock(nn.Module):
    """Convolution over the graph, then over time, with a shortcut around both.

    Args:
        in_channels: Number of channels C of the input.
        out_channels: Number of channels C' of the output.
        adjacency: Normalised adjacency of each partition ``(K, V, V)``.
        kernel: Number of frames of the temporal convolution; odd.
        stride: Temporal stride.
        dropout: Share of the activations dropped in training.
        edge_importance: Whether the block learns a weight for each edge.
        residual: Whether the block has the shortcut.

    Shapes:
        ``(B, C, T, V)`` to ``(B, C', ceil(T / stride), V)``.

    Source:
        ST-GCN (Yan, Xiong, Lin, AAAI 2018).
    """

    compiles = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        adjacency: Tensor,
        kernel: int,
        stride: int,
        dropout: float,
        edge_importance: bool,
        residual: bool,
    ) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _GraphConvolution(in_channels, out_channels, adjacency, edge_importance),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(),
            nn.Conv2d(out_channels, out_channels, (kernel, 1), (stride, 1), (kernel // 2, 0)),
            nn.BatchNorm2d(out_channels),
            nn.Dropout(dropout),
        )
        self.shortcut: nn.Module | None = None
        if residual and (in_channels, stride) == (out_channels, 1):
            self.shortcut = nn.Identity()
        elif residual:
            self.shortcut = nn.Sequential(
                nn.Conv2d(in_channels, out_channels, 1, (stride, 1)), nn.BatchNorm2d(out_channels)
            )

    def forward(self, joints: Tensor, kept: Tensor | None = None) -> Tensor:
        """Map ``(B, C, T, V)`` to ``(B, C', ceil(T / stride), V)``; ``kept`` as in the graph."""
        graph, *others = self.body
        out: Tensor = graph(joints, kept)
        for layer in others:
            out = layer(out)
        return torch.relu(out if self.shortcut is None else out + self.shortcut(joints))


class STGCNEncoder(Encoder):
    """Convolutions over the joint tree and over time, in residual blocks.

    The joints are batch-normalised with the same statistics for all persons, then go through stages
    of blocks, one person at a time. Every stage after the first doubles the channels and divides
    the number of frames by ``stride``. A frame feature is a linear map of the mean over joints and
    persons.

    Args:
        skeleton: The joint tree, or what its ``to_dict`` returned.
        in_channels: Number of coordinates C of a joint.
        persons: Number of persons M of a clip.
        channels: Width of the first stage. 16 is AimCLR's and HiCLR's, 64 ST-GCN's.
        layers: Number of blocks of each stage.
        stride: Temporal stride of the first block of each later stage. With three stages, T' is T
            divided by it twice, rounded up. 1 keeps every frame, at more than twice the cost.
        out_features: Width D of the features.
        temporal_kernel: Number of frames of a temporal convolution; odd.
        dropout: Share of the activations that every block but the first drops in training.
        pool: Sequence feature: the ``"mean"`` over frames or that of the ``"last"`` frame.
        edge_importance: Whether every block learns a weight for each edge.
        graph: Partitions of the neighbours, as in the ``"paper"`` or in the ``"code"`` of
            SkeletonCLR and AimCLR, see :func:`spatial_partitions`.
        last_channels: Width of the last block; by default that of its stage. If it is
            ``out_features``, there is no linear map, as in SkeletonCLR and AimCLR.

    Shapes:
        ``(N, C, T, V, M)`` to frame features ``(N, T', D)``.
        Encoders take no lengths: crop padded clips first, with
        :class:`pcm3.augment.TemporalCropResize` or
        :func:`pcm3.augment.functional.center_crop_resize`.

    Raises:
        ValueError: If the skeleton is only a number, a size is out of range, or clips or a
            prompt do not fit.

    Source:
        Yan et al.: Spatial Temporal Graph Convolutional Networks, AAAI 2018; sizes of AimCLR
        (Guo et al., AAAI 2022).

    Example:
        >>> from pcm3.skeleton import NTU25
        >>> encoder = STGCNEncoder(NTU25)
        >>> frames = encoder(torch.randn(4, 3, 64, 25, 2))
        >>> frames.shape, encoder.pool(frames).shape
        (torch.Size([4, 16, 256]), torch.Size([4, 256]))
    """

    has_maps = True

    def __init__(
        self,
        skeleton: Skeleton | Mapping[str, Any],
        in_channels: int = 3,
        persons: int = 2,
        channels: int = 16,
        layers: Sequence[int] = (4, 3, 3),
        stride: int = 2,
        out_features: int = 256,
        temporal_kernel: int = 9,
        dropout: float = 0.0,
        pool: Pool = "mean",
        edge_importance: bool = True,
        graph: Graph = "paper",
        last_channels: int | None = None,
    ) -> None:
        if isinstance(skeleton, Mapping):
            skeleton = Skeleton.from_dict(skeleton)
        if not isinstance(skeleton, Skeleton):
            raise ValueError(
                f"expected a Skeleton such as pcm3.NTU25, whose joint tree is the graph, got "
                f"{skeleton!r}"
            )
        super().__init__(len(skeleton), in_channels, persons, pool)
        sizes = {"channels": channels, "stride": stride, "out_features": out_features}
        if last_channels is not None:
            sizes["last_channels"] = last_channels
        for name, size in sizes.items():
            check_count(name, size)
        if not layers or min(layers) < 1:
            raise ValueError(f"expected layers >= 1 in each of one or more stages, got {layers}")
        if temporal_kernel < 1 or temporal_kernel % 2 == 0:
            raise ValueError(f"expected an odd temporal_kernel >= 1, got {temporal_kernel}")
        if not 0 <= dropout < 1:
            raise ValueError(f"expected dropout in [0, 1), got {dropout}")
        self.out_features = out_features
        self._arguments: dict[str, Any] = {
            "skeleton": skeleton.to_dict(),
            "in_channels": in_channels,
            "persons": persons,
            "channels": channels,
            "layers": list(layers),
            "stride": stride,
            "out_features": out_features,
            "temporal_kernel": temporal_kernel,
            "dropout": dropout,
            "pool": pool,
            "edge_importance": edge_importance,
            "graph": graph,
            "last_channels": last_channels,
        }
        self.input_norm = nn.BatchNorm1d(len(skeleton) * in_channels)
        adjacency = spatial_partitions(skeleton, graph)
        widths = [channels * 2**stage for stage, count in enumerate(layers) for _ in range(count)]
        widths[-1] = last_channels or widths[-1]
        firsts = {sum(layers[:stage]) for stage in range(1, len(layers))}
        blocks: list[nn.Module] = []
        width = in_channels
        for index, wider in enumerate(widths):
            step, dropped = stride if index in firsts else 1, dropout if blocks else 0.0
            common = (adjacency, temporal_kernel, step, dropped, edge_importance)
            blocks.append(GraphBlock(width, wider, *common, residual=bool(blocks)))
            width = wider
        self.blocks = nn.Sequential(*blocks)
        as_they_are = last_channels == out_features
        self.output = nn.Identity() if as_they_are else nn.Linear(width, out_features)

    @classmethod
    def from_sizes(  # type: ignore[override]
        cls,
        skeleton: Skeleton,
        in_channels: int,
        persons: int,
        *,
        hidden: int,
        pool: Pool,
        **arguments: Any,
    ) -> STGCNEncoder:
        """Build an encoder with the sizes in the settings of a method, and further arguments."""
        arguments |= {"out_features": hidden, "pool": pool}
        encoder = super().from_sizes(skeleton, in_channels, persons, **arguments)
        assert isinstance(encoder, cls)
        return encoder

    @property
    def arguments(self) -> dict[str, Any]:
        """Constructor arguments that rebuild the encoder."""
        return dict(self._arguments)

    def forward(self, clips: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Encode clips ``(N, C, T, V, M)`` to frame features ``(N, T', D)``.

        Args:
            clips: The clips.
            prompt: ``(C, V, M)``, added to every frame after the input normalisation.

        Raises:
            ValueError: If clips or prompt do not have this encoder's C, V and M, or the clips its
                dtype.
        """
        return self._average(self._map(clips, prompt))

    def maps(self, clips: Tensor) -> Tensor:
        """Encode clips ``(N, C, T, V, M)`` to ``(N, M, T', V, D)``, whose mean is a frame feature.

        Raises:
            ValueError: For the same reasons as calling the encoder.
        """
        joints = rearrange(self._map(clips), "(n m) c t v -> n m t v c", m=self.persons)
        maps: Tensor = self.output(joints)
        return maps

    def encode_joints(self, clips: Tensor, joints: Tensor) -> Tensor:
        """Encode some joints ``(N, V')`` of clips; the others are taken out of the graph.

        The input is normalised before. Averages are over the joints that are left.
        """
        self.check_joints(clips, joints)
        return self._average(self._map(clips, joints=joints))

    def _map(
        self, clips: Tensor, prompt: Tensor | None = None, joints: Tensor | None = None
    ) -> Tensor:
        """Return the output ``(N M, C', T', V)`` of the last block."""
        self.check_clips(clips, prompt)
        vectors = self.input_norm(rearrange(clips, "n c t v m -> (n m) (v c) t"))
        rows: Tensor = rearrange(
            vectors, "(n m) (v c) t -> n m c t v", m=self.persons, v=self.joints
        )
        if prompt is not None:
            rows = rows + rearrange(prompt, "c v m -> m c 1 v")
        rows, kept = rows.flatten(0, 1), None
        if joints is not None:
            everywhere = torch.arange(self.joints, device=clips.device)
            kept = (joints[..., None] == everywhere).to(rows.dtype)  # (N, V', V)
            kept = kept.repeat_interleave(self.persons, dim=0)
            rows = rows @ kept.mT[:, None]
        for block in self.blocks:
            rows = block(rows, kept)
        return rows

    def _average(self, rows: Tensor) -> Tensor:
        people = rearrange(rows, "(n m) c t v -> n t c (v m)", m=self.persons)
        features: Tensor = self.output(people.mean(dim=-1))
        return features
