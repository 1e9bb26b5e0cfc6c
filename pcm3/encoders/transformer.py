"""The joint-time transformer of MAMP."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from pcm3.encoders.base import Encoder
from pcm3.skeleton import Skeleton, joint_count


class TransformerEncoder(Encoder):
    """Self-attention between all joints at all times of one person.

    A token is one joint during ``patch`` consecutive frames. Each person is encoded separately; a
    frame feature is the mean over persons and joints. The input is not normalised.

    Args:
        skeleton: A skeleton, or its number of joints V.
        in_channels: Number of coordinates C of a joint.
        persons: Number of persons M of a clip.
        frames: Number of frames T of the temporal embeddings, which are resized for clips of
            another length.
        patch: Number of frames of a token.
        width: Width D of the tokens.
        depth: Number of blocks.
        heads: Number of attention heads of a block.
        mlp_ratio: Width of the hidden layer of a block, as a multiple of D.
        drop_path: Probability of dropping the branches of the last block in training. It grows
            linearly from 0 in the first block. MAMP's fine-tuning uses 0.3.
        skip_absent: Whether to leave out persons who are all zero, whom the published code encodes
            and averages. A sample in which everybody is absent keeps its first person. Finding the
            persons makes the host wait for the device once.

    Attributes:
        out_features: Width D of the features.

    Shapes:
        ``(N, C, T, V, M)`` to frame features ``(N, T', D)`` with T' = T / patch.
        Encoders take no lengths: crop padded clips first, with
        :class:`pcm3.augment.TemporalCropResize` or
        :func:`pcm3.augment.functional.center_crop_resize`.

    Raises:
        ValueError: If a size is out of range, or clips or prompt do not fit.

    Source:
        MAMP (Mao et al., ICCV 2023).

    Example:
        >>> encoder = TransformerEncoder(25, frames=32, width=16, depth=2, heads=2)
        >>> frames = encoder(torch.randn(4, 3, 32, 25, 2))
        >>> frames.shape, encoder.pool(frames).shape
        (torch.Size([4, 8, 16]), torch.Size([4, 16]))
    """

    fixed_frames = True
    has_tokens = True
    has_maps = True
    drop_path: float

    def __init__(
        self,
        skeleton: Skeleton | int = 25,
        in_channels: int = 3,
        persons: int = 2,
        frames: int = 120,
        patch: int = 4,
        width: int = 256,
        depth: int = 8,
        heads: int = 8,
        mlp_ratio: float = 4.0,
        drop_path: float = 0.0,
        skip_absent: bool = False,
    ) -> None:
        super().__init__(joint_count(skeleton), in_channels, persons, "mean")
        if patch < 1 or frames < 1 or frames % patch:
            raise ValueError(f"expected frames a multiple of patch, got {frames} and {patch}")
        if depth < 1:
            raise ValueError(f"expected depth >= 1, got {depth}")
        self.frames = frames
        self.patch = patch
        self.out_features = width
        self.heads = heads
        self.mlp_ratio = mlp_ratio
        self.skip_absent = skip_absent
        self.blocks = nn.ModuleList(Block(width, heads, mlp_ratio) for _ in range(depth))
        self.tokenizer = nn.Linear(patch * in_channels, width)
        self.positions = SeparableEmbedding(frames // patch, self.joints, width)
        self.norm = nn.LayerNorm(width)
        self.set_drop_path(drop_path)

    @classmethod
    def from_sizes(  # type: ignore[override]
        cls,
        skeleton: Skeleton,
        in_channels: int,
        persons: int,
        *,
        frames: int,
        hidden: int,
        layers: int,
    ) -> TransformerEncoder:
        """Build an encoder with the sizes in the settings of a method.

        Attention heads have the width of MAMP's, 32.
        """
        heads = max(1, hidden // 32)
        return cls(skeleton, in_channels, persons, frames, width=hidden, depth=layers, heads=heads)

    @property
    def arguments(self) -> dict[str, Any]:
        """Constructor arguments that rebuild the encoder."""
        return {
            "skeleton": self.joints,
            "in_channels": self.in_channels,
            "persons": self.persons,
            "frames": self.frames,
            "patch": self.patch,
            "width": self.out_features,
            "depth": len(self.blocks),
            "heads": self.heads,
            "mlp_ratio": self.mlp_ratio,
            "drop_path": self.drop_path,
            "skip_absent": self.skip_absent,
        }

    def set_drop_path(self, rate: float) -> None:
        """Set the drop-path probability of the last block, and those of the others in proportion.

        Raises:
            ValueError: If the rate is not in [0, 1).
        """
        if not 0 <= rate < 1:
            raise ValueError(f"expected drop_path in [0, 1), got {rate}")
        self.drop_path = rate
        for index, block in enumerate(self.blocks):
            assert isinstance(block, Block)
            block.drop_path = rate * index / max(len(self.blocks) - 1, 1)

    def forward(self, clips: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Encode clips ``(N, C, T, V, M)`` to frame features ``(N, T', D)``.

        Args:
            clips: The clips.
            prompt: ``(C, V, M)``, added to every frame.

        Raises:
            ValueError: If clips or prompt do not have this encoder's C, V and M or the clips its
                dtype, T is not a multiple of ``patch``, or a coordinate is not finite (checked on
                the CPU only).
        """
        tokens, rows = self._encode(clips, prompt)
        frames = self._place(tokens.mean(dim=2), rows, len(clips))
        if rows is None:
            return frames.mean(dim=1)
        return frames.sum(dim=1) / self.present(clips).sum(dim=1)[:, None, None]

    def tokens(self, clips: Tensor, prompt: Tensor | None = None) -> Tensor:
        """Encode clips ``(N, C, T, V, M)`` to tokens ``(N, M, T', V, D)``.

        Tokens of persons who are left out are zero.

        Raises:
            ValueError: For the same reasons as calling the encoder.
        """
        tokens, rows = self._encode(clips, prompt)
        return self._place(tokens, rows, len(clips))

    def maps(self, clips: Tensor) -> Tensor:
        """Return the tokens ``(N, M, T', V, D)``.

        Raises:
            ValueError: For the same reasons as calling the encoder, or with ``skip_absent``, as
                frame features are means over the persons that are present.
        """
        if self.skip_absent:
            raise ValueError("expected a transformer without skip_absent, got one with it")
        return self.tokens(clips)

    def encode_joints(self, clips: Tensor, joints: Tensor) -> Tensor:
        """Encode the tokens of some joints ``(N, V')`` alone, all persons."""
        self.check_clips(clips)
        self.check_joints(clips, joints)
        patches = patchify(clips, self.patch)
        steps = torch.arange(patches.shape[1] // self.joints, device=clips.device)
        rows = joints.repeat_interleave(self.persons, dim=0)
        visible = (steps[:, None] * self.joints + rows[:, None]).flatten(1)
        tokens = self.encode_visible(patches, visible).unflatten(1, (len(steps), -1))
        return self._place(tokens.mean(dim=2), None, len(clips)).mean(dim=1)

    def block_outputs(self, clips: Tensor) -> list[Tensor]:
        """Encode clips ``(N, C, T, V, M)`` to the tokens ``(N, M, T', V, D)`` after each block.

        They are not normalised. Tokens of persons who are left out are zero.

        Raises:
            ValueError: For the same reasons as calling the encoder.
        """
        tokens, rows = self._embed(clips, None)
        outputs = []
        for block in self.blocks:
            tokens = block(tokens)
            placed = tokens.unflatten(1, (-1, self.joints))
            outputs.append(self._place(placed, rows, len(clips)))
        return outputs

    def encode_visible(self, patches: Tensor, visible: Tensor) -> Tensor:
        """Encode only the visible patches of every person.

        Args:
            patches: All patches of B persons ``(B, T' V, patch C)``, in the order of ``patchify``.
            visible: Indices of the K patches to encode ``(B, K)``.

        Returns:
            Tokens ``(B, K, D)``.
        """
        size = patches.shape[-1]
        picked = patches.gather(1, visible[..., None].expand(-1, -1, size))
        places = F.embedding(visible, self.positions(patches.shape[1] // self.joints))
        return self._attend(self.tokenizer(picked) + places)

    def present(self, clips: Tensor) -> Tensor:
        """Return which persons of clips ``(N, C, T, V, M)`` are encoded, as ``(N, M)``.

        Without ``skip_absent``, all persons are.
        """
        return present_persons(clips) if self.skip_absent else super().present(clips)

    def stack(self) -> Sequence[nn.Module]:
        """Return the blocks and the final norm, above tokeniser and embeddings."""
        return (*self.blocks, self.norm)

    def _encode(self, clips: Tensor, prompt: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return tokens ``(B, T', V, D)`` of the encoded persons, and their rows if not all are."""
        embedded, rows = self._embed(clips, prompt)
        return self._attend(embedded).unflatten(1, (-1, self.joints)), rows

    def _embed(self, clips: Tensor, prompt: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Return the input ``(B, T' V, D)`` of the first block, and rows as ``_encode`` does."""
        self.check_clips(clips, prompt)
        prompted = clips if prompt is None else clips + prompt[:, None]
        patches = patchify(prompted, self.patch)
        rows = self.present(clips).flatten().nonzero()[:, 0] if self.skip_absent else None
        if rows is not None:
            patches = patches.index_select(0, rows)
        return self.tokenizer(patches) + self.positions(patches.shape[1] // self.joints), rows

    def _attend(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens)
        normalized: Tensor = self.norm(tokens)
        return normalized

    def _place(self, encoded: Tensor, rows: Tensor | None, samples: int) -> Tensor:
        """Arrange ``(B, ...)`` of the encoded persons as ``(N, M, ...)``, zero for the others."""
        if rows is not None:
            everybody = encoded.new_zeros(samples * self.persons, *encoded.shape[1:])
            encoded = everybody.index_copy(0, rows, encoded)
        placed: Tensor = encoded.unflatten(0, (samples, self.persons))
        return placed

    def extra_repr(self) -> str:
        """Show the arguments that the layers do not show."""
        return (
            f"frames={self.frames}, patch={self.patch}, heads={self.heads}, "
            f"drop_path={self.drop_path}, skip_absent={self.skip_absent}"
        )


class Block(nn.Module):
    """Pre-norm transformer block: attention, then a two-layer network, each with a shortcut.

    Args:
        width: Width D of the tokens.
        heads: Number of attention heads; must divide D.
        mlp_ratio: Width of the hidden layer, as a multiple of D.
        drop_path: Probability of dropping a branch in training, for each row.

    Shapes:
        ``(B, L, D)`` to ``(B, L, D)``.

    Raises:
        ValueError: If the heads do not divide the width, or the hidden layer is empty.
    """

    compiles = True

    def __init__(
        self, width: int, heads: int, mlp_ratio: float = 4.0, drop_path: float = 0.0
    ) -> None:
        super().__init__()
        if width < 1 or heads < 1 or width % heads:
            raise ValueError(f"expected heads that divide width, got {heads} and {width}")
        hidden = int(width * mlp_ratio)
        if hidden < 1:
            raise ValueError(f"expected mlp_ratio >= 1 / width, got {mlp_ratio}")
        self.heads = heads
        self.drop_path = drop_path
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))
        self.apply(init_linear)

    def forward(self, tokens: Tensor) -> Tensor:
        """Transform tokens ``(B, L, D)``."""
        tokens = tokens + self._drop(self._attention(self.norm1(tokens)))
        return tokens + self._drop(self.mlp(self.norm2(tokens)))

    def _attention(self, tokens: Tensor) -> Tensor:
        query, key, value = rearrange(
            self.qkv(tokens), "b l (s h d) -> s b h l d", s=3, h=self.heads
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.proj(rearrange(mixed, "b h l d -> b l (h d)"))
        return projected

    def _drop(self, branch: Tensor) -> Tensor:
        if not self.training or self.drop_path == 0:
            return branch
        keep = 1 - self.drop_path
        return branch * (branch.new_empty(len(branch), 1, 1).bernoulli_(keep) / keep)


class SeparableEmbedding(nn.Module):
    """Learnt embeddings: the sum of a vector for each time step and one for each joint.

    Args:
        steps: Number of time steps T'.
        joints: Number of joints V.
        width: Width D.

    Shapes:
        A number of time steps T'' to ``(T'' V, D)``, time-major. If T'' differs from T', the
        vectors of the time steps are resized by bicubic interpolation.
    """

    def __init__(self, steps: int, joints: int, width: int) -> None:
        super().__init__()
        # axes of size 1 as in the published checkpoints; they also make weight decay apply
        self.time = nn.Parameter(torch.empty(1, steps, 1, width))
        self.joint = nn.Parameter(torch.empty(1, 1, joints, width))
        for embedding in (self.time, self.joint):
            nn.init.trunc_normal_(embedding, std=0.02)

    def forward(self, steps: int) -> Tensor:
        """Return the embeddings ``(steps V, D)``."""
        time: Tensor = self.time
        if steps != time.shape[1]:
            columns = rearrange(time, "1 t 1 d -> 1 d t 1")
            columns = F.interpolate(columns, (steps, 1), mode="bicubic", align_corners=False)
            time = rearrange(columns, "1 d t 1 -> 1 t 1 d")
        return (time + self.joint).flatten(0, 2)


def init_linear(module: nn.Module) -> None:
    """Set Xavier-uniform weights and zero biases if the module is a linear layer."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


def patchify(clips: Tensor, patch: int) -> Tensor:
    """Cut clips ``(N, C, T, V, M)`` into patches ``(N M, T' V, patch C)`` of all persons.

    Patches and the coordinates within a patch are time-major.

    Raises:
        ValueError: If T is not a multiple of ``patch``.
    """
    if clips.shape[2] % patch:
        raise ValueError(
            f"expected clips (N, C, T, V, M) with T a multiple of patch={patch}, "
            f"got T={clips.shape[2]}"
        )
    return rearrange(clips, "n c (t p) v m -> (n m) (t v) (p c)", p=patch)


def present_persons(clips: Tensor) -> Tensor:
    """Return which persons of clips ``(N, C, T, V, M)`` are not all zero, as ``(N, M)``.

    In a sample in which everybody is all zero, the first person counts as present.
    """
    present = (clips != 0).any(dim=3).any(dim=2).any(dim=1)
    nobody = ~present.any(dim=1, keepdim=True)
    return torch.cat([present[:, :1] | nobody, present[:, 1:]], dim=1)
