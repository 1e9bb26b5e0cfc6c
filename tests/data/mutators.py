"""Damage to files: bytes, lines, numbers, members of archives and values of pickles and JSON."""

from __future__ import annotations

import io
import json
import pickle
import random
import re
import struct
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np

TOKENS = (
    *(
        b"0",
        b"-1",
        b"1",
        b"2",
        b"3",
        b"25",
        b"3.5",
        b"+7",
        b"-0",
        b"007",
        b"1e5",
        b"1e39",
        b"-1e39",
    ),
    *(
        b"1e999",
        b"1e-400",
        b"nan",
        b"NaN",
        b"inf",
        b"-inf",
        b"0x1F",
        b"1_000",
        b"1,5",
        b"",
        b"1.5e",
    ),
    *(b"99999999999999999999", b"-99999999999", b"4294967296", b"9" * 5000, b"\xd9\xa3", b"\xb2"),
)
BLANKS = (
    b" ",
    b"  ",
    b"\t",
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\x0b",
    b"\x0c",
    b"\x1c",
    b"\xc2\x85",
)
INTEGERS = (-1, 0, 1, 2, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1)
FLOATS = (float("nan"), float("inf"), -float("inf"), 1e39, -1e300, 0.0, 1e-42)


def _span(data: bytes, rng: random.Random, most: int = 64) -> tuple[int, int]:
    start = _place(data, rng)
    return start, min(len(data), start + rng.randint(1, most))


def _place(data: bytes, rng: random.Random) -> int:
    """Anywhere, but often near the beginning or the end, where headers and directories are."""
    size, kind = len(data), rng.random()
    if kind < 0.35:
        return rng.randrange(min(size, 200))
    return size - 1 - rng.randrange(min(size, 200)) if kind < 0.5 else rng.randrange(size)


def _flip(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _set(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]


def _delete(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def _truncate(data: bytes, rng: random.Random) -> bytes:
    return data[: _place(data, rng)]


def _insert(data: bytes, rng: random.Random) -> bytes:
    at = _place(data, rng)
    return data[:at] + rng.randbytes(rng.randint(1, 16)) + data[at:]


def _duplicate(data: bytes, rng: random.Random) -> bytes:
    start, end = _span(data, rng, 2000)
    at = rng.choice((end, _place(data, rng)))
    return data[:at] + data[start:end] + data[at:]


def _patch_integer(data: bytes, rng: random.Random) -> bytes:
    at, kind = _place(data, rng), rng.choice(("<I", ">I", "<Q", ">Q", "<H", "<d", "<f"))
    if kind[1] in "df":
        with np.errstate(over="ignore"):
            value = np.array(rng.choice(FLOATS), f"<f{8 if kind[1] == 'd' else 4}").tobytes()
    else:
        size = struct.calcsize(kind)
        value = struct.pack(kind, rng.choice(INTEGERS) % 256**size)
    return data[:at] + value + data[at + len(value) :]


def _edit_lines(data: bytes, rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    one, other = (rng.randrange(len(lines)) for _ in range(2))
    kind = rng.randrange(4)
    if kind == 0:
        lines[one], lines[other] = lines[other], lines[one]
    elif kind == 1:
        del lines[one]
    elif kind == 2:
        lines.insert(other, lines[one])
    else:
        lines[one : one + 2] = [b"".join(lines[one : one + 2])]
    return b"\n".join(lines)


def _edit_number(data: bytes, rng: random.Random) -> bytes:
    found = list(re.finditer(rb"[-+.\w]*\d[-+.\w]*", data))
    if not found:
        return _insert(data, rng)
    early = found[: min(len(found), 8)]
    number = rng.choice(early if rng.random() < 0.4 else found)
    token = rng.choice(TOKENS)
    if rng.random() < 0.3:  # a digit or the point alone
        token = bytearray(number.group())
        token[rng.randrange(len(token))] = rng.choice(b"0123456789.-+eE_, ")
    return data[: number.start()] + bytes(token) + data[number.end() :]


def _edit_count(data: bytes, rng: random.Random) -> bytes:
    """A small integer, as counts are, made a little or much larger."""
    found = list(re.finditer(rb"(?<![\w.\-+])\d{1,3}(?![\w.\-+])", data))
    if not found:
        return _edit_number(data, rng)
    number = rng.choice(found[:12] if rng.random() < 0.6 else found)
    value = int(number.group()) + rng.choice((-1, 1, 2, 10, 10**6, 10**12, 10**18, -(10**6)))
    return data[: number.start()] + str(value).encode() + data[number.end() :]


def _edit_blanks(data: bytes, rng: random.Random) -> bytes:
    found = list(re.finditer(rb"\s", data))
    at = rng.choice(found) if found else None
    start, end = at.span() if at else (0, 0)
    return data[:start] + rng.choice(BLANKS) + data[end:]


ANYWHERE = (_flip, _set, _delete, _truncate, _insert, _duplicate)
BINARY = (*ANYWHERE, _patch_integer, _patch_integer, _edit_count)
TEXT = (*ANYWHERE, _edit_lines, _edit_lines, _edit_number, _edit_number, _edit_count, _edit_blanks)


def mutate(data: bytes, rng: random.Random, kinds: tuple[Callable[..., bytes], ...]) -> bytes:
    """One to three of these."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(kinds)(data, rng) if data else rng.randbytes(4)
    return data


def mutate_zip(data: bytes, rng: random.Random) -> bytes:
    """Of the archive, or of a member, whose checksum is then right."""
    if rng.random() < 0.3:
        return mutate(data, rng, BINARY)
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {each.filename: archive.read(each) for each in archive.infolist()}
    name = rng.choice(list(members))
    kind = rng.randrange(10)
    if kind == 0:
        del members[name]
    elif kind == 1:
        members[rng.choice(("../../x.npy", "/x.npy", f"{name}/x.npy", "self.npy", "x"))] = (
            members.pop(name)
        )
    elif kind == 2:
        other = rng.choice(list(members))
        members[name], members[other] = members[other], members[name]
    elif kind < 5:
        members[name] = mutate(members[name], rng, TEXT)
    else:
        members[name] = mutate(members[name], rng, BINARY)
    buffer = io.BytesIO()
    how = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    with zipfile.ZipFile(buffer, "w", how) as archive:
        for each, content in members.items():
            archive.writestr(each, content)
    return buffer.getvalue()


def _values(rng: random.Random) -> Any:
    return rng.choice(
        (
            *(None, -1, 0, 10**30, 2**63, 0x10**5000, 1.5, float("nan"), float("inf"), True, ""),
            *("x\x00y", "../../x", "\ud800", [], {}, [[]], [1, "a"], {"a": 1}, "9" * 5000, 1e300),
        )
    )


def _edit_array(value: np.ndarray[Any, Any], rng: random.Random) -> Any:
    kind = rng.randrange(6)
    if kind == 0:
        return value[..., :-1]
    if kind == 1:
        return value[None]
    if kind == 2:
        return value.astype(rng.choice(("f2", ">f8", "i8", "u1", "?", "c8", "U8", "S3", "O")))
    if kind == 3 and value.dtype.kind == "f" and value.size:
        value = value.copy()
        value.flat[rng.randrange(value.size)] = rng.choice((np.nan, np.inf, 6e4))
        return value
    return value[:0] if kind == 4 else value.tolist()


def edit_value(value: Any, rng: random.Random, depth: int = 0) -> Any:
    """A copy with one thing in it replaced, dropped or repeated."""
    if isinstance(value, np.ndarray) and rng.random() < 0.8:
        return _edit_array(value, rng)
    if not isinstance(value, (dict, list, tuple)) or not value or rng.random() < 0.05 * depth:
        return _values(rng)
    kind = rng.random()
    if isinstance(value, dict):
        key = rng.choice(list(value))
        if kind < 0.1:
            return {k: v for k, v in value.items() if k != key}
        if kind < 0.2:
            renamed = rng.choice(("file_train", "name_val", "../../x", "x\x00", "", f"{key}_"))
            return {(renamed if k == key else k): v for k, v in value.items()}
        return value | {key: edit_value(value[key], rng, depth + 1)}
    items, at = list(value), rng.randrange(len(value))
    if kind < 0.1:
        del items[at]
    elif kind < 0.2:
        items.insert(rng.randrange(len(items)), items[at])
    elif kind < 0.25:
        items.reverse()
    else:
        items[at] = edit_value(items[at], rng, depth + 1)
    return type(value)(items)


def _dump(value: Any, protocol: int) -> bytes:
    try:
        return pickle.dumps(value, protocol)
    except ValueError:  # a lone surrogate or too many digits, in the oldest protocols
        return pickle.dumps(value, 4)


def mutate_pickle(data: bytes, rng: random.Random) -> bytes:
    """Of the program, or of the values, which are then pickled as they should."""
    protocol = rng.randrange(pickle.HIGHEST_PROTOCOL + 1)
    if rng.random() < 0.5:
        program = data if rng.random() < 0.5 else pickle.dumps(pickle.loads(data), protocol)
        return mutate(program, rng, BINARY if rng.random() < 0.7 else TEXT)
    return _dump(edit_value(pickle.loads(data), rng), protocol)


def mutate_json(data: bytes, rng: random.Random) -> bytes:
    """Of the text, or of the values in it."""
    if rng.random() < 0.5:
        return mutate(data, rng, TEXT)
    return _json(edit_value(json.loads(data), rng))


def _json(value: Any) -> bytes:
    try:
        return json.dumps(value, default=str).encode()
    except ValueError:  # an integer of too many digits
        return b"[" + b"9" * 5000 + b"]"


def mutate_safetensors(data: bytes, rng: random.Random) -> bytes:
    """Of the file, or of its header, whose length is then right."""
    if rng.random() < 0.3:
        return mutate(data, rng, BINARY)
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    about = header["__metadata__"]
    key = rng.choice((*about, None))
    if key in ("arguments", "skeleton"):
        about[key] = mutate_json(about[key].encode(), rng).decode("utf-8", "replace")
    elif key is not None:
        about[key] = rng.choice(("", "-1", "1e3", "9" * 30, "9" * 5000, "\x00", "GRUEncoder", "٣"))
    else:
        header = edit_value(header, rng)
    text = _json(header)
    return len(text).to_bytes(8, "little") + text + data[8 + size :]


def mutate_binary(data: bytes, rng: random.Random) -> bytes:
    return mutate(data, rng, BINARY)


def mutate_text(data: bytes, rng: random.Random) -> bytes:
    return mutate(data, rng, TEXT)


MUTATORS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    ".npz": mutate_zip,
    ".pt": mutate_zip,
    ".pth": mutate_zip,
    ".pkl": mutate_pickle,
    ".json": mutate_json,
    ".safetensors": mutate_safetensors,
    ".npy": mutate_binary,
    ".mat": mutate_binary,
    ".c3d": mutate_binary,
}


def mutator(suffix: str) -> Callable[[bytes, random.Random], bytes]:
    """What damages files of this suffix; text is the rule."""
    return MUTATORS.get(suffix, mutate_text)
