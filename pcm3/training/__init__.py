"""Pretraining: the loop, its devices and workers, and its costs. Needs the ``train`` extra."""
