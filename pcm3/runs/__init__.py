"""Run folders: checkpoints, results, and the recordings that a run was trained on."""
