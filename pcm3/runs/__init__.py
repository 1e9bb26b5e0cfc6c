"""What a run leaves behind: its folder, checkpoints, results, and what it was trained on."""
