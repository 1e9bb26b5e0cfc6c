"""Nothing within a step makes the host wait for a device, or brings numbers from it one by one."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pcm3.methods.aimclr import AimCLRSettings
from pcm3.methods.cmd import CMDSettings
from pcm3.methods.decorrelation import DecorrelationSettings
from pcm3.methods.mamp import MAMPSettings
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.skeleton import NTU25

PCM3_SMALL: dict[str, Any] = {
    **{"hidden": 8, "frames": 8, "decoder_hidden": 8, "queue_size": 16},
    **{"crop_min_frames": 8},
}
MAMP_SMALL: dict[str, Any] = {
    **{"frames": 8, "width": 8, "depth": 1, "heads": 2, "decoder_depth": 1, "mask_ratio": 0.8},
    **{"crop_min_frames": 8},
}
AIMCLR_SMALL: dict[str, Any] = {"hidden": 8, "frames": 8, "queue_size": 16}
DECORRELATION_SMALL: dict[str, Any] = {"hidden": 8, "frames": 20, "expander": 8}
MODELS = {
    "pcm3": PCM3Settings(**PCM3_SMALL),
    "pcm3 of bones, random mask": PCM3Settings(**PCM3_SMALL, stream="bone", masking="random"),
    "pcm3++": PCM3Settings(**PCM3_SMALL, positives=("intra", "inter", "mask", "predict", "clip")),
    "pcm3 with graphs": PCM3Settings(**PCM3_SMALL, encoder="stgcn"),
    "pcm3 with a transformer": PCM3Settings(**PCM3_SMALL, encoder="transformer"),
    "aimclr": AimCLRSettings(**AIMCLR_SMALL, drop=False),
    "aimclr with graphs": AimCLRSettings(**AIMCLR_SMALL, encoder="stgcn"),
    "cmd": CMDSettings(hidden=8, layers=1, frames=8, crop_min_frames=8, queue_size=16, topk=4),
    "decorrelation": DecorrelationSettings(**DECORRELATION_SMALL),
    "decorrelation with graphs": DecorrelationSettings(**DECORRELATION_SMALL, encoder="stgcn"),
    "vicreg with a transformer": DecorrelationSettings(
        **DECORRELATION_SMALL, encoder="transformer", loss="vicreg"
    ),
    "mamp": MAMPSettings(**MAMP_SMALL),
    "mamp of bones": MAMPSettings(**MAMP_SMALL, stream="bone"),
}


class Watch(TorchDispatchMode):
    """Notes operations that bring tensors of two devices together or read values."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(
        self,
        operation: Any,
        types: Sequence[Any],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = operation(*args, **(kwargs or {}))
        tensors = [v for v in tree_leaves((args, kwargs, result)) if isinstance(v, Tensor)]
        name = str(operation)
        reads = any(word in name for word in ("local_scalar", "nonzero", "item"))
        if reads or {tensor.device.type for tensor in tensors} - {"meta"}:
            self.found.append(name)
        return result


def watched_step(model: nn.Module, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is found in a second step; the first may put constants on the device."""
    model = model.to("meta").train()
    clips = torch.randn(6, 3, 10, 25, 2, device="meta")
    lengths = torch.full((6,), 10, device="meta")
    # which does not know this device, where nothing is computed
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: contextlib.nullcontext())
    model(clips, lengths).total.backward()
    with Watch() as watch:
        model(clips, lengths).total.backward()
    return watch.found


@pytest.mark.parametrize("name", MODELS)
def test_a_step_stays_on_its_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert watched_step(MODELS[name].build(NTU25, persons=2), monkeypatch) == []


def test_leaving_the_device_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS["pcm3"].build(NTU25, persons=2)
    make_views = model.make_views

    def leaving(clips: Tensor, *rest: Any) -> Any:
        torch.arange(25).to(clips.device)
        return make_views(clips, *rest)

    monkeypatch.setattr(model, "make_views", leaving)
    assert watched_step(model, monkeypatch)
