"""Users' own classes by their import path; only modules that a user names are imported."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable
from hashlib import blake2b
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


def digest_code(*kinds: type) -> dict[str, list[str]]:
    """Return a digest of the source of each module that defines users' own classes, by its name.

    These are the modules of the classes and of their bases, apart from this package, torch and the
    standard library. Of a script or a notebook (``__main__``), only the classes themselves count,
    because the rest of it may change with each run. A module without source has no digest.

    Args:
        kinds: The classes.
    """
    known = {"pcm3", "torch", *sys.stdlib_module_names}
    sources: dict[str, list[str]] = {}
    for base in dict.fromkeys(base for kind in kinds for base in kind.__mro__):
        name = base.__module__
        if name.partition(".")[0] in known or (name in sources and name != "__main__"):
            continue
        part = base if name == "__main__" else sys.modules.get(name)
        try:
            sources.setdefault(name, []).append(inspect.getsource(part) if part else "")
        except (OSError, TypeError):  # typed in, or compiled
            continue
    return {
        name: [blake2b("\n".join(texts).encode(errors="surrogatepass"), digest_size=4).hexdigest()]
        for name, texts in sources.items()
    }


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
