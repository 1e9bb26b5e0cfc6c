"""The ``__getattr__`` of modules: names that are imported late, and hints where others are."""

from __future__ import annotations

import dis
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from difflib import SequenceMatcher, get_close_matches
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

_ROOT = Path(__file__).parent
_DEFINED = re.compile(
    r"^(?:(?:async )?def|class) ([a-zA-Z]\w*)|^([A-Z]\w*)(?::[^=\n]+)? = ", re.MULTILINE
)
_QUOTED = re.compile(r'"(\w+)"')
_MOST_SHOWN = 3
_PART = 4  # letters that tell a part of a name, such as STGCN


def names_of(module: str, homes: Mapping[str, str] = MappingProxyType({})) -> Callable[[str], Any]:
    """Make the ``__getattr__`` of a module, whose error says where the package has a name.

    Args:
        module: The module's ``__name__``.
        homes: Names that the module offers and another module has, which is imported when a name
            is first asked for.

    Modules within a package are imported when they are first asked for.

    Returns:
        A function of a name, which may also be that of a module in a package. It raises an
        AttributeError for all other names. In ``from ... import``, which would replace the message
        of an AttributeError, it raises an ImportError.
    """

    def find(name: str) -> Any:
        if name in homes:
            return getattr(import_module(homes[name]), name)
        hint = ""
        if not name.startswith("_"):
            if _is_module(f"{module}.{name}"):
                return import_module(f"{module}.{name}")
            hint = _hint(name, module)
        caller = sys._getframe(1)
        if hint and dis.opname[caller.f_code.co_code[caller.f_lasti]] == "IMPORT_FROM":
            raise ImportError(f"cannot import name {name!r} from {module!r}{hint}", name=module)
        raise AttributeError(f"module {module!r} has no attribute {name!r}{hint}", name=name)

    return find


def _is_module(module: str) -> bool:
    """Whether there is a module, so that ``pcm3.augment`` works after ``import pcm3``."""
    path = _ROOT.joinpath(*module.split(".")[1:])
    return path.is_dir() or path.with_suffix(".py").is_file()


def _hint(name: str, module: str) -> str:
    homes = _homes()
    if name in homes:
        return f"; it is in {_listed(homes[name])}"
    own = [known for known, modules in homes.items() if module in modules]
    alike = [known for known in own if _contained(_plain(name), _plain(known))]
    for known, least in ((alike, 0), (own, 0.7), (homes, 0.8)):
        if meant := _nearest(name, known, least):
            return f"; did you mean {meant}? It is in {_listed(homes[meant])}"
    return ""


def _nearest(name: str, known: Iterable[str], least: float) -> str | None:
    """The known name that is most like a name, if their similarity in [0, 1] is high enough."""
    plain: dict[str, list[str]] = {}
    for each in known:
        plain.setdefault(_plain(each), []).append(each)
    near = get_close_matches(_plain(name), plain, n=1, cutoff=least)
    spelled = plain[near[0]] if near else []
    return max(spelled, key=lambda each: SequenceMatcher(None, name, each).ratio(), default=None)


def _contained(one: str, other: str) -> bool:
    """Whether the shorter of two names, of some letters, is a part of the longer one."""
    shorter, longer = sorted((one, other), key=len)
    return len(shorter) >= _PART and shorter in longer


def _plain(name: str) -> str:
    return name.replace("_", "").lower()


def _listed(modules: list[str]) -> str:
    return " and ".join(modules[:_MOST_SHOWN])


@lru_cache(maxsize=1)
def _homes() -> dict[str, list[str]]:
    """Map each public name of the package to the modules to import it from.

    The text of the files is searched, so that nothing is imported. A name that is in an
    ``__all__`` is imported from there; a package comes before its modules.
    """
    texts = {}
    for path in sorted(_ROOT.rglob("*.py")):
        parts = ("pcm3", *path.relative_to(_ROOT).with_suffix("").parts)
        name = ".".join(parts).removesuffix(".__init__")
        if "._" not in name:
            texts[name] = path.read_text("utf-8")
    defined: dict[str, list[str]] = {}
    offered: dict[str, list[str]] = {}
    for module, text in texts.items():
        for found in _DEFINED.finditer(text):
            defined.setdefault(found[1] or found[2], []).append(module)
        for name in _QUOTED.findall(text.partition("\n__all__ = [")[2].partition("]")[0]):
            offered.setdefault(name, []).append(module)
    for name, modules in offered.items():
        within = [any(module.startswith(f"{other}.") for other in modules) for module in modules]
        offered[name] = [module for module, inner in zip(modules, within, strict=True) if not inner]
    return defined | offered
