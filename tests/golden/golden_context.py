"""The classes and losses of the context methods beside the recorded ones."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from einops import rearrange
from golden_rows import Recorded, Row, absolute, of_norm, part, relative, tensor
from torch import Tensor, nn

from pcm3.augment.functional import shuffle_segments
from pcm3.encoders import GRUEncoder
from pcm3.heads import MaskedMotionDecoder
from pcm3.methods import MS2L
from pcm3.methods.displacement import class_loss, displacement_classes
from pcm3.methods.ms2l import MS2LViews

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


def compare_ms2l(recorded: Recorded) -> Iterator[Row]:
    """Features, losses and gradients of one step on padded clips."""
    lengths = tensor(recorded, "lengths")
    model, names = _ms2l(recorded, lengths)
    data, order = _clips(recorded, "data"), tensor(recorded, "labels")
    kept = (0.7 * lengths).ceil().long()  # of each clip; the method's clips have one length
    masked = data * (torch.arange(data.shape[2]) < kept[:, None])[:, None, :, None, None]
    shuffled = shuffle_segments(data, order, lengths=lengths)
    for name, clips in (("masked", masked), ("shuffled", shuffled)):
        if name in recorded:
            yield absolute(name, clips, _clips(recorded, name))
    for name, clips in (("data", data), ("masked", masked), ("shuffled", shuffled)):
        feature = model.encoder.pool(model.encoder(clips))
        yield of_norm(f"features of {name}", feature, recorded[f"features/{name}"], 1e-5)
    output = model.loss(MS2LViews(data, masked, shuffled, order))
    output.total.backward()
    for name, term in (*output.terms.items(), ("total", output.total)):
        yield relative(name, term, recorded[f"loss/{name}"], 1e-5)
    ours = dict(model.named_parameters())
    for name, wanted in zip(recorded["parameters"], recorded["grad_norm"], strict=True):
        gradient = ours[names[str(name)]].grad
        assert gradient is not None
        yield relative("gradients", gradient.norm(), wanted, 1e-4, str(name), beyond=1e-6)


class _Padded(GRUEncoder):
    """The reference's encoder: no input normalisation, and the mean over valid frames."""

    def __init__(self, lengths: Tensor, hidden: int) -> None:
        super().__init__(25, hidden=hidden, layers=2, direction="bidirectional", pool="mean")
        self.input_norm = nn.Identity()
        self.valid = lengths

    def _recur(self, frames: Tensor) -> Tensor:
        valid = (
            torch.arange(frames.shape[1])
            < self.valid.repeat(len(frames) // len(self.valid))[:, None]
        )
        return super()._recur(frames) * valid[..., None]

    def pool(self, frames: Tensor) -> Tensor:
        return frames.sum(dim=1) / (self.valid[:, None] + 0.01)


class _PaddedDecoder(MaskedMotionDecoder):
    """The reference's decoder: no adapter, and 0 after the valid frames."""

    def __init__(self, lengths: Tensor, width: int) -> None:
        super().__init__(width, hidden=width)
        self.adapter = nn.Identity()
        self.valid = lengths

    def forward(self, frames: Tensor) -> Tensor:
        valid = torch.arange(frames.shape[1]) < self.valid[:, None]
        return super().forward(frames) * valid[:, None, :, None, None]


def _ms2l(recorded: Recorded, lengths: Tensor) -> tuple[MS2L, dict[str, str]]:
    """The model with the recorded weights, and its names of the recorded parameters."""
    width = int(recorded["config/hidden"])
    temperature = float(recorded["config/temperature"])
    encoder = _Padded(lengths, width // 2)
    model = MS2L(encoder, temperature=temperature, head_hidden=16, embedding=8)
    model.decoder = _PaddedDecoder(lengths, width)
    names = {}
    for layer in range(2):
        for at, end in enumerate(("", "_reverse")):
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                ours = f"encoder.layers.{layer}.{at}.{kind}_l0"
                names[f"encoder.gru.{kind}_l{layer}{end}"] = ours
    heads = {"contra_head.classifier": "projector", "jigsaw_head.classifier": "order_head"}
    heads |= {"motion_head.decoder": "decoder.gru", "motion_head.reconstruction": "decoder.output"}
    state = {}
    for module in ("encoder", *{head.split(".")[0] for head in heads}):
        for key, value in part(recorded, f"{module}/").items():
            name = f"{module}.{key}"
            for theirs, ours in heads.items():
                if name.startswith(theirs):
                    names[name] = name.replace(theirs, ours)
            layout = {"gru.weight_ih": "h (c v m) -> h (v c m)"} if "_l0" in key else {}
            layout["reconstruction"] = "(c v m) ... -> (v c m) ..."
            found = [layout[start] for start in layout if key.startswith(start)]
            state[names[name]] = rearrange(value, found[0], c=3, m=2) if found else value
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not missing
    assert not unexpected
    return model, names


def _clips(recorded: Recorded, name: str) -> Tensor:
    return rearrange(tensor(recorded, name), "n t (c v m) -> n c t v m", c=3, m=2)
