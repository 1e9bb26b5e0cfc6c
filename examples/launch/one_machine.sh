#!/bin/sh
# All GPUs of one machine. batch-size is of each; the paper's 128 in all are 16 on each of 8.
#   sh one_machine.sh STORE RUN [more options of pcm3 pretrain]
store=$1 run=$2
shift 2
exec torchrun --standalone --nproc-per-node=gpu --no-python \
    pcm3 pretrain --preset ntu60-xsub --data "$store" --out "$run" \
    --train.batch-size 16 --train.sync-norm --train.precision bf16 --train.workers 4 "$@"
