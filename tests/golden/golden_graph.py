"""Steps of methods with the graph encoder beside the recorded ones."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from golden_rows import Recorded, Row, absolute, of_norm, part, relative, tensor
from torch import Tensor, nn

from pcm3.augment import Flip, TimeFlip
from pcm3.augment.functional import drop_frames, gaussian_blur, linear_map, reflect_crop
from pcm3.augment.spatial import main_axis_matrix
from pcm3.encoders import STGCNEncoder
from pcm3.heads import attention_drop
from pcm3.methods import PCM3, AimCLR, Decorrelation, Views
from pcm3.methods.aimclr import AimCLRViews
from pcm3.methods.decorrelation import DecorrelationViews
from pcm3.methods.momentum import MomentumContrast
from pcm3.methods.settings import TrainSettings
from pcm3.schedules import make_optimizer
from pcm3.skeleton import NTU25

LOSS, NORM, WEIGHT = 1e-5, 1e-4, 1e-5

_NAMES = (
    ("data_bn.", "input_norm."),
    ("st_gcn_networks.", "blocks."),
    ("gcn.conv.", "body.0.mix."),
    ("tcn.0.", "body.1."),
    ("tcn.2.", "body.3."),
    ("tcn.3.", "body.4."),
    ("residual.", "shortcut."),
)


def our_name(name: str) -> str:
    """The name that a weight of the published encoder has here; empty for the graph itself."""
    first, _, rest = name.partition(".")
    if first == "edge_importance":
        return f"blocks.{rest}.body.0.importance"
    for published, ours in _NAMES:
        name = name.replace(published, ours)
    return "" if name == "A" else name


def our_weights(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the published encoder under the names that they have here, less the head."""
    found = {our_name(name): value for name, value in weights.items() if name[:3] != "fc."}
    found.pop("", None)
    return {n: v.mT if n.endswith("importance") else v for n, v in found.items()}


def graph_encoder(weights: dict[str, Tensor]) -> STGCNEncoder:
    """The encoder of the published code with its weights."""
    found = our_weights(weights)
    width = len(found["blocks.9.body.4.bias"])
    encoder = STGCNEncoder(
        NTU25,
        channels=len(found["blocks.0.body.4.bias"]),
        out_features=width,
        graph="code",
        last_channels=width,
    )
    encoder.load_state_dict(found)
    return encoder


def load_pair(encoder: nn.Module, head: nn.Module, weights: dict[str, Tensor]) -> None:
    """Load an encoder and a projector from the weights of one published network."""
    encoder.load_state_dict(our_weights(weights))
    head.load_state_dict(part(weights, "fc."))


def gradients(
    modules: dict[str, nn.Module], recorded: Recorded, at: str, allowed: float = NORM
) -> Iterator[Row]:
    """Norms of the gradients of modules, by the prefix of their published names."""
    norms = dict(zip(recorded[f"{at}/parameters"], recorded[f"{at}/grad_norm"], strict=True))
    found = {}
    for prefix, module in modules.items():
        ours = dict(module.named_parameters())
        for name in norms:
            if name.startswith(prefix):
                weight = ours.pop(our_name(name.removeprefix(prefix)), None)
                if weight is not None and weight.grad is not None:
                    found[name] = weight.grad.norm()
        yield absolute("weights without a recorded gradient", len(ours), 0, 0, at)
    for name, norm in found.items():
        if name.endswith(("tcn.2.bias", "residual.0.bias")):
            # before a batch normalisation: nothing but rounding
            yield absolute("grad_norm of nothing", norm, norms[name], 1e-3, f"{at}: {name}")
        else:
            yield relative("grad_norm", norm, norms[name], allowed, f"{at}: {name}", beyond=1e-6)
    yield absolute("gradients that differ in name", len(norms.keys() ^ found.keys()), 0, 0, at)


def compare_aimclr(recorded: Recorded) -> Iterator[Row]:
    """Augmentations, attention drop, two steps, and SkeletonCLR as a part of the first."""
    yield from _augmentations(recorded)
    yield from _drop(recorded)
    yield from _skeletonclr(recorded)
    yield from _aimclr(recorded)


def _augmentations(recorded: Recorded) -> Iterator[Row]:
    clip = tensor(recorded, "aug/clip")
    value = part(recorded, "aug/")
    found = {
        "shear": linear_map(clip, value["shear/matrix"]),
        "temporal_crop": reflect_crop(clip, value["temporal_crop/start"], clip.shape[1] // 6),
        "flip": Flip(NTU25, negate=False)(clip),
        "noise": clip + value["noise/noise"],
        "time_flip": TimeFlip()(clip),
    }
    for axis in range(3):
        turn = main_axis_matrix(value[f"rotate/{axis}/degrees"][None])
        found[f"rotate/{axis}"] = linear_map(clip, turn[0])
    for number in range(2):
        sigma = value[f"blur/{number}/sigma"]
        found[f"blur/{number}"] = gaussian_blur(clip, sigma, 15, normalize=False)
    for name, result in found.items():
        yield absolute(name.partition("/")[0], result, value[f"{name}/out"], 2e-6, name)


def _drop(recorded: Recorded) -> Iterator[Row]:
    given = tensor(recorded, "drop/in").requires_grad_()
    out = attention_drop(given.permute(0, 2, 3, 1)[:, None])[:, 0].permute(0, 3, 1, 2)
    (out * tensor(recorded, "drop/weight")).sum().backward()
    yield absolute("attention drop", out, recorded["drop/out"], 2e-6)
    yield absolute("attention drop, gradient", given.grad, recorded["drop/in_grad"], 2e-6)


def _sizes(recorded: Recorded) -> dict[str, Any]:
    return {
        "queue_size": int(recorded["config/queue_size"]),
        "embedding": int(recorded["config/feature_dim"]),
        "momentum": float(recorded["config/momentum"]),
        "temperature": float(recorded["config/Temperature"]),
    }


def _load_twins(model: MomentumContrast, recorded: Recorded) -> None:
    query, key = (part(recorded, f"state/encoder_{side}.") for side in "qk")
    load_pair(model.encoder, model.projector, query)
    load_pair(model.key_encoder.module, model.key_projector.module, key)
    model.queue.anchors = tensor(recorded, "state/queue").T.contiguous()


def _skeletonclr(recorded: Recorded) -> Iterator[Row]:
    """InfoNCE of query and key, which AimCLR's first step has too."""
    model = PCM3(
        graph_encoder(part(recorded, "state/encoder_q.")),
        NTU25,
        positives=("intra",),
        mask_weight=0,
        kl_weight=0,
        domain_prompts=False,
        task_prompts=False,
        **_sizes(recorded),
    )
    _load_twins(model, recorded)
    output = model.loss(Views(tensor(recorded, "step0/query"), tensor(recorded, "step0/key")))
    yield relative("SkeletonCLR: info_nce", output.total, recorded["step0/info_nce"], LOSS)
    queue = model.queue.anchors.T
    yield absolute("SkeletonCLR: queue", queue, recorded["step0/queue"], WEIGHT)


def _aimclr(recorded: Recorded) -> Iterator[Row]:
    model = AimCLR(graph_encoder(part(recorded, "state/encoder_q.")), **_sizes(recorded))
    _load_twins(model, recorded)
    optimizer = make_optimizer(model, TrainSettings(lr=0.1, weight_decay=1e-4))
    for at in ("step0", "step1"):
        model.progress(int(recorded[f"{at}/mining"]), 2, 0)
        views = [tensor(recorded, f"{at}/{name}") for name in AimCLRViews._fields]
        output = model.loss(AimCLRViews(*views))
        found = {name.replace("/", "_"): term for name, term in output.terms.items()}
        for name, term in (found | {"total": output.total}).items():
            yield relative(name, term, recorded[f"{at}/{name}"], LOSS, at)
        optimizer.zero_grad()
        output.total.backward()
        encoder, head = {"encoder_q.": model.encoder}, {"encoder_q.fc.": model.projector}
        yield from gradients(head | encoder, recorded, at)
        optimizer.step()
        yield absolute("queue", model.queue.anchors.T, recorded[f"{at}/queue"], WEIGHT, at)
    wanted = our_weights(part(recorded, "final/encoder_q."))
    for name, weight in model.encoder.state_dict().items():
        yield absolute("final weights", weight, wanted[name], WEIGHT, name)


def compare_pstl(recorded: Recorded) -> Iterator[Row]:
    """Two steps of PSTL: frames and joints that are left out, features, losses, gradients."""
    width = int(recorded["config/pj_size"])
    weight = float(recorded["config/lambd"])
    encoder = graph_encoder(part(recorded, "encoder/"))
    model = Decorrelation(encoder, NTU25, expander=width, off_diagonal=weight)
    model.head.load_state_dict(part(recorded, "head/projector."))
    config = TrainSettings(optimizer="adam", lr=5e-3, weight_decay=1e-5)
    optimizer = make_optimizer(model, config)
    pooled: list[Tensor] = []
    for at in ("step0", "step1"):
        moving = tensor(recorded, f"{at}/temporal")
        kept = tensor(recorded, f"{at}/kept_of_remaining").expand(len(moving), -1)
        fewer = drop_frames(moving, int(recorded["config/mask_frame"]), kept)
        yield absolute("temporal_masked", fewer, recorded[f"{at}/temporal_masked"], 0, at)
        ignored = tensor(recorded, f"{at}/ignored_joints")
        joints = torch.arange(25)[~torch.isin(torch.arange(25), ignored)]
        spatial = tensor(recorded, f"{at}/spatial")
        views = DecorrelationViews(
            tensor(recorded, f"{at}/anchor"),
            {"temporal": fewer, "spatial": spatial},
            joints.expand(len(moving), -1),
        )
        pooled.clear()
        with model.head.register_forward_pre_hook(lambda _, given: pooled.append(given[0])):
            output = model.loss(views)
        for name, feature in zip(("anchor", "temporal", "spatial"), pooled, strict=True):
            wanted = recorded[f"{at}/features/{name}"]
            yield of_norm(f"features/{name}", feature, wanted, LOSS, at)
        for name in ("temporal", "spatial"):
            wanted = recorded[f"{at}/loss_{name}"]
            yield relative(f"barlow/{name}", output.terms[f"barlow/{name}"], wanted, LOSS, at)
        yield relative("total", output.total, recorded[f"{at}/total"], LOSS, at)
        optimizer.zero_grad()
        output.total.backward()
        modules = {"encoder.": model.encoder, "head.projector.": model.head}
        # Adam enlarges the rounding of the step before
        yield from gradients(modules, recorded, at, NORM if at == "step0" else 20 * NORM)
        optimizer.step()
