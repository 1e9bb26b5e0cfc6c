"""How commands read their options and say their results."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import is_dataclass, replace
from difflib import get_close_matches
from typing import Any, get_args


def meant(word: str, names: Iterable[str], also: Mapping[str, str] = {}) -> str:
    """A question, where a word is near a name, or near what a name is also called."""
    near = get_close_matches(word, [*names, *also], n=1)
    return f"; did you mean {also.get(near[0], near[0])}?" if near else ""


def parse(kind: Any, command: str, arguments: Sequence[str]) -> Any:
    import tyro  # noqa: PLC0415

    # the defaults of settings depend on presets: --x and --no-x; elsewhere one of them is enough
    config = () if is_dataclass(kind) else (tyro.conf.FlagCreatePairsOff,)
    registry = tyro.constructors.ConstructorRegistry()
    registry.primitive_rule(_one_or_more)
    with registry:
        return tyro.cli(kind, prog=f"pcm3 {command}", args=arguments, config=config)


def _one_or_more(info: Any) -> Any:
    """The values of an option that takes several: as tyro reads them, but never none."""
    from tyro.constructors import ConstructorRegistry, PrimitiveTypeInfo  # noqa: PLC0415

    inner = get_args(info.type)
    if info.type_origin is not tuple or inner[1:] != (...,):
        return None
    as_list = PrimitiveTypeInfo.make(list[inner[0]], info.markers)  # type: ignore[valid-type]
    spec: Any = ConstructorRegistry.get_primitive_spec(as_list)

    def read(words: list[str]) -> tuple[Any, ...]:
        if not words:
            raise ValueError("expected at least one value, got none")
        return tuple(spec.instance_from_str(words))

    return replace(
        spec,
        metavar=spec.metavar.removeprefix("[").removesuffix("]"),
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, tuple) and spec.is_instance(list(value)),
    )


def finish(
    command: str, metrics: dict[str, Any], as_json: bool, say: str = "", **rest: Any
) -> None:
    """The end of a command: a line for people, and with ``--json`` one for programs."""
    if say:
        print(say)
    if as_json:
        print(json.dumps({"command": command, "metrics": metrics, **rest}))
