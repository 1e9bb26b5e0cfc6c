"""An encoder with a head on it, and the class scores that both give for recordings."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from pcm3._torch import send
from pcm3.augment.functional import center_crop_resize
from pcm3.checks import type_name
from pcm3.data.dataset import SkeletonDataset, collate
from pcm3.encoders import Encoder
from pcm3.encoders.files import Pretrained
from pcm3.evaluation.features import check_cut, check_data
from pcm3.heads import FinetuneHead
from pcm3.skeleton import to_stream


class Recognizer(nn.Module):
    """An encoder and a head: clips in, class scores out.

    Args:
        encoder: Any encoder; one with tokens for a ``FinetuneHead``.
        head: A ``FinetuneHead`` on the encoder's tokens, or any module on its sequence features.

    Shapes:
        ``(N, C, T, V, M)`` of the encoder's stream and size to scores ``(N, classes)``.

    Raises:
        ValueError: If a ``FinetuneHead`` is on an encoder without tokens.
    """

    def __init__(self, encoder: Encoder, head: nn.Module) -> None:
        super().__init__()
        if isinstance(head, FinetuneHead) and not encoder.has_tokens:
            raise ValueError(
                "expected an encoder with tokens under a FinetuneHead, such as a "
                f"TransformerEncoder, got {type_name(encoder)}"
            )
        self.encoder = encoder
        self.head = head

    def forward(self, clips: Tensor) -> Tensor:
        """Class scores of clips ``(N, C, T, V, M)``."""
        if isinstance(self.head, FinetuneHead):
            scores: Tensor = self.head(self.encoder.tokens(clips), self.encoder.present(clips))
        else:
            scores = self.head(self.encoder.pool(self.encoder(clips)))
        return scores


@torch.no_grad()
def recognition_scores(
    pretrained: Pretrained, model: Recognizer, dataset: SkeletonDataset, batch_size: int = 256
) -> Tensor:
    """Class scores ``(N, classes)`` on the CPU, from the centre crop of 95 % of the frames.

    Args:
        pretrained: How the model wants its clips.
        model: As ``finetune`` gives it, in evaluation mode.
        dataset: The sequences.
        batch_size: Sequences at a time.

    Raises:
        ValueError: If the data do not fit the encoder.
    """
    check_data(pretrained, dataset)
    check_cut(dataset)
    device = next(model.parameters()).device
    scores = []
    for batch in DataLoader(dataset, batch_size, collate_fn=collate):
        clips = center_crop_resize(
            send(batch.clips, device), send(batch.lengths, device), pretrained.frames
        )
        scores.append(model(to_stream(clips, pretrained.skeleton, pretrained.stream)).float())
    return torch.cat(scores).cpu()
