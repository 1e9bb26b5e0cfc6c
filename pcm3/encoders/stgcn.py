"""Spatial-temporal graph convolution, the encoder of AimCLR and HiCLR."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn

from pcm3.checks import check_count
from pcm3.encoders.base import Encoder, Pool
from pcm3.skeleton import Skeleton


def spatial_partitions(skeleton: Skeleton) -> Tensor:
    r"""Compute normalised adjacency matrices of the joint tree in three spatial partitions.

    Distance from the centre is counted in bones. Partition 0 (root) has the joint itself, 1
    (centripetal) its neighbour that is nearer to the centre, and 2 (centrifugal) its neighbours
    that are farther away. The matrix of partition k is :math:`\Lambda_k^{-1} A_k` with
    :math:`\Lambda_k^{ii} = \sum_j A_k^{ij}`: each row sums to 1, or to 0 if the joint has no such
    neighbour (centripetal at the centre, centrifugal at the tips).

    Args:
        skeleton: Any joint tree.

    Returns:
        ``(3, V, V)`` float32; row i holds the weights of the joints j that joint i gathers from.

    Source:
        Yan et al., AAAI 2018, Sec. 3.4 (spatial configuration partitioning) and Eq. 10. The
        inverse degree is applied on one side, as in their code.

    Example:
        >>> from pcm3.skeleton import NTU25
        >>> spatial_partitions(NTU25).sum(dim=2)[:, NTU25.center]
        tensor([1., 0., 1.])
    """
    joints = range(len(skeleton))
    bones = [(joint, skeleton.parents[joint]) for joint in joints if skeleton.parents[joint] != -1]
    neighbours: list[list[int]] = [[] for _ in joints]
    for a, b in bones:
        neighbours[a].append(b)
        neighbours[b].append(a)
    partitions = torch.zeros(3, len(skeleton), len(skeleton))
    partitions[0] = torch.eye(len(skeleton))
    reached = [skeleton.center]
    for near in reached:  # grows during the loop: breadth first from the centre
        for far in neighbours[near]:
            if far not in reached:
                partitions[1, far, near] = partitions[2, near, far] = 1
                reached.append(far)
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

    def forward(self, joints: Tensor) -> Tensor:
        """Map ``(B, C, T, V)`` to ``(B, C', T, V)``."""
        edges = self.adjacency if self.importance is None else self.adjacency * self.importance
        mixed = rearrange(self.mix(joints), "b (k c) t v -> b c t (k v)", k=len(edges))
        gathered: Tensor = mixed @ rearrange(edges, "k w v -> (k v) w")
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

    def forward(self, joints: Tensor) -> Tensor:
        """Map ``(B, C, T, V)`` to ``(B, C', ceil(T / stride), V)``."""
        out: Tensor = self.body(joints)
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
        dropout: Share of the activations that every block drops in training.
        pool: Sequence feature: the ``"mean"`` over frames or that of the ``"last"`` frame.
        edge_importance: Whether every block learns a weight for each edge.

    Shapes:
        ``(N, C, T, V, M)`` to frame features ``(N, T', D)``.

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
        }
        self.input_norm = nn.BatchNorm1d(len(skeleton) * in_channels)
        adjacency = spatial_partitions(skeleton)
        blocks: list[nn.Module] = []
        width = in_channels
        for stage, count in enumerate(layers):
            for index in range(count):
                step = stride if stage and index == 0 else 1
                wider = channels * 2**stage
                common = (adjacency, temporal_kernel, step, dropout, edge_importance)
                blocks.append(GraphBlock(width, wider, *common, residual=bool(blocks)))
                width = wider
        self.blocks = nn.Sequential(*blocks)
        self.output = nn.Linear(width, out_features)

    @classmethod
    def from_sizes(  # type: ignore[override]
        cls, skeleton: Skeleton, in_channels: int, persons: int, *, hidden: int, pool: Pool
    ) -> STGCNEncoder:
        """Build an encoder with the sizes in the settings of a method."""
        return cls(skeleton, in_channels, persons, out_features=hidden, pool=pool)

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
        self.check_clips(clips, prompt)
        vectors = self.input_norm(rearrange(clips, "n c t v m -> (n m) (v c) t"))
        joints = rearrange(vectors, "(n m) (v c) t -> n m c t v", m=self.persons, v=self.joints)
        if prompt is not None:
            joints = joints + rearrange(prompt, "c v m -> m c 1 v")
        joints = self.blocks(joints.flatten(0, 1))
        people = rearrange(joints, "(n m) c t v -> n t c (v m)", m=self.persons)
        features: Tensor = self.output(people.mean(dim=-1))
        return features
