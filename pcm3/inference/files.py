"""Save classifiers in one file, and load them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, get_args

import torch
from torch import Tensor, nn

from pcm3.checks import type_name
from pcm3.data.axes import Up
from pcm3.data.dataset import LONGEST
from pcm3.encoders.files import (
    HEADER,
    Pretrained,
    check_savable,
    describe_encoder,
    find_encoder,
    rebuild_encoder,
    wrong_header,
)
from pcm3.errors import SkeletonFormatError
from pcm3.heads import FinetuneHead
from pcm3.inference.classifier import Classifier, How, Neighbours
from pcm3.io.files import regular
from pcm3.io.json import parse_json
from pcm3.io.tensors import check_finite, read_tensors, verify, write_tensors
from pcm3.skeleton import Skeleton

_ENCODER, _HEAD = "encoder.", "head."


class _Later(TypedDict, total=False):
    """Entries that files of earlier versions lack."""

    persons: int
    layout: dict[str, Any]
    channels: int | None
    up: Up | None
    left_handed: bool | None


class _About(_Later):
    """The entry ``classifier`` of the header."""

    how: str
    label: str | None
    temperature: float
    threshold: float
    window: int
    longest: int
    fps: float | None
    unit: str
    background: bool


_AXES = ("channels", "up", "left_handed")
_KEYS = (*HEADER, "class_names", "classifier", "head", "made")


def save_classifier(file: str | Path, classifier: Classifier) -> None:
    """Write a classifier as one safetensors file, whole or not at all.

    Raises:
        ValueError: If the encoder cannot be rebuilt from a file, the head is none that
            ``fit_classifier`` makes, or a weight is not finite.
    """
    check_savable(classifier.pretrained)
    kind = _kind_of(classifier.head)
    _check(classifier)
    about: _About = {
        "how": classifier.how,
        "label": classifier.label,
        "temperature": classifier.temperature,
        "threshold": classifier.threshold,
        "window": classifier.window,
        "longest": classifier.longest,
        "fps": classifier.fps,
        "unit": classifier.unit,
        "background": classifier.background,
        "persons": classifier.persons,
        "layout": classifier.layout.to_dict(),
        "channels": classifier.channels,
        "up": classifier.up,
        "left_handed": classifier.left_handed,
    }
    header = {
        **describe_encoder(classifier.pretrained),
        "class_names": json.dumps(classifier.class_names),
        "classifier": json.dumps(about),
        "head": kind,
        "made": json.dumps(dict(classifier.made)),
    }
    encoder, head = classifier.pretrained.encoder.state_dict(), classifier.head.state_dict()
    tensors = {_ENCODER + name: tensor.cpu() for name, tensor in encoder.items()}
    tensors |= {_HEAD + name: tensor.cpu() for name, tensor in head.items()}
    if isinstance(classifier.head, FinetuneHead):
        tensors[f"{_HEAD}joints"] = torch.tensor(classifier.head.joints)
    write_tensors(Path(file), header, tensors)


def load_classifier(path: str | Path) -> Classifier:
    """Read a classifier that ``save_classifier`` wrote, on the CPU, in evaluation mode.

    Args:
        path: The file.

    Raises:
        SkeletonFormatError: If the file is missing, does not hold a classifier, or is damaged: its
            checksum is wrong or a weight is not finite.
    """
    file = Path(path)
    if file.is_dir() or not regular(file).is_file():
        got = "a folder" if file.is_dir() else "no file"
        raise SkeletonFormatError(
            f"expected the file of a classifier, which pcm3 classifier writes, got {got} {file}"
        )
    header, tensors = read_tensors(file, "; pcm3 classifier makes a classifier")
    if "classifier" not in header:
        what = "an encoder" if "encoder" in header else "something else"
        raise SkeletonFormatError(
            f"{file}: expected a classifier, which pcm3 classifier writes, got {what}"
        )
    if "checksum" not in header:
        raise SkeletonFormatError(f"{file}: damaged, the header has no checksum")
    kind = find_encoder(file, header)
    verify(file, header, tensors, _KEYS)
    try:
        pretrained = rebuild_encoder(kind, header, _part(tensors, _ENCODER))
        return _rebuild(file, header, pretrained, _part(tensors, _HEAD))
    except SkeletonFormatError:
        raise
    except Exception as error:  # invalid arguments may raise any error
        raise wrong_header(file, error) from None


def _rebuild(
    file: Path, header: Mapping[str, str], pretrained: Pretrained, tensors: dict[str, Tensor]
) -> Classifier:
    names = parse_json(header["class_names"].encode(), f"{file}: class_names", list[str])
    about = parse_json(header["classifier"].encode(), f"{file}: classifier", _About)
    persons = about.pop("persons", pretrained.encoder.persons)
    layout = about.pop("layout", None)
    axes: dict[str, Any] = {name: about.pop(name, None) for name in _AXES}
    made = parse_json(header["made"].encode(), f"{file}: made")
    check_finite(tensors)
    head = _make_head(header["head"], tensors)
    classifier = Classifier(
        pretrained=pretrained,
        head=head.eval(),
        class_names=tuple(names),
        made=made,
        persons=persons,
        layout=pretrained.skeleton if layout is None else Skeleton.from_dict(layout),
        **axes,
        **about,
    )
    _check(classifier)
    return classifier


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it.

    Raises:
        ValueError: If a tensor has neither prefix.
    """
    for name in tensors:
        if not name.startswith((_ENCODER, _HEAD)):
            raise ValueError(f"unknown tensor {name!r:.60}")
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _kind_of(head: nn.Module) -> str:
    """Name of the class of a head.

    Raises:
        ValueError: If a file cannot hold it.
    """
    for name, kind in _HEADS.items():
        if isinstance(head, kind):
            return name
    raise ValueError(f"expected a head among {', '.join(_HEADS)}, got {type_name(head)}")


_HEADS: dict[str, type[nn.Module]] = {
    "linear": nn.Linear,
    "neighbours": Neighbours,
    "tokens": FinetuneHead,
}


def _make_head(kind: str, tensors: dict[str, Tensor]) -> nn.Module:
    """A head of the sizes that its tensors have, which they bound.

    Raises:
        Exception: Any, if the tensors are not those of such a head.
    """
    head: nn.Module
    if kind == "linear":
        classes, width = tensors["weight"].shape
        head = nn.Linear(width, classes)
    elif kind == "neighbours":
        if tensors["sizes"].dtype != torch.int64 or tensors["sizes"].ndim != 1:
            raise ValueError("expected sizes (K,) of int64")
        head = Neighbours(tensors["gallery"], tensors["sizes"])
    elif kind == "tokens":
        hidden, width = tensors["network.0.weight"].shape
        classes = len(tensors["network.3.weight"])
        joints = int(tensors.pop("joints"))
        head = FinetuneHead(width // joints, joints, classes, hidden)
    else:
        raise ValueError(f"expected a head among {', '.join(_HEADS)}, got {kind!r:.60}")
    head.load_state_dict(tensors)
    return head.requires_grad_(False)


def _check(classifier: Classifier) -> None:
    """Require parts that fit together.

    Raises:
        ValueError: Saying what does not.
    """
    encoder, head, names = classifier.pretrained.encoder, classifier.head, classifier.class_names
    if len(names) < 2 or len(set(names)) < len(names):
        raise ValueError(f"expected at least 2 different class names, got {list(names)!s:.200}")
    if classifier.how not in get_args(How):
        raise ValueError(f"expected how among {get_args(How)}, got {classifier.how!r:.60}")
    if not (0 < classifier.temperature < math.inf and 0 <= classifier.threshold <= 1):
        raise ValueError(
            f"expected a temperature > 0 and a threshold in [0, 1], got {classifier.temperature} "
            f"and {classifier.threshold}"
        )
    if classifier.fps is not None and not classifier.fps > 0:
        raise ValueError(f"expected fps > 0, got {classifier.fps}")
    if not 1 <= classifier.persons <= encoder.persons:
        raise ValueError(f"expected 1 to {encoder.persons} persons, got {classifier.persons}")
    if not 1 <= classifier.window <= LONGEST or classifier.longest < 1:
        raise ValueError(
            f"expected a window of 1 to {LONGEST} frames and a longest recording of at least one, "
            f"got {classifier.window} and {classifier.longest}"
        )
    if isinstance(head, FinetuneHead) and not encoder.has_tokens:
        raise ValueError(f"expected an encoder with tokens, got {type_name(encoder)}")
    width, classes = _sizes(head)
    if (width, classes) != (encoder.out_features, len(names)):
        raise ValueError(
            f"expected a head from {encoder.out_features} features to {len(names)} classes, got "
            f"one from {width} to {classes}"
        )


def _sizes(head: Any) -> tuple[int, int]:
    """Width of the features or tokens that a head takes, and number of classes."""
    if isinstance(head, FinetuneHead):
        return head.in_features, len(head.network[-1].bias)  # type: ignore[arg-type]
    if isinstance(head, Neighbours):
        return head.gallery.shape[1], len(head.sizes)
    return head.in_features, head.out_features
