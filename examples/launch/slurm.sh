#!/bin/sh
# Two machines of eight GPUs under SLURM. At the end of its time a job stops after the step that
# it is in; submitted again, it goes on from there.
#   sbatch slurm.sh STORE RUN [more options of pcm3 pretrain]
#SBATCH --job-name=pcm3
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@600
store=$1 run=$2
shift 2
exec srun pcm3 pretrain --preset ntu60-xsub --data "$store" --out "$run" \
    --train.devices 8 --train.nodes 2 --train.batch-size 8 \
    --train.sync-norm --train.precision bf16 --train.workers 4 "$@"
