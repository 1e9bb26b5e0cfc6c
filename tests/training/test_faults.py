"""What happens to a run when something goes wrong."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pcm3 import PCM3
from pcm3.data.dataset import Batch, SkeletonDataset
from pcm3.data.store import Store
from pcm3.data.store.writer import StoreWriter
from pcm3.data.synthetic import generate
from pcm3.encoders import TransformerEncoder
from pcm3.io.files import locked
from pcm3.methods import MAMP
from pcm3.methods.pcm3 import PCM3Settings
from pcm3.methods.settings import TrainSettings
from pcm3.runs.checkpoint import load_checkpoint, previous, save_checkpoint
from pcm3.runs.folder import Run
from pcm3.skeleton import NTU25
from pcm3.training.interrupts import Interrupted, deferred_signals
from pcm3.training.trainer import fit

MODEL = PCM3Settings(
    hidden=4, layers=1, frames=16, embedding=4, decoder_hidden=4, queue_size=16, pool="mean"
)
TRAIN = TrainSettings(epochs=3, batch_size=4, lr=0.01, accelerator="cpu", checkpoint_every=1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    out = tmp_path_factory.mktemp("data") / "store"
    return generate(out, sequences=12, classes=3, subjects=4, views=2, frames=(10, 30))


def new_model(seed: int = 0) -> PCM3:
    torch.manual_seed(seed)
    return MODEL.build(NTU25, persons=1)


def without_speed(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k != "samples_per_second"} for record in records]


def assert_same_states(one: PCM3 | MAMP, other: PCM3 | MAMP) -> None:
    theirs = other.state_dict()
    for name, value in one.state_dict().items():
        assert torch.equal(value, theirs[name]), name


class Disturbed(SkeletonDataset):
    """Calls something while it reads a given batch."""

    def __init__(self, store: Store, at: int, act: Callable[[Batch], Any]) -> None:
        super().__init__(store)
        self.left, self.act = at, act

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        self.left -= 1
        batch = super().__getitems__(indices)
        if self.left == 0:
            self.act(batch)
        return batch


# --- checkpoints


def test_of_two_checkpoints_one_is_always_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "checkpoint.pt"
    assert load_checkpoint(file) is None
    for number in range(3):
        save_checkpoint(file, {"number": number, "values": torch.full((1000,), float(number))})
        assert load_checkpoint(file)["number"] == number
        assert len(list(tmp_path.iterdir())) == min(number + 1, 2)

    def break_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(torch, "save", break_off)
        with pytest.raises(KeyboardInterrupt):
            save_checkpoint(file, {"number": 3})
    assert load_checkpoint(file)["number"] == 2
    file.unlink()  # as between its two renamings
    assert load_checkpoint(file)["number"] == 1
    assert capsys.readouterr().err == ""


def test_damage_of_any_kind_is_noticed_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "checkpoint.pt"
    states = [{"epoch": n, "values": torch.arange(50.0) + n} for n in range(2)]
    for state in states:
        save_checkpoint(file, state)
    whole = file.read_bytes()
    chance = random.Random(0)
    noticed = 0
    for trial in range(900):
        damaged = bytearray(whole)
        where = chance.randrange(len(whole))
        if trial % 3 == 0:
            damaged = damaged[:where]
        else:
            damaged[where] ^= 1 << chance.randrange(8)
        file.write_bytes(damaged)
        state = load_checkpoint(file)
        said = capsys.readouterr().err
        # what is not noticed is in bytes that nobody reads
        wanted = states[0] if said else states[1]
        assert state is not None
        assert state["epoch"] == wanted["epoch"]
        assert torch.equal(state["values"], wanted["values"])
        if said:
            assert f"warning: the checkpoint {file} is damaged: " in said
            noticed += 1
    assert noticed > 450
    file.write_bytes(b"")
    previous(file).write_bytes(whole[:-9])
    with pytest.raises(ValueError, match=r"checkpoint.pt and .*-previous.pt are damaged"):
        load_checkpoint(file)


def test_a_run_goes_on_from_the_checkpoint_before(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = new_model()
    wanted = fit(whole, SkeletonDataset(store), TRAIN, tmp_path, quiet=True)
    file = Run(tmp_path).checkpoint
    file.write_bytes(file.read_bytes()[:-100])
    (tmp_path / ".checkpoint.pt.1.tmp").write_bytes(b"left by a process that was killed")
    with Run(tmp_path).metrics.open("a") as metrics:
        metrics.write('{"epoch": 4, "st')  # by one that was killed while it wrote
    again = new_model(seed=9)
    records = fit(again, SkeletonDataset(store), TRAIN, tmp_path, quiet=True)
    assert "checkpoint.pt is damaged" in capsys.readouterr().err
    assert_same_states(again, whole)
    assert without_speed(records) == without_speed(wanted)
    assert Run(tmp_path).read_metrics() == records
    assert not list(tmp_path.glob(".*"))


def test_a_checkpoint_of_another_run_is_refused(store: Store, tmp_path: Path) -> None:
    ours, other = Run(tmp_path / "ours"), Run(tmp_path / "other")
    fit(new_model(), SkeletonDataset(store), TRAIN, ours.path, quiet=True)
    fit(new_model(), SkeletonDataset(store), replace(TRAIN, seed=1), other.path, quiet=True)
    shutil.copy(other.checkpoint, ours.checkpoint)
    encoder = ours.encoder.read_bytes()
    message = r"ours/checkpoint\.pt .*ours/config\.json \(train\.seed is 1 there and 0 here"
    with pytest.raises(ValueError, match=message):
        fit(new_model(), SkeletonDataset(store), TRAIN, ours.path, quiet=True)
    assert ours.encoder.read_bytes() == encoder


def test_a_finished_run_without_its_checkpoint_is_kept(store: Store, tmp_path: Path) -> None:
    run = Run(tmp_path)
    fit(new_model(), SkeletonDataset(store), TRAIN, run.path, quiet=True)
    for each in tmp_path.glob("checkpoint*.pt"):
        each.unlink()
    encoder = run.encoder.read_bytes()
    with pytest.raises(ValueError, match=f"checkpoint in {tmp_path}"):
        fit(new_model(seed=3), SkeletonDataset(store), TRAIN, run.path, quiet=True)
    assert run.encoder.read_bytes() == encoder


def test_metrics_that_are_lost_are_told_of(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Run(tmp_path)
    records = fit(new_model(), SkeletonDataset(store), TRAIN, run.path, quiet=True)
    run.write_metrics(records[:1])
    assert fit(new_model(), SkeletonDataset(store), TRAIN, run.path, quiet=True) == records[:1]
    assert f"warning: {run.metrics} holds 1 of the 3" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", '{"method": "pc', "[1, 2]"])
def test_settings_that_are_damaged_are_named(store: Store, tmp_path: Path, text: str) -> None:
    run = Run(tmp_path)
    fit(new_model(), SkeletonDataset(store), TRAIN, run.path, quiet=True)
    run.config.write_text(text)
    with pytest.raises(ValueError, match=r"config\.json: "):
        fit(new_model(), SkeletonDataset(store), TRAIN, run.path, quiet=True)


def test_equal_runs_write_equal_encoders(store: Store, tmp_path: Path) -> None:
    for name in ("one", "other"):
        fit(new_model(), SkeletonDataset(store), TRAIN, tmp_path / name, quiet=True)
    one, other = (Run(tmp_path / name).encoder.read_bytes() for name in ("one", "other"))
    assert one == other


def test_a_hangup_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with deferred_signals() as stopped:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stopped()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_metrics_that_are_none_are_named(store: Store, tmp_path: Path) -> None:
    fit(new_model(), SkeletonDataset(store), TRAIN, tmp_path, quiet=True)
    lines = Run(tmp_path).metrics.read_text().splitlines(keepends=True)
    Run(tmp_path).metrics.write_text(lines[0] + "{\n" + lines[2])
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2: "):
        fit(new_model(), SkeletonDataset(store), TRAIN, tmp_path, quiet=True)


# --- numbers that are none


def poison(batch: Batch) -> None:
    batch.clips[1] = 1e30  # finite, but its square is not


def test_a_step_that_is_not_finite_ends_the_run_before_it(store: Store, tmp_path: Path) -> None:
    until_then = new_model()
    config = replace(TRAIN, epochs=1, batch_size=3)
    stop = Disturbed(store, 2, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        fit(until_then, stop, config, tmp_path / "stopped", quiet=True)
    sequences = r"sequences (\d+, ){2}\d+ of .*store"
    message = (
        rf"NaN.*masked_mse.*, in epoch 1, step 3, {sequences}.*--train\.lr.*--train\.nonfinite"
    )
    broken = new_model()
    with pytest.raises(ValueError, match=message):
        fit(broken, Disturbed(store, 3, poison), config, tmp_path / "run", quiet=True)
    assert_same_states(broken, until_then)
    # the checkpoint holds it as well, and the run goes on from there
    after = new_model()
    fit(after, SkeletonDataset(store), config, tmp_path / "run", quiet=True)
    fit(until_then, SkeletonDataset(store), config, tmp_path / "stopped", quiet=True)
    assert_same_states(after, until_then)


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_such_steps_can_be_left_out(store: Store, tmp_path: Path, optimizer: Any) -> None:
    config = replace(TRAIN, epochs=2, batch_size=3, optimizer=optimizer, nonfinite="skip")
    model = new_model()
    records = fit(model, Disturbed(store, 3, poison), config, tmp_path, quiet=True)
    assert [record["skipped"] for record in records] == [3, 0]
    assert all(torch.isfinite(torch.tensor(list(record.values()))).all() for record in records)
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())
    assert [record["step"] for record in records] == [4, 8]


def test_a_gradient_that_is_not_finite_is_named(store: Store, tmp_path: Path) -> None:
    model = new_model()
    model.decoder.output.bias.register_hook(lambda gradient: gradient / 0)
    with pytest.raises(ValueError, match=r"decoder\.output\.bias, in epoch 1, step 1"):
        fit(model, SkeletonDataset(store), TRAIN, tmp_path, quiet=True)
    assert not Run(tmp_path).checkpoint.exists()  # no step was made


def test_accumulated_batches_are_undone_together(store: Store) -> None:
    config = replace(TRAIN, epochs=1, batch_size=2, accumulate=2, nonfinite="skip", clip_norm=1.0)
    model = new_model()
    records = fit(model, Disturbed(store, 4, poison), config, quiet=True)
    assert records[0]["skipped"] == 4
    assert int(model.queue.position) == 8  # of twelve keys
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())


def test_when_no_step_is_finite_there_is_nothing_to_go_on_with(store: Store) -> None:
    model = new_model()
    model.decoder.output.bias.register_hook(lambda gradient: gradient / 0)
    with pytest.raises(ValueError, match=r"every step.*epoch"):
        fit(model, SkeletonDataset(store), replace(TRAIN, nonfinite="skip"), quiet=True)


def test_data_that_are_not_numbers_are_named(store: Store, tmp_path: Path) -> None:
    def spoil(batch: Batch) -> None:
        batch.clips[1, 2, 3, 4, 0] = float("nan")

    with pytest.raises(ValueError, match=r"sample 1, .*joint 4.*epoch 1, step 2, seq"):
        fit(new_model(), Disturbed(store, 2, spoil), TRAIN, tmp_path, quiet=True)
    assert Run(tmp_path).load_checkpoint()["position"]["step"] == 1


# --- the machine


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_costs_one_step(
    store: Store, tmp_path: Path, error: Exception
) -> None:
    def run_out(_: Batch) -> None:
        raise error

    with pytest.raises(MemoryError, match=r"epoch 2, step 5, .*--train\.batch-size"):
        fit(new_model(), Disturbed(store, 5, run_out), TRAIN, tmp_path, quiet=True)
    assert Run(tmp_path).load_checkpoint()["position"]["step"] == 4
    whole, again = new_model(), new_model(seed=3)
    fit(whole, SkeletonDataset(store), TRAIN, quiet=True)
    fit(again, SkeletonDataset(store), TRAIN, tmp_path, quiet=True)
    assert_same_states(again, whole)


def test_a_full_disk_leaves_the_checkpoint_before(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = torch.save

    class Full:
        def write(self, _: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def fill(state: Any, file: Any) -> None:
        if state["position"]["epoch"] == 2:
            file.write(b"some")
            file.out = Full()
        saved(state, file)

    monkeypatch.setattr(torch, "save", fill)
    with pytest.raises(OSError, match=r"No space left on device: '.*/checkpoint.pt'"):
        fit(new_model(), SkeletonDataset(store), TRAIN, tmp_path, quiet=True)
    assert Run(tmp_path).load_checkpoint()["position"]["epoch"] == 1
    monkeypatch.undo()
    whole, again = new_model(), new_model(seed=3)
    fit(whole, SkeletonDataset(store), TRAIN, quiet=True)
    fit(again, SkeletonDataset(store), TRAIN, tmp_path, quiet=True)
    assert_same_states(again, whole)


def test_a_store_that_is_taken_away_ends_the_run(tmp_path: Path) -> None:
    own = generate(tmp_path / "store", sequences=12, classes=3, subjects=4, frames=(10, 30))
    aside = tmp_path / "aside"
    for workers in (0, 1):
        run = Run(tmp_path / f"run{workers}")
        data = Disturbed(own, 5, lambda _: own.path.rename(aside))
        config = replace(TRAIN, workers=workers)
        with pytest.raises(
            ValueError, match=r"store was removed or changed .* use, in epoch 2, step \d, seq"
        ):
            fit(new_model(), data, config, run.path, quiet=True)
        aside.rename(own.path)
        assert run.load_checkpoint()["position"]["step"] >= 4
        again, whole = new_model(seed=3), new_model()
        fit(again, SkeletonDataset(own), TRAIN, run.path, quiet=True)
        fit(whole, SkeletonDataset(own), TRAIN, quiet=True)
        assert_same_states(again, whole)


def test_a_store_that_is_written_to_ends_the_run(tmp_path: Path) -> None:
    own = generate(tmp_path / "store", sequences=12, classes=3, subjects=4, frames=(10, 30))

    def cut(_: Batch) -> None:  # reading what is cut off would end the process
        os.truncate(own.path / "bodies.npy", 200)

    with pytest.raises(ValueError, match="was removed or changed while it was in use"):
        fit(new_model(), Disturbed(own, 2, cut), TRAIN, tmp_path / "run", quiet=True)


def test_a_run_knows_its_data_again(store: Store, tmp_path: Path) -> None:
    fit(new_model(), SkeletonDataset(store), TRAIN, tmp_path / "run", quiet=True)
    copied = shutil.copytree(store.path, tmp_path / "copied")
    fit(new_model(), SkeletonDataset(Store(copied)), TRAIN, tmp_path / "run", quiet=True)
    bodies = np.load(copied / "bodies.npy")
    bodies[0, 0, 0] += 1
    np.save(copied / "bodies.npy", bodies)
    with pytest.raises(ValueError, match="sequence 0 is damaged"):
        fit(new_model(), SkeletonDataset(Store(copied)), TRAIN, tmp_path / "run", quiet=True)
    with StoreWriter(copied, NTU25, class_names=store.class_names, overwrite=True) as writer:
        for index, label in enumerate(store.labels.tolist()):
            writer.add(store.sequence(index) + (index == 7), label)
    with pytest.raises(ValueError, match=r"data\.checksum is '\w{8}' there and '\w{8}' here"):
        fit(new_model(), SkeletonDataset(Store(copied)), TRAIN, tmp_path / "run", quiet=True)


def test_a_deterministic_run_repeats(store: Store) -> None:
    config = replace(TRAIN, deterministic=True, epochs=1)
    models = [new_model(), new_model()]
    try:
        for model in models:
            fit(model, SkeletonDataset(store), config, quiet=True)
            assert torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert_same_states(*models)


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(store: Store, workers: int) -> None:
    models = [new_model(), new_model()]
    for model, count in zip(models, (0, workers), strict=True):
        fit(model, SkeletonDataset(store), replace(TRAIN, workers=count), quiet=True)
    assert_same_states(*models)


def test_two_processes_do_not_train_into_one_folder(store: Store, tmp_path: Path) -> None:
    handle = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match=f"another process is training into {tmp_path}"):
        fit(new_model(), SkeletonDataset(store), TRAIN, tmp_path, quiet=True)
    assert not list(tmp_path.iterdir())
    os.close(handle)
    assert len(fit(new_model(), SkeletonDataset(store), TRAIN, tmp_path, quiet=True)) == 3


def test_a_child_that_lives_on_does_not_hold_the_folder(tmp_path: Path) -> None:
    ready, say = os.pipe()
    with locked(tmp_path, "at work"):
        child = os.fork()
        if child == 0:
            os.write(say, b"!")
            time.sleep(60)  # it is killed long before
            os._exit(0)
        os.read(ready, 1)
        again = locked(tmp_path, "at work")
        with pytest.raises(ValueError, match="another process is at work"), again:
            pass
    with locked(tmp_path, "at work"):
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_dropout_goes_on_as_if_it_had_not_been_stopped(store: Store, tmp_path: Path) -> None:
    def build() -> MAMP:
        torch.manual_seed(0)
        encoder = TransformerEncoder(25, persons=1, frames=16, width=8, depth=2, heads=2)
        encoder.set_drop_path(0.5)
        return MAMP(encoder, decoder_depth=1, mask_ratio=0.8)

    torch.manual_seed(5)
    global_state = torch.get_rng_state()
    whole, again = build(), build()
    torch.set_rng_state(global_state)
    fit(whole, SkeletonDataset(store), TRAIN, quiet=True)
    assert torch.equal(torch.get_rng_state(), global_state)  # which belongs to the caller
    stop = Disturbed(store, 4, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(Interrupted):
        fit(build(), stop, TRAIN, tmp_path, quiet=True)
    torch.manual_seed(77)
    fit(again, SkeletonDataset(store), TRAIN, tmp_path, quiet=True)
    assert_same_states(again, whole)


def start(store: Path, out: Path, *arguments: str) -> subprocess.Popen[str]:
    """A training command as the head of a process group of its own."""
    settings = {
        **{"model.hidden": 4, "model.layers": 1, "model.frames": 16, "model.queue-size": 16},
        **{"train.batch-size": 2, "train.epochs": 100000, "train.checkpoint-every": 100000},
        **{"train.knn-every": 0, "train.accelerator": "cpu"},
    }
    options = [f"--{name}={value}" for name, value in settings.items()]
    command = [sys.executable, "-m", "pcm3", "pretrain", "--preset=small", f"--data={store}"]
    return subprocess.Popen(
        [*command, f"--out={out}", *options, *arguments],
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for_epochs(run: Run, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while not run.metrics.exists() or len(run.metrics.read_text().splitlines()) < 2:
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("arguments", "number"),
    [
        (["--train.devices=2"], signal.SIGTERM),
        (["--train.workers=2"], signal.SIGHUP),  # of a terminal that is closed
    ],
)
def test_a_signal_to_the_whole_group_stops_after_a_step(
    store: Store, tmp_path: Path, arguments: list[str], number: int
) -> None:
    run = Run(tmp_path / "run")
    process = start(store.path, run.path, *arguments)
    wait_for_epochs(run, process)
    os.killpg(process.pid, number)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 130, said
    assert said.count("run the same command to continue") == 1
    state = run.load_checkpoint()
    assert state is not None
    assert f"{state['position']['step']} steps" in said
    records = [json.loads(line) for line in run.metrics.read_text().splitlines()]
    assert len(records) == state["position"]["epoch"]
