"""Sweeps: variations of a run, trained with several seeds, evaluated and compared."""
