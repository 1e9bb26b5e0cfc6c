"""How Sphinx builds these pages; nothing is fetched from the network."""

import re
import sys
from functools import partialmethod
from pathlib import Path
from typing import Any

from nbclient import NotebookClient
from sphinx.util.inspect import TypeAliasForwardRef

from pcm3 import __version__

sys.path.insert(0, str(Path(__file__).parent))

from pictures import draw_parts

project = "pcm3"
author = project_copyright = "The pcm3 authors"
release = version = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx-mathjax-offline",
    "myst_nb",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]
html_theme = "furo"
html_title = f"pcm3 {release}"
html_static_path = ["_static"]
html_css_files = ["pages.css"]

# The name, not all that it stands for; without the second line, a union has the repr of an object.
autodoc_type_aliases = {"ArrayLike": "numpy.typing.ArrayLike"}
TypeAliasForwardRef.__repr__ = lambda alias: alias.name

autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_member_order = "bysource"
napoleon_use_ivar = True
napoleon_custom_sections = ["Shapes", "Source"]

myst_enable_extensions = ["amsmath", "colon_fence", "dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # but for pages that ask for it
nb_execution_raise_on_error = True
nb_merge_streams = True  # a page shows all output of a cell as one block
nb_execution_timeout = 600  # seconds of a cell, on a busy machine

# IPython passes output on in chunks of 100 bytes. nbclient joins them as they are; myst-nb would
# put a line break between them.
NotebookClient.__init__ = partialmethod(NotebookClient.__init__, coalesce_streams=True)


def leave_out(_app: Any, _what: str, name: str, *_rest: Any) -> bool | None:
    """Leave out the methods that scikit-learn gives its estimators; their docs link to its own."""
    return True if re.fullmatch("set_.*_request", name) else None


def say_nothing(_app: Any, _what: str, _name: str, _obj: Any, _options: Any, lines: Any) -> None:
    """Leave out what Python says of each field of a named tuple."""
    if lines and lines[0].startswith("Alias for field number"):
        lines.clear()


def setup(app: Any) -> None:
    app.connect("autodoc-skip-member", leave_out)
    app.connect("autodoc-process-docstring", say_nothing)
    draw_parts()
