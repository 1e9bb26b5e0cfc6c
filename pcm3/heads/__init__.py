"""Small networks on top of an encoder: projectors, decoders, order head, classifiers."""

from typing import TYPE_CHECKING

from pcm3._names import names_of
from pcm3.heads.classifiers import Classifier, FinetuneHead, OrderHead, ProbeHead
from pcm3.heads.decoders import DecoderMode, MaskedMotionDecoder, StateDecoder
from pcm3.heads.operations import attention_drop, gradient_reversal
from pcm3.heads.projectors import ExpanderHead, Projector

__all__ = [
    "Classifier",
    "DecoderMode",
    "ExpanderHead",
    "FinetuneHead",
    "MaskedMotionDecoder",
    "OrderHead",
    "ProbeHead",
    "Projector",
    "StateDecoder",
    "attention_drop",
    "gradient_reversal",
]

if not TYPE_CHECKING:
    __getattr__ = names_of(__name__)
