"""Pretraining: settings, presets, the loop and the run folder. Needs the ``train`` extra."""
