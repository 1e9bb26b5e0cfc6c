"""PCM3's encoder and training steps beside the recorded ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from golden_rows import Recorded, Row, absolute, of_norm, part, relative, tensor
from torch import Tensor, nn

from pcm3.augment import MixedClips
from pcm3.augment.functional import mixup, paste, shrink_frames
from pcm3.heads import Projector
from pcm3.hub import load_official
from pcm3.losses import InfoNCE, RelationalKL
from pcm3.methods import PCM3, Output, Views
from pcm3.methods.official import rename_pcm3
from pcm3.methods.settings import TrainSettings
from pcm3.prompts import TaskPrompt
from pcm3.schedules import make_optimizer


class Tolerances(NamedTuple):
    """Of losses and logits, relative and absolute; of gradient norms and tensors."""

    loss: float
    beyond: float
    norm: float
    tensor: float


FIRST_SET = Tolerances(loss=1e-5, beyond=0.0, norm=1e-4, tensor=1e-5)
SECOND_SET = Tolerances(loss=1e-4, beyond=1e-5, norm=1e-4, tensor=1e-5)


def compare_encoder(recorded: Recorded) -> Iterator[Row]:
    """Features of the encoder and embeddings of the projector."""
    weights = part(recorded, "state/")
    encoder = load_official(weights).encoder
    fc = part(recorded, "state/encoder_q.fc.")
    projector = Projector(encoder.out_features, len(fc["2.bias"]))
    projector.load_state_dict(fc)
    frames = encoder(tensor(recorded, "clip"))
    pooled = encoder.pool(frames)
    found = {
        "frame_features_eval": frames,
        "sequence_feature_eval": pooled,
        "embedding_eval": projector(pooled),
        "frame_features_train": encoder.train()(tensor(recorded, "clip")),
    }
    for name, value in found.items():
        if name in recorded:
            yield of_norm(name, value, recorded[name], 1e-5)


def compare_unprompted_step(recorded: Recorded) -> Iterator[Row]:
    """One step without prompts and without guidance of the decoder."""
    model = _load(recorded)
    model.domain_prompts = model.task_prompts = nn.ModuleDict()
    model.semantic_guidance = False
    yield from _step(model, recorded, "", FIRST_SET)


def compare_prompted_steps(recorded: Recorded) -> Iterator[Row]:
    """Consecutive steps with prompts and SGD, and the state that they leave."""
    model = _load(recorded)
    _take_settings(model, recorded)
    config = TrainSettings(lr=float(recorded["lr"]), weight_decay=float(recorded["weight_decay"]))
    optimizer = make_optimizer(model, config)
    optimizer.param_groups[0]["momentum"] = float(recorded["momentum"])
    steps = sorted({name.split("/")[0] for name in recorded if name.startswith("step")})
    for step in steps:
        optimizer.zero_grad()
        yield from _step(model, recorded, f"{step}/", SECOND_SET)
        optimizer.step()
        yield from _state(model, recorded, step)
    ours = model.state_dict()
    for name, wanted in _ours(part(recorded, "final/"), model).items():
        kind = "final statistics" if "running" in name else "final weights"
        yield absolute(kind, ours[name], wanted, SECOND_SET.tensor, name)


def _load(recorded: Recorded) -> PCM3:
    model = load_official(part(recorded, "state/")).model
    assert isinstance(model, PCM3)
    return model.train()


def _take_settings(model: PCM3, recorded: Recorded) -> None:
    """What the weights do not tell."""
    nce, teacher, student = map(float, recorded["temperatures"])
    model.info_nce = InfoNCE(nce)
    model.relational_kl = RelationalKL(student, teacher)
    model.mask_weight = float(recorded["mse_weight"])
    for twin in (model.key_encoder, model.key_projector):
        twin.momentum = float(recorded["key_momentum"])
    width = 2 * int(recorded["prompt_half"])
    for task, name in (("contrast", "cl_prompt"), ("predict", "mp_prompt")):
        prompt = TaskPrompt(model.encoder.out_features, model.encoder.feature_blocks, width)
        prompt.load_state_dict({"vector": tensor(recorded, f"state/{name}").flatten()})
        model.task_prompts[task] = prompt


def _step(model: PCM3, recorded: Recorded, at: str, allowed: Tolerances) -> Iterator[Row]:
    """Losses, logits, gradients and the queue of one step."""
    place, loss, beyond = at.removesuffix("/"), allowed.loss, allowed.beyond

    def losses(name: str, found: Any) -> Row:
        return relative(name, found, recorded[at + name], loss, place, beyond=beyond)

    views = _views(recorded, at)
    if f"{at}mix_kind" in recorded and f"{at}view_inter" in recorded:
        yield absolute("view_inter", views.inter.clips, recorded[f"{at}view_inter"], 1e-6, place)
    output, logits = _run(model, views)
    output.total.backward()

    names = {*part(recorded, f"{at}info_nce/")}
    yield absolute("positives that differ", len(names ^ {*model.positives}), 0, 0, place)
    for name in model.positives:
        yield losses(f"info_nce/{name}", output.terms[f"info_nce/{name}"])
        if f"{at}kl/{name}" in recorded:
            yield losses(f"kl/{name}", output.terms[f"kl/{name}"])
        if f"{at}logits/{name}" in recorded:
            wanted = recorded[f"{at}logits/{name}"]
            yield of_norm(f"logits/{name}", logits[name], wanted, loss, place)
    kl = torch.stack([output.terms[f"kl/{name}"] for name in model.positives]).sum()
    yield losses("relational_kl_sum", kl)
    yield losses("masked_mse", output.terms["masked_mse"])
    yield losses("total", output.total)
    assert output.prediction is not None
    if f"{at}reconstruction" in recorded:
        wanted = recorded[f"{at}reconstruction"]
        yield of_norm("reconstruction", output.prediction, wanted, loss, place)
    if f"{at}reconstruction_norm" in recorded:
        yield losses("reconstruction_norm", output.prediction.detach().double().norm())
    yield from _gradients(model, recorded, at, allowed)
    queue = model.queue.anchors.T
    yield absolute("queue_after", queue, recorded[f"{at}queue_after"], allowed.tensor, place)
    if f"{at}queue_ptr_after" in recorded:
        pointer = model.queue.position.reshape(1)
        yield absolute("queue_ptr_after", pointer, recorded[f"{at}queue_ptr_after"], 0, place)


def _views(recorded: Recorded, at: str) -> Views:
    """The views of a step; the mixed one is made here where the file says how."""
    intra, partner = tensor(recorded, f"{at}view_intra"), tensor(recorded, f"{at}partner")
    lam = tensor(recorded, f"{at}lam").expand(len(intra))
    if f"{at}mix_kind" in recorded:
        inter = _mix(recorded, at, intra, intra[partner], lam)
    else:
        inter = tensor(recorded, f"{at}view_inter")
    return Views(
        intra=intra,
        key=tensor(recorded, f"{at}view_key"),
        source=tensor(recorded, f"{at}view_mask_source"),
        inter=MixedClips(inter, partner, lam),
        mask=tensor(recorded, f"{at}mask").transpose(2, 3),
        offsets=part(recorded, f"{at}prompt_offset/"),
    )


def _mix(recorded: Recorded, at: str, clips: Tensor, partners: Tensor, lam: Tensor) -> Tensor:
    kind = str(recorded[f"{at}mix_kind"])
    if kind == "blend":
        return mixup(clips, partners, lam)
    start, frames = (int(recorded[f"{at}mix_{name}"]) for name in ("start", "frames"))
    region = torch.zeros(len(clips), clips.shape[2], clips.shape[3], dtype=torch.bool)
    joints = tensor(recorded, f"{at}mix_joints")
    region[:, start : start + frames] = torch.isin(torch.arange(clips.shape[3]), joints)
    if kind == "paste_resized":
        starts, lengths = (torch.full((len(clips),), each) for each in (start, frames))
        partners = shrink_frames(partners, starts, lengths)
    else:
        assert kind == "paste"
    return paste(clips, partners, region)


def _run(model: PCM3, views: Views) -> tuple[Output, dict[str, Tensor]]:
    """A step, and the logits ``(N, 1 + K)`` of every positive pair."""
    seen: list[Tensor] = []

    def note(_: nn.Module, inputs: tuple[Any, ...]) -> None:
        query, target, anchors = (each.detach() for each in inputs[:3])
        first = (query * target).sum(dim=1, keepdim=True)
        seen.append(torch.cat([first, query @ anchors.T], dim=1) / model.info_nce.temperature)

    with model.info_nce.register_forward_pre_hook(note):
        output = model.loss(views)
    return output, dict(zip(model.positives, seen[0].chunk(len(model.positives)), strict=True))


def _gradients(model: PCM3, recorded: Recorded, at: str, allowed: Tolerances) -> Iterator[Row]:
    """Norms, in the precision in which they were recorded."""
    groups = {
        "encoder": [*model.encoder.get_submodule("layers").parameters()],
        "projector": [*model.projector.parameters()],
        "input_norm": [*model.encoder.get_submodule("input_norm").parameters()],
        "adapter": [*model.decoder.adapter.parameters()],
        "decoder": [*model.decoder.gru.parameters(), *model.decoder.output.parameters()],
    }
    views = {"intra": "base", "mask": "mask", "predict": "recons", "inter": "mix"}
    for name, prompt in model.domain_prompts.items():
        groups[f"{views[name]}_prompt"] = [*prompt.parameters()]
    for name, prompt in model.task_prompts.items():
        groups[{"contrast": "cl", "predict": "mp"}[name] + "_prompt"] = [*prompt.parameters()]
    # what batch statistics take out again leaves nothing but rounding
    rounding = {"mp_prompt": 1e-6} | {f"{name}_prompt": 1e-4 for name in views.values()}
    wanted = part(recorded, f"{at}grad_norm/")
    yield absolute(
        "gradients that differ in name",
        len(wanted.keys() ^ groups.keys()),
        0,
        0,
        at.removesuffix("/"),
    )
    for name, norm in wanted.items():
        parts = [p.grad.flatten() for p in groups.get(name, ()) if p.grad is not None]
        found = torch.cat([torch.zeros(0), *parts]).to(norm.dtype).norm()
        place, quantity = at.removesuffix("/"), f"grad_norm/{name}"
        if name in rounding:
            yield absolute(quantity, found, norm, rounding[name], place)
        else:
            yield relative(quantity, found, norm, allowed.norm, place)


def _state(model: PCM3, recorded: Recorded, step: str) -> Iterator[Row]:
    """Root mean square and mean of every tensor; one entry may be off as a final weight may."""
    ours = model.state_dict()
    published = rename_pcm3(part(recorded, "state/"), "state").published
    found = {published(name): value.double() for name, value in ours.items()}
    names = recorded["names"].tolist()
    yield absolute("tensors that differ in name", len({*names} ^ found.keys()), 0, 0, step)
    both = zip(names, recorded[f"{step}/norms_after"], recorded[f"{step}/sums_after"], strict=True)
    for name, norm, total in both:
        value, count = found[name], found[name].numel()
        kind = "statistics" if "running" in name else "weights"
        rms, mean = float(value.norm()) / count**0.5, float(value.sum()) / count
        place = f"{step}: {name}"
        yield absolute(f"{kind} after, norm", rms, norm / count**0.5, SECOND_SET.tensor, place)
        yield absolute(f"{kind} after, mean", mean, total / count, SECOND_SET.tensor, place)


def _ours(weights: dict[str, Tensor], model: PCM3) -> dict[str, Tensor]:
    """Recorded weights under the names and in the shapes of the model."""
    renamed = rename_pcm3(weights, "final").weights
    for name in renamed.keys() & model.state_dict().keys():
        if name.startswith("domain_prompts."):  # flat there: joint, coordinate, person
            channels, joints, persons = model.state_dict()[name].shape
            flat = renamed[name].reshape(joints, channels, persons)
            renamed[name] = flat.transpose(0, 1)
    return renamed
