"""Pictures: film strips of skeletons, masked reconstructions, loss curves. Needs matplotlib."""

from pcm3.viz.curves import loss_curves
from pcm3.viz.figures import save
from pcm3.viz.skeletons import film_strip, reconstruction_figure

__all__ = ["film_strip", "loss_curves", "reconstruction_figure", "save"]
