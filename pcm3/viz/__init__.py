"""Pictures: film strips, animations, reconstructions, curves, results of tasks. Needs matplotlib.

``save`` writes what the other functions return.
"""

from typing import TYPE_CHECKING

from pcm3._names import names_of
from pcm3.errors import explain_missing

with explain_missing():
    from pcm3.viz.animation import animate
    from pcm3.viz.curves import loss_curves
    from pcm3.viz.embeddings import features_figure, queue_figure
    from pcm3.viz.examples import motion_figure, retrieval_figure
    from pcm3.viz.figures import Animation, save
    from pcm3.viz.rerun import show_in_rerun
    from pcm3.viz.results import (
        Bars,
        Curve,
        bar_figure,
        confusion_figure,
        curve_figure,
        embedding_figure,
        time_line_figure,
    )
    from pcm3.viz.skeletons import film_strip, reconstruction_figure
    from pcm3.viz.stores import picture_sequence
    from pcm3.viz.timelines import Interval, label_figure

__all__ = [
    "Animation",
    "Bars",
    "Curve",
    "Interval",
    "animate",
    "bar_figure",
    "confusion_figure",
    "curve_figure",
    "embedding_figure",
    "features_figure",
    "film_strip",
    "label_figure",
    "loss_curves",
    "motion_figure",
    "picture_sequence",
    "queue_figure",
    "reconstruction_figure",
    "retrieval_figure",
    "save",
    "show_in_rerun",
    "time_line_figure",
]

if not TYPE_CHECKING:
    __getattr__ = names_of(__name__)
