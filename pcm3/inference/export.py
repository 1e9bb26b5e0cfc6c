"""Export of classifiers to files that give probabilities without this package."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor

from pcm3.evaluation.recognizer import Recognizer
from pcm3.export import Network, describe_clips, write_onnx, write_program
from pcm3.heads import FinetuneHead
from pcm3.inference.classifier import Classifier, Neighbours

WRITERS = {".pt2": write_program, ".onnx": write_onnx}
"""Functions that write a file, by its suffix."""


class _Probabilities(Network):
    """Clips to the probabilities of the classes of a classifier."""

    outputs = ("probabilities",)

    def __init__(self, classifier: Classifier) -> None:
        super().__init__(classifier.pretrained.encoder)
        self.head = copy.deepcopy(classifier.head).cpu().float().eval()
        self.temperature = classifier.temperature

    def forward(self, clips: Tensor) -> tuple[Tensor]:
        if isinstance(self.head, FinetuneHead):
            scores = Recognizer(self.encoder, self.head)(clips) / self.temperature
        else:
            features = self.encoder.pool(self.encoder(clips))
            if isinstance(self.head, Neighbours):
                scores = self.head(features, self.temperature)
            else:
                scores = self.head(features) / self.temperature
        return (F.softmax(scores, dim=1),)


def export_classifier(classifier: Classifier, file: str | Path, frames: int | None = None) -> float:
    """Write a classifier as ONNX (``.onnx``) or a ``torch.export`` program (``.pt2``).

    The input is that of ``export_program``. The output ``probabilities`` ``(N, classes)`` is
    calibrated. The description in the file, see ``describe_clips``, also has ``class_names`` (a
    list, as JSON), ``threshold`` and, if known, ``fps``, the frames per second of the recordings.

    Args:
        classifier: The classifier. It is not changed.
        file: The file to write.
        frames: T, fixed in the file; by default that of the encoder.

    Returns:
        The largest deviation of a probability.

    Raises:
        ImportError: If a package for ONNX is missing.
        ValueError: If the suffix is unknown, ``frames`` is below 1, or the encoder does not accept
            this number of frames.
        RuntimeError: If a probability deviates by 1e-5 or more; nothing is written then.
    """
    file = Path(file)
    if file.suffix not in WRITERS:
        raise ValueError(f"expected a file ending in {' or '.join(WRITERS)}, got {file}")
    pretrained = classifier.pretrained
    length = pretrained.frames if frames is None else frames
    about = describe_clips(pretrained, length) | {
        "class_names": json.dumps(classifier.class_names),
        "threshold": repr(classifier.threshold),
    }
    if classifier.left_handed is not None:
        about["left_handed"] = json.dumps(classifier.left_handed)
    if classifier.fps is not None:
        about["fps"] = repr(classifier.fps)
    return WRITERS[file.suffix](_Probabilities(classifier), file, length, about)
