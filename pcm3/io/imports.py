"""Users' own classes by their import path; only modules that a user names are imported."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import TypeVar, cast

from pcm3.errors import SkeletonFormatError

Class = TypeVar("Class", bound=type)


def import_path(kind: type) -> str:
    """Return the path by which ``find_class`` finds a class, ``package.module:Class``."""
    return f"{kind.__module__}:{kind.__qualname__}"


def is_import_path(name: str) -> bool:
    """Return whether a name is an import path, not the name of something built in."""
    return ":" in name


def import_named(modules: Iterable[str]) -> None:
    """Import modules that a user named; they may be in the working folder.

    Raises:
        ValueError: If there is no such module.
        ImportError: If importing a module fails.
    """
    folder = str(Path.cwd())
    for module in modules:
        if folder not in sys.path:  # only now, so that other imports find no code there
            sys.path.append(folder)
        try:
            import_module(module)
        except ModuleNotFoundError as error:
            if error.name is None or not f"{module}.".startswith(f"{error.name}."):
                raise  # another module, which this one imports, is missing
            raise ValueError(
                f"expected a module such as mypackage.nets, found no {error.name!r:.200} in "
                f"{folder} or on Python's path (PYTHONPATH)"
            ) from None


def find_class(path: str, kind: Class) -> Class:
    """Find a class by its import path, ``package.module:Class``, in an imported module.

    Nothing is imported here, because importing runs the code of a module, and the path may come
    from a file.

    Args:
        path: The import path.
        kind: Required base class.

    Raises:
        SkeletonFormatError: If the module is not imported, or has no such class.
    """
    module, _, name = path.partition(":")
    if module not in sys.modules:
        raise SkeletonFormatError(
            f"expected the module of {path!r:.200} to be imported; if you trust its code, import "
            f"it, or give the command --allow-import {module:.200}"
        )
    value: object = sys.modules[module]
    for part in name.split("."):
        value = getattr(value, part, None)
    if not isinstance(value, type) or not issubclass(value, kind):
        got = "nothing" if value is None else "something else"
        raise SkeletonFormatError(
            f"expected a subclass of {kind.__name__} at {path!r:.200}, got {got}"
        )
    return cast(Class, value)
