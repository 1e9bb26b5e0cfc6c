"""Errors that callers may want to catch, and what to install where a package is missing."""

from collections.abc import Iterator
from contextlib import contextmanager

_LONGEST = 2000

EXTRAS = {
    "PIL": "train",
    "lightning_fabric": "train",
    "matplotlib": "train",
    "rich": "train",
    "safetensors": "train",
    "shtab": "train",
    "tomli": "train",
    "sklearn": "train",
    "tyro": "train",
    "tensorboard": "tensorboard",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "rerun": "rerun",
    "huggingface_hub": "hub",
}
"""The extra of this package that installs a module."""


class SkeletonFormatError(ValueError):
    """Raised if a file does not follow its format; the message names file and place.

    The message can be printed and fits on a screen, whatever the file holds.
    """

    def __init__(self, message: object = "") -> None:
        text = str(message).encode("utf-8", "backslashreplace").decode()
        super().__init__(text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ...")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out, on any device."""
    # torch has an error class for GPUs only
    said = isinstance(error, RuntimeError) and "allocate memory" in str(error)
    return said or isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"


def how_to_install(module: str) -> str:
    """How to install a missing module: by an extra of this package if there is one."""
    wanted = f"'pcm3[{EXTRAS[module]}]'" if module in EXTRAS else module
    return f"install it with pip install {wanted}"


@contextmanager
def explain_missing() -> Iterator[None]:
    """Say which extra to install if an import in the ``with`` block fails without it.

    Raises:
        ModuleNotFoundError: If a module of an extra is missing; the message names both.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        module = (error.name or "").partition(".")[0]
        if module not in EXTRAS:
            raise
        message = f"this needs {module}; {how_to_install(module)}"
        raise ModuleNotFoundError(message, name=error.name) from None
