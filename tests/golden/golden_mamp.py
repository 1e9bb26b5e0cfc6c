"""MAMP's and MAE's training steps, fine-tuning and probe beside the recorded ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from golden_rows import Recorded, Row, absolute, of_norm, part, relative, tensor
from torch import Tensor, nn

from pcm3.augment import MotionAwareMask
from pcm3.augment.functional import motion_aware_mask
from pcm3.encoders import TransformerEncoder
from pcm3.evaluation.recognizer import Recognizer
from pcm3.evaluation.tasks.finetune import finetune_optimizer
from pcm3.evaluation.tasks.finetune_recipes import RECIPES
from pcm3.heads import FinetuneHead, ProbeHead
from pcm3.hub import load_official
from pcm3.methods import MAMP, MAMPViews
from pcm3.methods.catalog import get_preset
from pcm3.methods.mamp import unpatchify
from pcm3.methods.official import rename_mamp
from pcm3.methods.settings import TrainSettings
from pcm3.schedules import learning_rate, make_optimizer, set_rate

HEADS = 4  # where the file does not say
HEAD_LAYERS = {"head.fc1": 0, "head.bn": 1, "head.fc2": 3}


def compare_step(recorded: Recorded) -> Iterator[Row]:
    """One forward and backward pass."""
    yield from _step(_load(recorded), recorded, "", tensor(recorded, "clip"))


def compare_steps(recorded: Recorded) -> Iterator[Row]:
    """Consecutive steps of MAMP and of MAE with AdamW, and the weights that they leave."""
    for method in ("mamp", "mae"):
        model = _load(recorded)
        patch, ratio = int(recorded["patch"]), float(recorded["mask_ratio"])
        yield absolute("patch", model.encoder.patch, patch)
        model.target = "motion" if method == "mamp" else "coordinates"
        model.masking = MotionAwareMask(
            ratio, float(recorded["tau"]) if method == "mamp" else 0, patch
        )
        model.motion_stride = int(recorded["motion_stride"])
        model.normalize_target = "patch" if recorded["norm_target"] else False
        yield from _train(model, recorded, method)


def _train(model: MAMP, recorded: Recorded, method: str) -> Iterator[Row]:
    preset = get_preset("ntu60-xsub-mamp").train
    betas, decay = tuple(recorded["betas"].tolist()), float(recorded["weight_decay"])
    optimizer = make_optimizer(model, replace(preset, betas=betas, weight_decay=decay))
    published = rename_mamp(part(recorded, "state/"), "state").published
    still = {id(each) for group in optimizer.param_groups[1:] for each in group["params"]}
    names = {published(name) for name, each in model.named_parameters() if id(each) in still}
    yield absolute(
        "no_decay, names that differ", len(names ^ {*recorded["no_decay"].tolist()}), 0, 0, method
    )
    for number, epoch in enumerate(recorded["epochs"]):
        at = f"{method}/step{number}/"
        rate = learning_rate(preset, float(epoch))
        yield relative("lr", rate, recorded[f"{at}lr"], 1e-9, at.removesuffix("/"))
        set_rate(optimizer, rate)
        optimizer.zero_grad()
        yield from _step(model, recorded, at, tensor(recorded, f"step{number}/clip"))
        optimizer.step()
        yield from _norms_after(model, recorded, at)
    ours = model.state_dict()
    final = rename_mamp(part(recorded, f"{method}/final/"), "final").weights
    for name in final:
        found, wanted = (_without_key_bias(name, each[name]) for each in (ours, final))
        yield absolute("final weights", found, wanted, 2e-5, f"{method}: {name}")


def _load(recorded: Recorded) -> MAMP:
    heads = int(recorded.get("heads", HEADS))
    loaded = load_official(part(recorded, "state/"), "mamp", heads=heads)
    assert isinstance(loaded.model, MAMP)
    assert loaded.unused == ()
    return loaded.model.train()


def _step(model: MAMP, recorded: Recorded, at: str, clips: Tensor) -> Iterator[Row]:
    """Mask, loss and gradients of one step."""
    encoder, place = model.encoder, at.removesuffix("/")
    size = {"m": encoder.persons, "v": encoder.joints}

    def tokens(name: str) -> Tensor:
        """From rows of persons ``(N M, T' V)`` to ``(N, T', V, M)``."""
        return rearrange(tensor(recorded, at + name), "(n m) (t v) -> n t v m", **size)

    uniform = tokens("uniform")
    visible = model.masking.visible(uniform[0, ..., 0].numel())
    mask = motion_aware_mask(clips, uniform, visible, model.masking.temperature, encoder.patch)
    wrong = mask[:, :: encoder.patch] != tokens("mask")
    yield absolute("mask, tokens that differ", int(wrong.sum()), 0, 0, place)
    output = model.loss(MAMPViews(clips, mask))
    output.total.backward()
    yield relative("loss", output.total, recorded[f"{at}loss"], 1e-5, place)
    if f"{at}prediction" in recorded:
        wanted = tensor(recorded, f"{at}prediction")
        wanted = unpatchify(wanted, encoder.patch, encoder.joints, encoder.persons)
        yield of_norm("prediction", output.prediction, wanted, 1e-5, place)
    yield from _gradients(model, recorded, at)


def _gradients(model: nn.Module, recorded: Recorded, at: str) -> Iterator[Row]:
    norms = {name: each.grad.double().norm() for name, each in model.named_parameters()}
    total = torch.stack([*norms.values()]).norm()
    for name in ("grad_norm_total", "grad_norm_official"):
        if at + name in recorded:
            yield relative(name, total, recorded[at + name], 1e-4, at.removesuffix("/"))
    if f"{at}grad_norms" in recorded:
        found = _as_published(norms, recorded)
        for name, wanted in zip(
            recorded["parameter_names"].tolist(), recorded[f"{at}grad_norms"], strict=True
        ):
            yield relative("grad_norms", found[name], wanted, 1e-4, f"{at}{name}")


def _norms_after(model: MAMP, recorded: Recorded, at: str) -> Iterator[Row]:
    """Root mean square of every parameter but those with key biases."""
    found = _as_published(dict(model.named_parameters()), recorded)
    names = recorded["parameter_names"].tolist()
    yield absolute("parameters that differ in name", len({*names} ^ found.keys()), 0, 0, at)
    for name, wanted in zip(names, recorded[f"{at}norms_after"], strict=True):
        if not name.endswith("qkv.bias"):
            value = found[name].double()
            root = value.numel() ** 0.5
            yield absolute("norms_after", value.norm() / root, wanted / root, 2e-5, f"{at}{name}")


def _as_published(ours: dict[str, Tensor], recorded: Recorded) -> dict[str, Tensor]:
    """The same tensors under the names of the reference."""
    published = rename_mamp(part(recorded, "state/"), "state").published
    return {published(name): value for name, value in ours.items()}


def _without_key_bias(name: str, value: Tensor) -> Tensor:
    """Key biases have no gradient but rounding, which Adam blows up."""
    if not name.endswith("qkv.bias"):
        return value
    query, _, values = value.chunk(3)
    return torch.cat([query, values])


def compare_finetuning(recorded: Recorded) -> Iterator[Row]:
    """The fine-tuning model and the probe on its encoder, their groups and rates."""
    model = _recognizer(recorded)
    clips, target = tensor(recorded, "clip"), tensor(recorded, "target")
    yield of_norm("logits_eval", model.eval()(clips), recorded["logits_eval"], 1e-5)
    model.train()
    logits = model(clips)
    loss = F.cross_entropy(logits, target, label_smoothing=RECIPES["mamp"].label_smoothing)
    loss.backward()
    yield of_norm("logits_train", logits, recorded["logits_train"], 1e-5)
    yield relative("loss_smoothed", loss, recorded["loss_smoothed"], 1e-5)
    yield from _gradients(model, recorded, "")
    for name in ("running_mean", "running_var"):
        found = model.state_dict()[f"head.network.1.{name}"]
        yield of_norm(name, found, recorded[f"{name}_after"], 1e-5)
    yield from _probe(model.encoder, recorded, clips)
    yield from _drop_path(recorded)
    for name in sorted({key.split("/")[1] for key in recorded if key.startswith("groups/")}):
        yield from _groups(recorded, name)
    for name in sorted({key.split("/")[1] for key in recorded if key.startswith("schedule/")}):
        yield from _schedule(recorded, name)


def _recognizer(recorded: Recorded) -> Recognizer:
    """With dropout off."""
    weights = part(recorded, "state/")
    head = {name: value for name, value in weights.items() if name.startswith("head.")}
    body = {name: value for name, value in weights.items() if name not in head}
    encoder = load_official(body, "mamp", heads=int(recorded["heads"])).encoder
    assert isinstance(encoder, TransformerEncoder)
    hidden, classes = len(head["head.fc1.bias"]), len(head["head.fc2.bias"])
    model = Recognizer(
        encoder,
        FinetuneHead(encoder.out_features, encoder.joints, classes, hidden, dropout=0.0),
    )
    model.load_state_dict({_ours(name): value for name, value in head.items()}, strict=False)
    return model


def _ours(name: str) -> str:
    """This library's name of a parameter of the reference's fine-tuning model."""
    layer, _, end = name.rpartition(".")
    if layer in HEAD_LAYERS:
        return f"head.network.{HEAD_LAYERS[layer]}.{end}"
    return next(iter(rename_mamp({name: torch.zeros(0)}, name).weights))


def _probe(encoder: TransformerEncoder, recorded: Recorded, clips: Tensor) -> Iterator[Row]:
    weight = tensor(recorded, "probe/weight")
    head = ProbeHead(weight.shape[1], len(weight))
    norm, linear = head
    linear.load_state_dict({"weight": weight, "bias": tensor(recorded, "probe/bias")})
    encoder.eval()
    feature = encoder.pool(encoder(clips)).detach()
    found = {"feature": feature, "logits_train": head.train()(feature)}
    found |= {"running_mean": norm.running_mean, "running_var": norm.running_var}
    found["logits_eval"] = head.eval()(feature)
    for name, value in found.items():
        yield of_norm(f"probe/{name}", value, recorded[f"probe/{name}"], 1e-5)


def _drop_path(recorded: Recorded) -> Iterator[Row]:
    wanted = recorded["drop_path_rates"]
    encoder = TransformerEncoder(width=8, heads=1, depth=len(wanted))
    encoder.set_drop_path(float(wanted.max()))
    found = [block.drop_path for block in encoder.blocks]
    yield absolute("drop_path_rates", found, wanted, 1e-7)


def _groups(recorded: Recorded, name: str) -> Iterator[Row]:
    """Scale of the rate and decay of every parameter; sizes play no part."""
    names = recorded[f"groups/{name}/names"].tolist()
    depth = len({each.split(".")[1] for each in names if each.startswith("blocks.")})
    encoder = TransformerEncoder(width=8, heads=1, depth=depth)
    model = Recognizer(encoder, FinetuneHead(8, encoder.joints, classes=2, hidden=4))
    decays = recorded[f"groups/{name}/weight_decay"]
    recipe = RECIPES["mamp"]._replace(
        layer_decay=float(recorded[f"groups/{name}/layer_decay"]), weight_decay=float(decays.max())
    )
    place = {id(each): key for key, each in model.named_parameters()}
    found = {
        place[id(each)]: (group["lr"] / recipe.lr, group["weight_decay"])
        for group in finetune_optimizer(model, recipe).param_groups
        for each in group["params"]
    }
    ours = [_ours(each) for each in names]
    yield absolute("groups, names that differ", len({*ours} ^ found.keys()), 0, 0, name)
    rates, kept = zip(*(found[each] for each in ours), strict=True)
    yield relative("lr_scale", rates, recorded[f"groups/{name}/lr_scale"], 1e-9, name)
    yield relative("weight_decay", kept, decays, 1e-9, name)


def _schedule(recorded: Recorded, name: str) -> Iterator[Row]:
    """Rates of every step; beside them those of a layer three below the head."""
    lr, least, warmup, epochs, steps = recorded[f"schedule/{name}/setting"].tolist()
    config = TrainSettings(
        epochs=int(epochs), lr=lr, min_lr=least, warmup_epochs=warmup, schedule="cosine"
    )
    at = [step / steps for step in range(int(epochs * steps))]
    found = {"of training": [learning_rate(config, each) for each in at]}
    if np.isclose(least, lr / 30, rtol=1e-9):
        recipe = RECIPES["mamp"]._replace(epochs=int(epochs), warmup_epochs=warmup)
        found["of fine-tuning"] = [lr * recipe.factor(each) for each in at]
    wanted = recorded[f"schedule/{name}/rates"]
    for kind, rates in found.items():
        both = np.outer(rates, [1.0, RECIPES["mamp"].layer_decay ** 3])
        yield relative(f"rates {kind}", both, wanted, 1e-9, name)
