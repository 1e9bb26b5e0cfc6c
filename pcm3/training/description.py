"""The content of ``config.json`` of a run whose model was built in Python."""

from __future__ import annotations

import inspect
from dataclasses import asdict
from typing import Any

from pcm3.methods import Method
from pcm3.methods.settings import TrainSettings

_GIVEN = ("self", "encoder", "skeleton", "settings")
_OF_DATA = ("skeleton", "joints", "in_channels", "persons")
"""Arguments of encoders that follow from the data, which the run describes too."""


def describe_model(model: Method, config: TrainSettings) -> dict[str, Any]:
    """Describe a run whose model was built in Python.

    ``model`` holds the settings under the same names as in a run of ``pcm3 pretrain``, except that
    the sizes of the encoder are its own arguments, as it need not be built from the settings.
    ``parts`` holds transforms and further arguments of the method in words; None for a part whose
    ``repr`` does not tell it from others.
    """
    settings = asdict(model.settings)
    for name in model.settings.of_encoder():
        settings.pop(name, None)
    sizes = {name: value for name, value in model.encoder.arguments.items() if name not in _OF_DATA}
    description = {
        "method": type(model).__name__,
        "name": type(model).name,
        "encoder": type(model.encoder).__name__,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        **sizes,
        **settings,
    }
    return {
        "model": description,
        "parts": {name: _in_words(value) for name, value in _parts(model).items()},
        "train": asdict(config),
        "protocol": None,
    }


def _parts(model: Method) -> dict[str, Any]:
    """Return the transforms of a method, and the arguments of its constructor but for settings."""
    parts = {name: value for name, value in vars(model).items() if callable(value)}
    for name, parameter in inspect.signature(type(model).__init__).parameters.items():
        single = parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if single and name not in _GIVEN and not hasattr(model.settings, name):
            parts[name] = getattr(model, name, _Unknown())
    return parts


class _Unknown:
    """The value of an argument that the method does not keep; its repr is that of any object."""


def _in_words(part: Any) -> str | None:
    words = repr(part)
    return None if " at 0x" in words else words
