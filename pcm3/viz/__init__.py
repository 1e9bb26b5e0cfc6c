"""Pictures: film strips, reconstructions, loss curves, results of tasks. Needs matplotlib."""

from pcm3.viz.curves import loss_curves
from pcm3.viz.examples import motion_figure, retrieval_figure
from pcm3.viz.figures import save
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

__all__ = [
    "Bars",
    "Curve",
    "bar_figure",
    "confusion_figure",
    "curve_figure",
    "embedding_figure",
    "film_strip",
    "loss_curves",
    "motion_figure",
    "reconstruction_figure",
    "retrieval_figure",
    "save",
    "time_line_figure",
]
