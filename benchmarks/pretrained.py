"""Make the encoder that comes with the package: `pcm3/encoders/pretrained.safetensors`.

Trains on synthetic motion alone, by the command that is printed and kept in `pretrained.json`
beside the encoder, with how long it took and where. It takes more than an hour on one core. A run
that was stopped goes on.

    python benchmarks/pretrained.py --run FOLDER
"""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path

from environment import environment

from pcm3.cli import main as pcm3
from pcm3.data.synthetic.motion.motion import _VERSION as GENERATOR

COMMAND = (
    "pretrain --preset small --data synthetic --motion.persons 2 --motion.normalization body "
    "--motion.sequences 6400 --model.pairs --model.crop-scale 0.8 1 --model.shear 0.2"
)
EPOCHS = 80


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--run", type=Path, required=True, help="run folder")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--seed", type=int, default=0)
    package = Path(__file__).parents[1] / "pcm3" / "encoders"
    parser.add_argument("--out", type=Path, default=package, help="where the encoder goes")
    options = parser.parse_args()
    command = f"{COMMAND} --train.epochs {options.epochs} --train.seed {options.seed}"
    print("pcm3", command, flush=True)
    began = time.perf_counter()
    code = pcm3([*command.split(), "--out", str(options.run)])
    if code:
        raise SystemExit(code)
    target = options.out / "pretrained.safetensors"
    shutil.copyfile(options.run / "encoder.safetensors", target)
    made = {
        "command": f"pcm3 {command} --out {options.run.name}",
        "seed": options.seed,
        "hours": round((time.perf_counter() - began) / 3600, 2),
        "generator": GENERATOR,
        "environment": environment(),
    }
    (options.out / "pretrained.json").write_text(json.dumps(made, indent=2) + "\n")


if __name__ == "__main__":
    main()
