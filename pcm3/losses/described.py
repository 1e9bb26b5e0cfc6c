"""Docstrings of the modules of losses, composed from those of their functions."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import TypeVar

from torch import Tensor, nn

_Module = TypeVar("_Module", bound=nn.Module)


def described_by(function: Callable[..., Tensor]) -> Callable[[type[_Module]], type[_Module]]:
    """Compose the docstrings of a module from that of its function, so that each is complete.

    The text comes before the module's own. Each argument of the function is described where it is
    one of the module: in the class if the constructor takes it, else in ``forward``.
    """

    def describe(module: type[_Module]) -> type[_Module]:
        text, own = inspect.getdoc(function), module.__doc__
        if text is None or own is None:  # under python -OO
            return module
        sections = re.compile(r"\n\n(?=(?:Args|Returns|Raises|Source|Example):\n)")
        about, *rest = sections.split(text)
        said = {section.partition(":")[0]: section for section in rest}
        note, *example = sections.split(inspect.cleandoc(own))
        settings = _args_of(module, said["Args"])
        parts = [about, note, settings, said["Raises"], said.get("Source", ""), *example]
        module.__doc__ = "\n\n".join(filter(None, parts))
        call = _args_of(module.forward, said["Args"])
        first = about.partition("\n\n")[0]
        module.forward.__doc__ = "\n\n".join([first, call, said["Returns"], said["Raises"]])
        return module

    return describe


def _args_of(taker: Callable[..., object], args: str) -> str:
    """The section ``Args`` with the arguments that a callable takes; empty if it takes none."""
    head, *entries = re.split(r"\n(?= {4}\w)", args)
    names = inspect.signature(taker).parameters
    taken = [entry for entry in entries if entry.split(":")[0].strip() in names]
    return "\n".join([head, *taken]) if taken else ""
