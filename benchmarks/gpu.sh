#!/usr/bin/env bash
# All checks and figures that need a GPU, in some minutes: bash benchmarks/gpu.sh [FOLDER]
# The results go to FOLDER, by default benchmarks/results.
set -euo pipefail
cd "$(dirname "$0")/.."
out=$(realpath "${1:-benchmarks/results}")
python=${PYTHON:-python3}
$python -m pytest -q tests/cuda
$python benchmarks/step.py --accelerator cuda --precision bf16 --graph on off --no-baseline \
  --compile --case ntu60-xsub:128 ntu60-xsub-pp:128 ntu60-xsub-mamp:128 small:64 small-mamp:64 \
  --out "$out"
$python benchmarks/trainer.py --accelerator cuda --precision bf16 --batches 64 \
  --case ntu60-xsub:128 ntu60-xsub-pp:128 ntu60-xsub-mamp:128 small:64 small-mamp:64 --out "$out"
