"""CMD: three streams that teach each other, and the three encoders that a run keeps."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from pcm3.data import generate
from pcm3.encoders import EncoderAdapter, GRUEncoder, STGCNEncoder
from pcm3.evaluation.evaluate import evaluate_runs
from pcm3.hub import load_encoder
from pcm3.losses import info_nce, topk_relational_kl
from pcm3.methods import CMD, CMDSettings
from pcm3.methods.catalog import get_preset
from pcm3.runs.folder import find_run, find_stream
from pcm3.skeleton import KINECT20, NTU25, to_stream
from pcm3.training.pretrain import pretrain

STREAMS = ("joint", "motion", "bone")


def tiny(**changes: Any) -> CMD:
    torch.manual_seed(0)
    encoder = GRUEncoder(KINECT20, persons=1, hidden=4, layers=1, pool="mean")
    sizes = {"frames": 12, "embedding": 5, "queue_size": 16, "topk": 6, "momentum": 0.5}
    return CMD(encoder, KINECT20, **(sizes | changes))


def clips(samples: int = 4) -> Tensor:
    return torch.randn(samples, 3, 20, 20, 1, generator=torch.Generator().manual_seed(1))


def test_terms_equal_their_definitions() -> None:
    model = tiny(distill_weight=0.5)
    views = model.make_views(clips())
    queues = {stream: branch.queue.anchors for stream, branch in model.branches.items()}
    output = model.loss(views)  # the twins were copies, and so moved nowhere
    queries, keys = {}, {}
    for stream, branch in model.branches.items():
        for view, found in ((views.query, queries), (views.key, keys)):
            frames = branch.encoder(to_stream(view, KINECT20, stream))
            found[stream] = F.normalize(branch.projector(frames.mean(dim=1)), dim=1)
    names, total = [], torch.zeros(())
    for stream in STREAMS:
        term = info_nce(queries[stream], keys[stream], queues[stream], 0.07)
        names.append(f"info_nce/{stream}")
        torch.testing.assert_close(output.terms[names[-1]], term.detach())
        torch.testing.assert_close(model.branches[stream].queue.anchors[:4], keys[stream])
        total = total + term
    for teacher, student in permutations(STREAMS, 2):
        similar = queries[student] @ queues[student].T, keys[teacher] @ queues[teacher].T
        term = topk_relational_kl(*similar, 6)
        names.append(f"distill/{teacher}-{student}")
        torch.testing.assert_close(output.terms[names[-1]], term.detach())
        total = total + 0.5 * term
    assert list(output.terms) == names
    torch.testing.assert_close(output.total, total)
    output.total.backward()
    for stream, branch in model.branches.items():
        for part in (branch.encoder, branch.projector):
            assert all(p.grad is not None and p.grad.any() for p in part.parameters()), stream
    assert list(tiny(distill_weight=0.0)(clips()).terms) == names[:3]


def test_each_stream_has_networks_of_its_own() -> None:
    model = tiny()
    encoders = model.trained_encoders
    assert list(encoders) == list(STREAMS)
    assert encoders["joint"] is model.encoder is model.trained_encoder
    weights = [encoder.layers[0][0].weight_ih_l0 for encoder in encoders.values()]
    assert not torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
    assert len({id(weight) for weight in model.parameters()}) == sum(1 for _ in model.parameters())
    graph = CMD(STGCNEncoder(NTU25, channels=4, layers=(1,), out_features=6), queue_size=16, topk=4)
    assert graph.trained_encoders["bone"].arguments == graph.encoder.arguments
    module = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * 12 * 20, 4))
    adapted = EncoderAdapter(module, 4, joints=20, persons=1, fixed_frames=True)
    apart = CMD(adapted, KINECT20, queue_size=16, topk=4, frames=12).trained_encoders
    assert apart["motion"].module is not module
    assert CMDSettings(encoder="stgcn", hidden=4, queue_size=8, topk=4).build(NTU25, 1).static


def test_twins_and_queues_wait_for_the_last_batch_of_a_step() -> None:
    model = tiny()
    model.accumulate(2)
    twins = [next(branch.key_encoder.parameters()) for branch in model.branches.values()]
    with torch.no_grad():
        for encoder in model.trained_encoders.values():
            next(encoder.parameters()).add_(1.0)
    before = [twin.clone() for twin in twins]
    model(clips())
    moved = [twin.clone() for twin in twins]
    assert not any(torch.equal(*pair) for pair in zip(before, moved, strict=True))
    model(clips())
    assert all(torch.equal(*pair) for pair in zip(twins, moved, strict=True))
    model.eval()(clips())
    assert [int(branch.queue.position) for branch in model.branches.values()] == [8, 8, 8]


def test_views_share_their_draws_among_streams() -> None:
    views = [tiny().make_views(clips(), generator=torch.Generator().manual_seed(2)) for _ in "ab"]
    assert all(torch.equal(*pair) for pair in zip(*views, strict=True))
    assert views[0].query.shape == (4, 3, 12, 20, 1)
    assert not torch.equal(views[0].query, views[0].key)


def test_a_run_keeps_an_encoder_of_each_stream(tmp_path: Path) -> None:
    store = generate(tmp_path / "store", sequences=24, subjects=4, views=1, classes=2)
    config = get_preset("small-cmd")
    sizes = {"hidden": 4, "embedding": 4, "queue_size": 16, "topk": 4, "frames": 8}
    train = config.train.changed(
        {"epochs": 1, "batch_size": 4, "accelerator": "cpu", "knn_every": 1, "keep_epochs": (1,)}
    )
    config = type(config)(config.model.changed(sizes), train, "xsub")
    run = tmp_path / "run"
    pretrain(config, store, run, quiet=True)
    files = [run, run / "encoder-motion.safetensors", run / "encoder-bone.safetensors"]
    assert [load_encoder(file).stream for file in files] == list(STREAMS)
    assert [find_stream(file) for file in files] == [None, "motion", "bone"]
    assert [found and found.path for found, _ in map(find_run, files)] == [run] * 3
    kept = run / "encoder-epoch1-motion.safetensors"
    assert (find_run(kept)[1], find_stream(kept)) == (1, "motion")
    assert find_run(run / "encoder.safetensors") == (None, None)
    assert find_stream(tmp_path / "encoder-bone.safetensors") is None
    result = evaluate_runs("linear", files, store)
    assert [about.run for about in result.runs] == ["run", "run-motion", "run-bone"]
    assert result.protocol == "xsub"
    one, other = (evaluate_runs("knn", [file], store) for file in files[:2])
    assert one.runs[0].encoder != other.runs[0].encoder


def test_refusals() -> None:
    encoder = tiny().encoder
    for changes, word in (
        ({"topk": 17}, "topk"),
        ({"topk": 0}, "topk"),
        ({"distill_weight": -1.0}, "distill_weight"),
        ({"stream": "bone"}, "stream"),
        ({"others": {"motion": encoder}}, "bone"),
        ({"others": {"motion": encoder, "bone": GRUEncoder(25, hidden=4)}}, "bone"),
        ({"others": {"motion": encoder, "bone": torch.nn.Linear(2, 3)}}, "Encoder"),
    ):
        with pytest.raises(ValueError, match=word):
            tiny(**changes)
