"""Two processes against one: queue, loss, parameters, and going on with more or fewer of them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import forks
import pytest
import torch
from torch import Tensor, nn

from pcm3.data.dataset import SkeletonDataset
from pcm3.data.store import Store
from pcm3.data.synthetic import generate
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.methods.settings import TrainSettings
from pcm3.runs.folder import Run
from pcm3.skeleton import NTU25
from pcm3.training.devices import SyncBatchNorm, launch, synchronize_norms

MODEL: dict[str, Any] = {
    **{"hidden": 4, "layers": 1, "frames": 16, "embedding": 4, "decoder_hidden": 4},
    **{"queue_size": 32, "momentum": 0.9, "pool": "mean"},
}

HALVES = '''
"""Ten steps on this process's half of given views, or of all on one process."""
import sys
from dataclasses import fields, replace
from pathlib import Path

import torch
import torch.distributed as dist
from pcm3.augment import MixedClips
from pcm3.methods import Views
from pcm3.skeleton import NTU25
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.methods.settings import TrainSettings
from pcm3.training.devices import launch, synchronize_norms

folder, model_settings, devices = Path(sys.argv[1]), eval(sys.argv[2]), int(sys.argv[3])
fabric = launch(TrainSettings(accelerator="cpu", devices=devices))
rank, world = fabric.global_rank, fabric.world_size
torch.manual_seed(0)
model = PCM3Settings(**model_settings).build(NTU25, persons=1)
synchronize_norms(model)
model, optimizer = fabric.setup(model, torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9))
torch.serialization.add_safe_globals([Views, MixedClips])
losses = []
for step in range(10):
    views = torch.load(folder / f"views{step}.pt")
    mine = slice(rank * 4, rank * 4 + 4) if world == 2 else slice(0, 8)
    mixed = views.inter
    inter = MixedClips(mixed.clips[mine], mixed.partner[mine] - mine.start, mixed.lam[mine])
    names = ("intra", "key", "source", "mask")
    cut = {name: getattr(views, name)[mine] for name in names}
    model.module.make_views = lambda *_: replace(views, inter=inter, **cut)
    output = model(cut["intra"])
    fabric.backward(output.total)
    optimizer.step()
    optimizer.zero_grad()
    losses.append(fabric.all_reduce(output.total.detach()))
if world == 2 or rank == 0:
    state = {"model": model.module.state_dict(), "losses": torch.stack(losses)}
    torch.save(state, folder / f"end{world}-{rank}.pt")
'''


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("data") / "store"
    return generate(out, sequences=24, classes=3, subjects=4, views=2, frames=(10, 30))


def run_ranks(script: Path, *arguments: str, devices: int) -> None:
    """Run a script in processes that are told of each other as torchrun does."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    told = {"WORLD_SIZE": str(devices), "LOCAL_WORLD_SIZE": str(devices), "GROUP_RANK": "0"}
    told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "TORCHELASTIC_RUN_ID": "none"}
    started = [
        forks.Started(
            forks.script, script, *arguments, **told, RANK=str(rank), LOCAL_RANK=str(rank)
        )
        for rank in range(devices)
    ]
    for each in started:
        ended = each.end(300)
        assert ended.returncode == 0, ended.stderr


def run(*command: str, devices: int = 1) -> str:
    """Run Python with a module, under torchrun for several processes."""
    several = ["-m", "torch.distributed.run", f"--nproc-per-node={devices}", "--standalone"]
    launcher = several if devices > 1 else []
    done = subprocess.run(
        [sys.executable, *launcher, *command],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_halves_train_like_one_batch(store: Store, tmp_path: Path) -> None:
    torch.manual_seed(1)
    model = PCM3Settings(**MODEL).build(NTU25, persons=1)
    for step in range(10):
        batch = SkeletonDataset(store).batch(range(step, step + 8))
        views = model.make_views(batch.clips, batch.lengths)
        # partners within the halves, which is where processes look for them
        partner = torch.tensor([1, 2, 3, 0, 7, 6, 5, 4])
        shares = torch.rand(8)
        share = shares[:, None, None, None, None]
        mixed = (1 - share) * views.intra + share * views.intra[partner]
        inter = views.inter._replace(clips=mixed, partner=partner, lam=shares)
        torch.save(replace(views, inter=inter), tmp_path / f"views{step}.pt")
    script = tmp_path / "halves.py"
    script.write_text(HALVES)
    for devices in (1, 2):
        run_ranks(script, str(tmp_path), repr(MODEL), str(devices), devices=devices)
    ends = [
        torch.load(tmp_path / name, weights_only=True)
        for name in ("end1-0.pt", "end2-0.pt", "end2-1.pt")
    ]
    one, first, second = (end["model"] for end in ends)
    for name in ("queue.anchors", "queue.position"):
        assert torch.equal(first[name], second[name])
    assert int(first["queue.position"]) == 80 % 32
    for name, value in one.items():
        torch.testing.assert_close(first[name], value, rtol=1e-3, atol=2e-4, msg=name)
        torch.testing.assert_close(second[name], value, rtol=1e-3, atol=2e-4, msg=name)
    for end in ends[1:]:
        torch.testing.assert_close(end["losses"], ends[0]["losses"], rtol=1e-4, atol=0)
    assert (ends[0]["losses"][-1] - ends[0]["losses"][0]).abs() > 0.1  # something was learnt


RANKS = '''
"""Train on each process's share, and keep what each of them ends with."""
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from pcm3.data import SkeletonDataset, Store
from pcm3.skeleton import NTU25
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.methods.settings import TrainSettings
from pcm3.training.trainer import fit

folder = Path(sys.argv[1])
for number, (model_settings, settings) in enumerate(eval(sys.argv[2])):
    torch.manual_seed(0)
    model = PCM3Settings(**model_settings).build(NTU25, persons=1)
    drawn = []
    model.register_forward_pre_hook(lambda _, inputs: drawn.append(inputs[2].initial_seed()))
    config = TrainSettings(epochs=2, batch_size=2, lr=0.05, accelerator="cpu", **settings)
    fit(model, SkeletonDataset(Store(folder / "store")), config, quiet=True)
    state = {"model": model.state_dict(), "drawn": drawn}
    torch.save(state, folder / f"end{number}-rank{dist.get_rank()}.pt")
'''
TRAINED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (model, settings)
    for model in (MODEL, MODEL | {"positives": (), "queue_size": 5})
    for settings in (
        {"accumulate": 2},
        {"accumulate": 2, "clip_norm": 0.1, "sync_norm": True},
        {"clip_norm": 0.1},
    )
]


@pytest.fixture(scope="module")
def ends(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of what two processes end each training with, one after the other."""
    folder = tmp_path_factory.mktemp("ends")
    (folder / "store").symlink_to(store.path)
    script = folder / "ranks.py"
    script.write_text(RANKS)
    run_ranks(script, str(folder), repr(TRAINED), devices=2)
    return folder


@pytest.mark.parametrize("number", range(len(TRAINED)))
def test_processes_stay_equal_and_draw_differently(ends: Path, number: int) -> None:
    model, settings = TRAINED[number]
    first, second = (
        torch.load(ends / f"end{number}-rank{rank}.pt", weights_only=True) for rank in (0, 1)
    )
    torch.manual_seed(0)
    untrained = PCM3Settings(**model).build(NTU25, persons=1).state_dict()
    moved = 0
    for name, value in first["model"].items():
        own_statistics = "running_" in name and "sync_norm" not in settings
        if not own_statistics:
            assert torch.equal(value, second["model"][name]), name
        moved += not torch.equal(value, untrained[name])
    assert moved > 20
    steps = len(first["drawn"])
    assert steps == len(second["drawn"]) == 2 * 6  # of 24 sequences in twos on two processes
    assert len({*first["drawn"], *second["drawn"]}) == 2 * steps


def test_one_command_trains_on_two_and_goes_on_with_one(store: Store, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    settings = [f"--model.{name.replace('_', '-')}={value}" for name, value in MODEL.items()]
    settings += ["--train.lr=0.01", "--train.accelerator=cpu", "--train.optimizer=sgd"]
    settings += ["--train.checkpoint-every=1", "--train.epochs=4", "--train.drop-epoch=351"]
    command = ["-m", "pcm3", "pretrain", f"--data={store.path}", f"--out={folder}"]
    command += ["--preset=ntu60-xsub", "--train.batch-size=2", "--json", *settings]
    said = run(*command, "--train.devices=2")
    assert len(said.splitlines()) == 2  # one of the two processes speaks
    records = Run(folder).read_metrics()
    assert [record["step"] for record in records] == [3, 6, 9, 12]
    assert json.loads(said.splitlines()[-1])["metrics"] == records[-1]

    state = Run(folder).load_checkpoint()
    assert state is not None
    state["position"] = {
        "step": 6,
        "epoch": 2,
        "done": 4,
        "skipped": 0,
        "sums": {},
    }  # as if stopped there
    Run(folder).save_checkpoint(state)
    run(*command, "--train.devices=1")
    after = Run(folder).read_metrics()
    assert after[:2] == records[:2]
    assert [record["step"] for record in after[2:]] == [10, 16]  # 8 and 12 sequences, 2 at a time
    assert Run(folder).encoder.is_file()


def test_a_refusal_is_said_once_and_nobody_waits(store: Store, tmp_path: Path) -> None:
    (tmp_path / "meta.json").write_text("{}")
    command = ["-m", "pcm3", "pretrain", "--data", str(store.path), "--out", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, *command, "--train.devices=2", "--train.batch-size=2"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("got the store") == 1


def test_accumulated_batches_move_key_encoder_and_queue_once(store: Store) -> None:
    torch.manual_seed(0)
    model = PCM3Settings(**MODEL).build(NTU25, persons=1)
    seen: list[Tensor] = []
    model.key_projector.register_forward_hook(lambda *call: seen.append(call[2]))
    before = model.key_projector.module[0].weight.clone()
    for parameter in model.projector.parameters():
        parameter.data += 1
    model.accumulate(3)
    anchors = model.queue.anchors.clone()
    for batch in range(3):
        assert torch.equal(model.queue.anchors, anchors)
        data = SkeletonDataset(store).batch(range(4 * batch, 4 * batch + 4))
        model(data.clips, data.lengths)
    keys = nn.functional.normalize(torch.cat(seen), dim=1)
    torch.testing.assert_close(model.queue.anchors[:12], keys)
    assert int(model.queue.position) == 12
    moved = model.key_projector.module[0].weight
    torch.testing.assert_close(moved, before + 0.1 * (model.projector[0].weight - before))
    with pytest.raises(ValueError, match=r"batches >= 1.* 0"):
        model.accumulate(0)


@pytest.mark.parametrize("shape", [(6, 3), (4, 3, 5), (4, 3, 5, 2)])
def test_synchronized_normalization_alone_is_the_ordinary_one(shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}
    ordinary = nn.Sequential(kinds[len(shape)](3))
    batch = torch.randn(shape)
    twin = nn.Sequential(kinds[len(shape)](3))
    twin.load_state_dict(ordinary.state_dict())
    synchronize_norms(twin)
    assert isinstance(twin[0], SyncBatchNorm)
    for mode in (True, False):
        ordinary.train(mode), twin.train(mode)
        torch.testing.assert_close(twin(batch), ordinary(batch))
    assert twin.state_dict().keys() == ordinary.state_dict().keys()


def test_fp16_is_refused_on_a_cpu() -> None:
    with pytest.raises(ValueError, match="fp16"):
        launch(TrainSettings(accelerator="cpu", precision="fp16"))


THREADS = """
import os
import torch
from pcm3 import NTU25
from pcm3.methods.catalog import get_preset
from pcm3.methods.settings import TrainSettings
from pcm3.training.devices import suitable_threads

torch.manual_seed(0)
default = torch.get_num_threads()
def during(preset, **changes):
    model = get_preset(preset).model.changed(changes).build(NTU25, persons=1)
    with suitable_threads(model, TrainSettings(accelerator="cpu")):
        inside = torch.get_num_threads()
    assert torch.get_num_threads() == before
    return inside

before = default
assert during("small", queue_size=16) == 1
assert during("small-mamp") == default
assert during("small", queue_size=16, hidden=300) == default
before = default + 1
torch.set_num_threads(before)
assert during("small", queue_size=16) == before
torch.set_num_threads(default)
before, os.environ["OMP_NUM_THREADS"] = default, str(default)
assert during("small", queue_size=16) == default
"""


def test_a_small_recurrent_model_trains_with_one_thread() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", THREADS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
