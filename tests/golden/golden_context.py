"""The classes and losses of the context methods beside the recorded ones."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from einops import rearrange
from golden_rows import Recorded, Row, absolute, relative, tensor
from torch import Tensor

from pcm3.methods.displacement import class_loss, displacement_classes

CENTER = 20  # the joint with the path of the body, of the first interval alone


def compare_displacement(recorded: Recorded) -> Iterator[Row]:
    """Classes of direction and magnitude and, where scores are recorded, the losses."""
    clips, lengths = tensor(recorded, "clips"), tensor(recorded, "lengths")
    intervals = recorded["intervals"].tolist()
    found = [displacement_classes(clips, each) for each in intervals]
    valid = torch.arange(clips.shape[2]) < lengths[:, None]
    axes = {"r": len(intervals), "v": clips.shape[3], "m": clips.shape[4]}
    counted = valid[:, :, None, None, None].expand(*valid.shape, *axes.values())
    center = torch.zeros_like(counted)
    center[:, :, 0, CENTER] = True
    total = 0.0
    for name, short in (("direction", "dir"), ("magnitude", "mag")):
        classes = torch.stack([getattr(each, name) for each in found], dim=2)
        wanted = rearrange(tensor(recorded, name), "n t (r v m) -> n t r v m", **axes)
        wrong = (classes != wanted) & counted
        yield absolute(f"{name}, classes that differ", int(wrong.sum()), 0)
        if f"{name}_scores" not in recorded:
            continue
        leaf = tensor(recorded, f"{name}_scores").requires_grad_()
        scores = rearrange(leaf, "n k t (r v m) -> n t r v m k", **axes)
        local = class_loss(scores, classes, counted & ~center)
        path = class_loss(scores, classes, counted & center)
        yield relative(name, local, recorded[f"loss/loss_{short}"], 1e-5)
        yield relative(f"{name} of the path", path, recorded[f"loss/loss_{short}_g"], 1e-5)
        loss: Tensor = local + float(recorded["config/global_weight"]) * path
        loss.backward()
        assert leaf.grad is not None
        norm = recorded[f"{name}_scores_grad_norm"]
        yield relative(f"gradient of {name}", leaf.grad.norm(), norm, 1e-4)
        total += float(loss.detach())
    if "loss/loss" in recorded:
        yield relative("total", total, recorded["loss/loss"], 1e-5)
