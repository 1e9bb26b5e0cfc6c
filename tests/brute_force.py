"""What the library computes at once, one query at a time."""

from __future__ import annotations

import numpy as np


def brute_force(gallery: np.ndarray, labels: np.ndarray, queries: np.ndarray, k: int) -> list[int]:
    """One query at a time: k best cosines, most votes, then the larger summed similarity."""
    predicted = []
    for query in queries.astype(np.float64):
        cosines = [
            row @ query / (np.linalg.norm(row) * np.linalg.norm(query))
            for row in gallery.astype(np.float64)
        ]
        votes: dict[int, list[float]] = {}
        for at in sorted(range(len(cosines)), key=lambda i: -cosines[i])[:k]:
            votes.setdefault(int(labels[at]), []).append(cosines[at])
        predicted.append(max(votes, key=lambda label: (len(votes[label]), sum(votes[label]))))
    return predicted
