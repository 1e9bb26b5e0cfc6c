"""Answers about recordings: kept classifiers, their predictions, and similar recordings."""
