"""Encoders and checkpoints that claim to be larger than they are: an error, and no memory."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from pcm3.encoders import GRUEncoder, STGCNEncoder, TransformerEncoder
from pcm3.hub import Pretrained, save_encoder
from pcm3.skeleton import SBU15

SETUP = """
from pcm3.hub import load_encoder, load_official
from pcm3.skeleton import NTU25, SBU15
from pcm3.runs.checkpoint import load_checkpoint
from pathlib import Path
import safetensors
def again(path):  # as prepare, evaluate and resume do
    load_checkpoint(Path(path))
"""
ENCODERS = {
    "gru": GRUEncoder(15, hidden=2, layers=1),
    "stgcn": STGCNEncoder(SBU15, channels=2, layers=(1, 1), out_features=2),
    "transformer": TransformerEncoder(SBU15, frames=4, patch=2, width=4, depth=1, heads=2),
}
HUGE: dict[str, list[dict[str, Any]]] = {
    "gru": [{"hidden": 10**9}, {"hidden": 10**18}, {"layers": 10**9}, {"in_channels": 10**12}],
    "stgcn": [{"channels": 10**9}, {"layers": [10**9]}, {"temporal_kernel": 10**12 + 1}],
    "transformer": [
        *({"width": 10**9}, {"depth": 10**9}, {"frames": 2 * 10**12}, {"mlp_ratio": 1e300}),
        {"mlp_ratio": float("inf")},
        {"persons": 10**9},
    ],
}


def test_no_encoder_takes_what_its_header_claims(
    tmp_path: Path, small_memory: Callable[..., None]
) -> None:
    files = []
    for kind, encoder in ENCODERS.items():
        good = tmp_path / f"{kind}.safetensors"
        save_encoder(good, Pretrained(encoder, SBU15, "joint", 4))
        data = good.read_bytes()
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        about = header["__metadata__"]
        for number, change in enumerate(HUGE[kind]):
            files.append(tmp_path / f"{kind}-{number}.safetensors")
            arguments = json.dumps(json.loads(about["arguments"]) | change)
            save_file(load_file(good), files[-1], metadata={**about, "arguments": arguments})
        first = next(name for name in header if name != "__metadata__")
        wider = header | {first: header[first] | {"shape": [10**15]}}
        longer = header | {first: header[first] | {"data_offsets": [0, 10**15]}}
        for number, changed in enumerate((wider, longer)):
            text = json.dumps(changed).encode()
            files.append(tmp_path / f"{kind}-shape-{number}.safetensors")
            content = len(text).to_bytes(8, "little") + text + data[8 + size :]
            files[-1].write_bytes(content)
        files.append(tmp_path / f"{kind}-header.safetensors")
        files[-1].write_bytes((2**60).to_bytes(8, "little") + data[8:])
    lines = [f"load_encoder({str(file)!r})" for file in files]
    small_memory(SETUP, *lines, megabytes=1000)


def published(**changes: torch.Tensor) -> dict[str, Any]:
    weights = {}
    for name, value in ENCODERS["gru"].state_dict().items():
        back = "_reverse" if ".1." in name else ""
        kind = name.rpartition(".")[2].removesuffix("_l0")
        gru = name.startswith("layers.")
        weights[f"encoder.gru.{kind}_l0{back}" if gru else name] = value
    return {"state_dict": weights | {f"encoder.gru.{key}": each for key, each in changes.items()}}


def packed(file: Path, how: int, *, twice: bool = False) -> None:
    """The same archive, its members packed, or each there under two names."""
    data = file.read_bytes()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        members = {each: archive.read(each) for each in archive.namelist()}
    with zipfile.ZipFile(file, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
        if twice:  # entries of the directory that share the bytes of one member
            largest = max(archive.infolist(), key=lambda each: each.file_size)
            archive.filelist += [largest] * 100
            archive._didModify = True  # type: ignore[attr-defined]


def test_no_checkpoint_takes_what_it_claims(
    tmp_path: Path, small_memory: Callable[..., None]
) -> None:
    wide = torch.zeros(1, 20_000)  # a GRU of this width has 1.2 billion weights
    square = torch.zeros(1).expand(60_000, 20_000)
    contents = {
        "wide": published(weight_hh_l0=wide),
        "repeated": published(weight_hh_l0=square),
        "queue": {
            "state_dict": published()["state_dict"] | {"queue": torch.zeros(1).expand(10**6, 10**6)}
        },
        "projector": {
            "state_dict": {
                **{f"encoder_q.{key}": each for key, each in published()["state_dict"].items()},
                **{"queue": torch.zeros(1, 10**5), "encoder_q.fc.2.bias": torch.zeros(10**5)},
                "linear.0.bias": torch.zeros(10**5),
            }
        },
        "name": {"state_dict": {"encoder_q.encoder.gru." + "_l" * 10**5: torch.zeros(1)}},
    }
    lines = []
    for name, content in contents.items():
        for new in (True, False):
            file = tmp_path / f"{name}-{new}.pth"
            torch.save(content, file, _use_new_zipfile_serialization=new)
            lines.append(f"load_official({str(file)!r}, skeleton=SBU15)")
    for how, twice in ((zipfile.ZIP_DEFLATED, False), (zipfile.ZIP_STORED, True)):
        file = tmp_path / f"packed-{how}.pth"
        torch.save({"state_dict": {"a": torch.zeros(10**6)}}, file)
        packed(file, how, twice=twice)
        lines += [f"load_official({str(file)!r}, skeleton=SBU15)", f"again({str(file)!r})"]
    small_memory(SETUP, *lines, megabytes=1000)
