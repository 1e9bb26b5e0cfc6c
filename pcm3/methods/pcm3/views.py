"""The views of a training step of PCM3."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from pcm3.augment import MixedClips
from pcm3.augment.functional import apply_mask


@dataclass(frozen=True)
class Views:
    """Views of a batch in a training step.

    Attributes:
        intra: Query view s_intra ``(N, C, T, V, M)``, also the source of the mixed clips.
        key: Key view s' ``(N, C, T, V, M)``.
        source: Clips to be masked, and the target of the prediction ``(N, C, T, V, M)``; None
            without masked view and prediction.
        inter: Mixed clips s_inter with partner ``(N,)`` and the partner's share ``(N,)``; None
            without the inter view.
        mask: Boolean ``(N, T, V, M)``, True where ``source`` is hidden; None without ``source``.
        offsets: Channel offset of the task prompt for each use, by name; empty without prompts.
        clip: Short clip of ``key`` for the query ``(N, C, T, V, M)``; None without the clip view.
    """

    intra: Tensor
    key: Tensor
    source: Tensor | None = None
    inter: MixedClips | None = None
    mask: Tensor | None = None
    offsets: Mapping[str, Tensor] = field(default_factory=dict)
    clip: Tensor | None = None

    @property
    def hidden(self) -> tuple[Tensor, Tensor]:
        """Source and mask.

        Raises:
            ValueError: If one is None.
        """
        if self.source is None or self.mask is None:
            raise ValueError("expected views with source and mask, which the settings need")
        return self.source, self.mask

    @property
    def masked(self) -> Tensor:
        """The masked view s_mask: ``source`` with 0 where hidden."""
        return apply_mask(*self.hidden)
