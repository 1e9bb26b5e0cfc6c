#!/bin/sh
# The same on several machines that see the same folders: start it on each of them.
#   NODES=2 HEAD=machine-0 sh several_machines.sh STORE RUN [more options of pcm3 pretrain]
store=$1 run=$2
shift 2
exec torchrun --nnodes="${NODES:-2}" --nproc-per-node=gpu --no-python \
    --rdzv-backend=c10d --rdzv-endpoint="$HEAD:29500" --rdzv-id="${ID:-pcm3}" \
    pcm3 pretrain --preset ntu60-xsub --data "$store" --out "$run" \
    --train.batch-size 8 --train.sync-norm --train.precision bf16 --train.workers 4 "$@"
