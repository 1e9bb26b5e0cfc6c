"""Steps of CMD beside the recorded ones."""

from __future__ import annotations

from collections.abc import Iterator

from golden_rows import Recorded, Row, absolute, part, relative, tensor
from torch import Tensor

from pcm3.encoders import GRUEncoder
from pcm3.methods import CMD
from pcm3.methods.cmd import STREAMS, CMDViews
from pcm3.methods.momentum import KeyNetworks
from pcm3.methods.official import rename_pcm3
from pcm3.methods.settings import TrainSettings
from pcm3.schedules import make_optimizer
from pcm3.skeleton import NTU25

LOSS, NORM, WEIGHT = 1e-5, 1e-4, 1e-5
_ENDS = {"joint": "", "motion": "_motion", "bone": "_bone"}


def compare_cmd(recorded: Recorded) -> Iterator[Row]:
    """Two steps: the losses of three streams, gradients, queues and the weights in the end."""
    model = _load(recorded)
    optimizer = make_optimizer(model, TrainSettings(lr=0.1, weight_decay=1e-4))
    for at in ("step0", "step1"):
        views = CMDViews(tensor(recorded, f"{at}/query"), tensor(recorded, f"{at}/key"))
        output = model.loss(views)
        for name, term in (output.terms | {"total": output.total}).items():
            yield relative(name, term, recorded[f"{at}/{name}"], LOSS, at)
        names = [n for n in recorded if n.startswith((f"{at}/info_nce/", f"{at}/distill/"))]
        yield absolute("terms", len(names), len(output.terms), 0, at)
        optimizer.zero_grad()
        output.total.backward()
        yield from _gradients(model, recorded, at)
        optimizer.step()
        for stream, branch in model.branches.items():
            wanted = recorded[f"{at}/queue/{stream}"]
            yield absolute(f"queue/{stream}", branch.queue.anchors.T, wanted, WEIGHT, at)
    for stream, branch in model.branches.items():
        for side, twin in (("q", False), ("k", True)):
            wanted = _named(part(recorded, f"final/encoder_{side}{_ENDS[stream]}."))
            for name, weight in _weights(branch, twin).items():
                yield absolute("final weights", weight, wanted[name], WEIGHT, f"{stream}: {name}")


def _load(recorded: Recorded) -> CMD:
    encoders = [
        GRUEncoder(25, hidden=int(recorded["config/hidden"]), layers=int(recorded["config/layers"]))
        for _ in STREAMS
    ]
    model = CMD(
        encoders[0],
        NTU25,
        others=dict(zip(STREAMS[1:], encoders[1:], strict=True)),
        embedding=int(recorded["config/dim"]),
        queue_size=int(recorded["config/K"]),
        momentum=float(recorded["config/m"]),
        temperature=float(recorded["config/T"]),
        teacher_temperature=float(recorded["config/teacher_T"]),
        student_temperature=float(recorded["config/student_T"]),
        topk=int(recorded["config/topk"]),
    )
    for stream, branch in model.branches.items():
        for side, twin in (("q", False), ("k", True)):
            weights = _named(part(recorded, f"state/encoder_{side}{_ENDS[stream]}."))
            for name, value in _weights(branch, twin).items():
                value.copy_(weights[name])
        branch.queue.anchors = tensor(recorded, f"state/queue{_ENDS[stream]}").T.contiguous()
    return model


def _named(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    return rename_pcm3(weights, "state").weights


def _weights(branch: KeyNetworks, twin: bool) -> dict[str, Tensor]:
    """Weights of encoder and projector, or of their twins, by name; they may be written to."""
    return {
        f"{name}.{key}": value.detach()
        for name in ("encoder", "projector")
        for key, value in branch.get_submodule(f"key_{name}.module" if twin else name)
        .state_dict()
        .items()
    }


def _gradients(model: CMD, recorded: Recorded, at: str) -> Iterator[Row]:
    norms = dict(zip(recorded[f"{at}/parameters"], recorded[f"{at}/grad_norm"], strict=True))
    published = rename_pcm3({}, "state").published
    found = {}
    for stream, branch in model.branches.items():
        for part_name in ("encoder", "projector"):
            for name, weight in branch.get_submodule(part_name).named_parameters():
                theirs = published(f"{part_name}.{name}")
                assert weight.grad is not None
                found[f"encoder_q{_ENDS[stream]}.{theirs}"] = weight.grad.norm()
    yield absolute("gradients that differ in name", len(norms.keys() ^ found.keys()), 0, 0, at)
    for name in norms.keys() & found.keys():
        yield relative("grad_norm", found[name], norms[name], NORM, f"{at}: {name}")
