"""The other processes of a run on several devices: they are started here, and watched."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from threading import Thread

import torch.distributed as dist

from pcm3.errors import explain_missing
from pcm3.terminal import tell
from pcm3.training.workers import how_it_ended

with explain_missing():
    from lightning_fabric.plugins.environments.cluster_environment import ClusterEnvironment

_PATIENCE = 30.0  # seconds in which this process may notice by itself, and save its state


def start_others(environment: ClusterEnvironment, devices: int, nodes: int) -> None:
    """Start a process for each device of this machine but the first, with this one's command.

    Fabric would start them too, but kill this process without a word when one of them fails.

    Args:
        environment: What says how processes find each other.
        devices: Processes of each machine.
        nodes: Machines.
    """
    os.environ.update(
        MASTER_ADDR=environment.main_address,
        MASTER_PORT=str(environment.main_port),
        NODE_RANK=str(environment.node_rank()),
        LOCAL_RANK="0",  # tells Fabric that they are started
        WORLD_SIZE=str(devices * nodes),
    )
    others = [
        subprocess.Popen(_own_command(), env=os.environ | {"LOCAL_RANK": str(rank)})
        for rank in range(1, devices)
    ]
    Thread(target=_watch, args=(others,), daemon=True).start()


def _own_command() -> list[str]:
    spec = sys.modules["__main__"].__spec__
    program = [str(Path(sys.argv[0]).absolute())] if spec is None else ["-m", spec.name]
    return [sys.executable, *program, *sys.argv[1:]]


def _watch(others: Sequence[subprocess.Popen[bytes]]) -> None:
    """End this process after one of the others has failed: it may wait for that for ever."""
    while not (failed := [other for other in others if other.poll()]):
        if all(other.returncode == 0 for other in others):
            return
        time.sleep(0.2)
    if dist.is_initialized():  # else it still waits for all of them to begin
        time.sleep(_PATIENCE)
    for other in others:
        other.kill()
    rank, how = others.index(failed[0]) + 1, how_it_ended(failed[0].returncode)
    tell(
        f"pcm3: error: process {rank} of {len(others) + 1} on this machine {how}; the same "
        "command goes on from the last checkpoint",
        file=sys.stderr,
        flush=True,
    )
    os._exit(2)
