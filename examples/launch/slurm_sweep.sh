#!/bin/sh
# The runs of a sweep as a job array under SLURM, each on one GPU. pcm3 sweep FILE --dry-run says
# which numbers the array has. Submitted again, it continues what was stopped; afterwards
# pcm3 sweep FILE --out FOLDER writes the report.
#   sbatch --array=0-7 slurm_sweep.sh FILE FOLDER [more options of pcm3 sweep]
#SBATCH --job-name=pcm3-sweep
#SBATCH --ntasks=1
#SBATCH --gpus-per-task=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --signal=TERM@600
file=$1 folder=$2
shift 2
exec srun pcm3 sweep "$file" --out "$folder" --cell "$SLURM_ARRAY_TASK_ID" "$@"
