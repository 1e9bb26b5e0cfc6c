"""Two processes train one model on a CPU: ``devices=2``, as eight would on eight GPUs.

Each sees its own half of every batch; both end with the same weights and the same queue of keys.
"""

from __future__ import annotations

import os
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from pcm3 import PCM3
from pcm3.data import SkeletonDataset, generate


def main(epochs: int = 2, devices: int = 2) -> bool:
    """Train, in every process; return whether all of them end with the same state."""
    torch.manual_seed(0)  # every process builds the same model
    model = PCM3.from_preset("small", persons=1, hidden=32, queue_size=256)
    drawn: list[float] = []
    model.register_forward_pre_hook(lambda _, inputs: drawn.append(float(inputs[0].mean())))
    with tempfile.TemporaryDirectory() as folder:
        store = generate(Path(folder) / "store", sequences=96)
        # starts this script again for each further process; torchrun and SLURM start them instead
        model.fit(
            SkeletonDataset(store),
            epochs=epochs,
            batch_size=16,  # of each process
            sync_norm=True,  # or each would keep batch statistics of its own
            accelerator="cpu",
            devices=devices,
        )

    mine = {
        "process": os.getpid(),
        "clips seen": f"{sum(drawn):.6f}",
        "weights": checksum(model.state_dict()),
        "queue": checksum(model.queue.state_dict()),
    }
    found: list[dict[str, object]] = [mine] * devices
    if devices > 1:
        dist.all_gather_object(found, mine)
    if found[0] == mine:  # the first one speaks for all
        for each in found:
            print(", ".join(f"{name} {value}" for name, value in each.items()))
    same = len({(each["weights"], each["queue"]) for each in found}) == 1
    if found[0] == mine:
        print("weights and queue are", "the same in both" if same else "different")
    return same


def checksum(state: Mapping[str, Tensor]) -> str:
    """Of every bit of a state."""
    bits = b"".join(value.numpy().tobytes() for value in state.values())
    return f"{zlib.crc32(bits):08x}"


if __name__ == "__main__":
    main()
