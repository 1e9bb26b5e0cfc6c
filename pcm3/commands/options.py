"""How commands parse their options and print their results."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import is_dataclass, replace
from difflib import get_close_matches
from inspect import getdoc, signature
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pcm3.terminal import tell


def meant(word: str, names: Iterable[str], also: Mapping[str, str] = {}) -> str:
    """Ask "did you mean ...?" if a word resembles a name or a key of ``also``, else say nothing."""
    near = get_close_matches(word, [*names, *also], n=1)
    return f"; did you mean {also.get(near[0], near[0])}?" if near else ""


def parse(kind: Any, command: str, arguments: Sequence[str], *examples: str) -> Any:
    """Parse the arguments of a command with ``kind``, a dataclass or a function to call."""
    import tyro  # noqa: PLC0415

    arguments = ["--help" if word == "--help-all" else word for word in arguments]
    about, _, _ = (getdoc(kind) or "").partition("\n\nArgs:")
    description = "\n".join([about, "", "example:", *(f"  {line}" for line in examples)])
    # defaults of settings depend on presets, so both --x and --no-x are needed
    pairs = () if is_dataclass(kind) else (tyro.conf.FlagCreatePairsOff,)
    if not is_dataclass(kind):
        _hide_none(kind)
    registry = tyro.constructors.ConstructorRegistry()
    registry.primitive_rule(_path)
    registry.primitive_rule(_one_or_more)
    registry.primitive_rule(_value_or_none)
    with registry:
        return tyro.cli(
            kind,
            prog=f"pcm3 {command}",
            description=description,
            args=arguments,
            config=(tyro.conf.DisallowNone, *pairs),  # so that bool | None is a switch too
        )


def descriptions(function: Callable[..., Any]) -> dict[str, str]:
    """Extract the text on each argument from the docstring of a function."""
    _, _, rest = (getdoc(function) or "").partition("\nArgs:\n")
    entries = re.findall(r"^    (\w+): (.*(?:\n {8}.*)*)", rest.partition("\n\n")[0], re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in entries}


def _hide_none(function: Callable[..., Any]) -> None:
    """Let the help not add "(default: none)" where the text says what the default is."""
    from tyro.conf import arg  # noqa: PLC0415

    parameters = signature(function).parameters
    for name, text in descriptions(function).items():
        kind = parameters[name].annotation
        if "by default" in text.lower() and parameters[name].default is None:
            function.__annotations__[name] = Annotated[kind, arg(help_behavior_hint="")]


def _path(info: Any) -> Any:
    """Let tyro refuse an empty path, which an unset shell variable would give."""
    from tyro.constructors import PrimitiveConstructorSpec  # noqa: PLC0415

    if info.type is not Path:
        return None

    def read(words: list[str]) -> Path:
        if not words[0]:
            raise ValueError("expected a path, got an empty one")
        return Path(words[0])

    return PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    )


def _one_or_more(info: Any) -> Any:
    """Let tyro require at least one value of an option that takes several.

    If the type is a union with ``tuple[()]``, there may be none.
    """
    from tyro.constructors import ConstructorRegistry, PrimitiveTypeInfo  # noqa: PLC0415

    kinds = get_args(info.type) if info.type_origin in (Union, UnionType) else (info.type,)
    inner = [get_args(kind) for kind in kinds if kind != tuple[()]]
    if len(inner) != 1 or inner[0][1:] != (...,) or get_origin(kinds[0]) is not tuple:
        return None
    item = inner[0][0]
    as_list = PrimitiveTypeInfo.make(list[item], info.markers)  # type: ignore[valid-type]
    spec: Any = ConstructorRegistry.get_primitive_spec(as_list)
    metavar = spec.metavar
    if tuple[()] not in kinds:
        metavar = metavar.removeprefix("[").removesuffix("]")

    def read(words: list[str]) -> tuple[Any, ...]:
        if not words and tuple[()] not in kinds:
            raise ValueError("expected at least one value, got none")
        return tuple(spec.instance_from_str(words))

    return replace(
        spec,
        metavar=metavar,
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, tuple) and spec.is_instance(list(value)),
    )


def _value_or_none(info: Any) -> Any:
    """Let tyro read the word none as None for an option that may be None."""
    from tyro.constructors import ConstructorRegistry, PrimitiveTypeInfo  # noqa: PLC0415

    inner = [kind for kind in get_args(info.type) if kind is not type(None)]
    if len(inner) != 1 or type(None) not in get_args(info.type):
        return None
    spec: Any = ConstructorRegistry.get_primitive_spec(
        PrimitiveTypeInfo.make(inner[0], info.markers)
    )

    def read(words: list[str]) -> Any:
        is_none = [word.lower() for word in words] == ["none"]
        return None if is_none else spec.instance_from_str(words)

    return replace(
        spec,
        instance_from_str=read,
        is_instance=lambda value: value is None or spec.is_instance(value),
        str_from_instance=lambda value: (
            ["none"] if value is None else spec.str_from_instance(value)
        ),
    )


STILLS = (".png", ".pdf", ".svg")
"""Suffixes of pictures that do not move."""


def check_new(out: Path | None, overwrite: bool, suffixes: Sequence[str] = ()) -> None:
    """Require that the file to write does not exist, unless ``--overwrite`` was given.

    Args:
        out: The file, if one is to be written.
        overwrite: Whether it may exist.
        suffixes: What its name may end in; by default anything.

    Raises:
        ValueError: If it exists or ends in something else, or there is no file to overwrite.
    """
    if out is not None and suffixes and out.suffix not in suffixes:
        raise ValueError(f"expected a file ending in {', '.join(suffixes)}, got {out}")
    if out is None and overwrite:
        raise ValueError("an option has no effect: --overwrite needs --out")
    if out is not None and out.exists() and not overwrite:
        raise ValueError(
            f"{out}: already exists; choose another name, or overwrite it (--overwrite)"
        )


def finish(command: str, metrics: dict[str, Any], as_json: bool, *lines: str, **rest: Any) -> None:
    """Print the result of a command as lines, and with ``--json`` one more for programs."""
    if lines:
        tell(*lines)
    if as_json:
        tell(json.dumps({"command": command, "metrics": metrics, **rest}))
