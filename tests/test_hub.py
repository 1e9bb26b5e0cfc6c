"""Encoders in and out of files, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from pcm3.encoders import Encoder, GRUEncoder, STGCNEncoder, TransformerEncoder
from pcm3.encoders.files import describe_input
from pcm3.errors import SkeletonFormatError
from pcm3.hub import Pretrained, fingerprint, load_encoder, save_encoder
from pcm3.skeleton import KINECT20, NTU25, SBU15, Skeleton


@pytest.mark.parametrize(
    ("skeleton", "options"),
    [
        (NTU25, {"pool": "mean"}),
        (KINECT20.reordered(KINECT20.joints[::-1]), {"persons": 1, "direction": "bidirectional"}),
        (SBU15, {"in_channels": 2, "direction": "forward", "layers": 1}),
    ],
    ids=["ntu25", "kinect20", "sbu15"],
)
def test_round_trip(tmp_path: Path, skeleton: Skeleton, options: dict[str, Any]) -> None:
    encoder = GRUEncoder(skeleton, hidden=6, **options)
    clips = torch.randn(3, encoder.in_channels, 10, len(skeleton), encoder.persons)
    encoder(clips)  # moves the normalisation's statistics
    file = tmp_path / "deep" / "encoder.safetensors"
    save_encoder(file, Pretrained(encoder, skeleton, "bone", 48, "isc"))
    loaded = load_encoder(str(file))
    assert loaded.skeleton == skeleton
    assert (loaded.stream, loaded.frames, loaded.normalization) == ("bone", 48, "isc")
    assert not loaded.encoder.training
    assert loaded.encoder.arguments == encoder.arguments
    encoder.eval()
    assert torch.equal(loaded.encoder(clips), encoder(clips))
    assert torch.equal(loaded.encoder.pool(loaded.encoder(clips)), encoder.pool(encoder(clips)))


@pytest.mark.parametrize("kind", [STGCNEncoder, TransformerEncoder])
def test_other_encoders_round_trip(tmp_path: Path, kind: type[Encoder]) -> None:
    encoder = kind(SBU15, persons=1).eval()
    save_encoder(tmp_path / "encoder.safetensors", Pretrained(encoder, SBU15, "joint", 32))
    clips = torch.randn(2, 3, 32, 15, 1)
    for path in (tmp_path, tmp_path / "encoder.safetensors"):
        loaded = Encoder.from_pretrained(path)
        assert type(loaded) is kind
        assert torch.equal(loaded(clips), encoder(clips))
    assert isinstance(kind.from_pretrained(tmp_path), kind)
    with pytest.raises(ValueError, match=f"GRUEncoder.*{kind.__name__}"):
        GRUEncoder.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stream": "colour"}, "stream.*joint.*'colour'"),
        ({"skeleton": SBU15}, "15 joints.*'sbu15'.*25"),
        ({"frames": 0}, "frames >= 1.* 0"),
        ({"encoder": torch.nn.Linear(2, 2)}, "Encoder.*Linear"),
    ],
)
def test_only_what_can_be_read_back_is_written(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    fine = Pretrained(GRUEncoder(25, hidden=2, layers=1), NTU25, "joint", 64)
    with pytest.raises(ValueError, match=message):
        save_encoder(tmp_path / "encoder.safetensors", fine._replace(**change))
    assert not list(tmp_path.iterdir())


def test_a_run_folder_stands_for_its_encoder(good: Path) -> None:
    found, wanted = load_encoder(good.parent), load_encoder(good)
    assert found.encoder.arguments == wanted.encoder.arguments
    assert found[1:] == wanted[1:]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    file = tmp_path / "encoder.safetensors"
    save_encoder(file, Pretrained(GRUEncoder(25, hidden=2, layers=1), NTU25, "joint", 64))
    return file


def test_absent_file(tmp_path: Path) -> None:
    with pytest.raises(SkeletonFormatError, match=r"nowhere\.safetensors"):
        load_encoder(tmp_path / "nowhere.safetensors")
    with pytest.raises(SkeletonFormatError, match=r"encoder\.safetensors"):
        load_encoder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"not tensors at all", bytes(200), b"PK\x03\x04" * 50])
def test_file_of_another_kind(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "encoder.safetensors"
    file.write_bytes(content)
    with pytest.raises(SkeletonFormatError, match=r"encoder\.safetensors: "):
        load_encoder(file)
    published = file.rename(tmp_path / "epoch.pth.tar")
    with pytest.raises(SkeletonFormatError, match=r"epoch\.pth\.tar.*load_official"):
        load_encoder(published)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.999])
def test_truncated_file(good: Path, share: float) -> None:
    content = good.read_bytes()
    good.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(SkeletonFormatError, match=r"encoder\.safetensors: "):
        load_encoder(good)


@pytest.mark.parametrize("header", [None, {"format": "pt"}, {"encoder": "Perceiver"}])
def test_safetensors_of_something_else(tmp_path: Path, header: dict[str, str] | None) -> None:
    file = tmp_path / "other.safetensors"
    save_file({"weight": torch.zeros(2)}, file, metadata=header)
    name = (header or {}).get("encoder")
    with pytest.raises(SkeletonFormatError, match=f"other.safetensors.*GRUEncoder.*{name or ''}"):
        load_encoder(file)


def header_of(file: Path) -> dict[str, str]:
    content = file.read_bytes()
    size = int.from_bytes(content[:8], "little")
    header: dict[str, str] = json.loads(content[8 : 8 + size])["__metadata__"]
    return header


@pytest.mark.parametrize(
    "change",
    [
        {"arguments": None},
        {"frames": None},
        {"skeleton": "{}"},
        {"skeleton": json.dumps(SBU15.to_dict())},
        {"skeleton": "no json"},
        {"arguments": '{"hidden": 3, "layers": 1}'},  # not the shape of the weights
        {"arguments": '{"width": 3}'},
        {"arguments": '{"hidden": 3.5}'},
        {"frames": "many"},
        {"stream": "colour"},
    ],
    ids=str,
)
def test_header_that_does_not_describe_the_weights(
    good: Path, change: dict[str, str | None]
) -> None:
    header = {k: v for k, v in {**header_of(good), **change}.items() if v is not None}
    del header["checksum"]  # as files were once written
    save_file(load_file(good), good, metadata=header)
    with pytest.raises(SkeletonFormatError, match=r"encoder\.safetensors: "):
        load_encoder(good)


def test_no_flipped_bit_goes_unnoticed(good: Path) -> None:
    whole, content = load_encoder(good), good.read_bytes()
    random = np.random.default_rng(0)
    for bit in random.integers(8 * len(content), size=300).tolist():
        damaged = bytearray(content)
        damaged[bit // 8] ^= 1 << bit % 8
        good.write_bytes(damaged)
        try:
            found = load_encoder(good)
        except SkeletonFormatError:
            continue
        assert found[1:] == whole[1:]  # white space, say
        for name, weight in whole.encoder.state_dict().items():
            assert torch.equal(found.encoder.state_dict()[name], weight), bit


def test_a_file_without_checksum_loads(good: Path) -> None:
    header, wanted = header_of(good), load_encoder(good)
    del header["checksum"]
    save_file(load_file(good), good, metadata=header)
    assert load_encoder(good)[1:] == wanted[1:]


def test_weights_that_are_not_finite_are_refused(good: Path) -> None:
    found = load_encoder(good)
    header, weights = header_of(good), load_file(good)
    del header["checksum"]
    name = next(name for name, weight in weights.items() if weight.is_floating_point())
    weights[name].view(-1)[0] = torch.nan
    save_file(weights, good, metadata=header)
    with pytest.raises(SkeletonFormatError, match=f"NaN.*{name}"):
        load_encoder(good)
    before = good.read_bytes()
    with torch.no_grad():
        next(found.encoder.parameters()).view(-1)[0] = torch.inf
    with pytest.raises(ValueError, match="NaN"):
        save_encoder(good, found)
    assert good.read_bytes() == before


def test_the_fingerprint_is_that_of_weights_and_input(good: Path, tmp_path: Path) -> None:
    found = load_encoder(good)
    other = tmp_path / "other.safetensors"
    save_encoder(other, found)
    assert fingerprint(other) == fingerprint(good)
    save_encoder(other, found._replace(stream="bone"))
    assert fingerprint(other) != fingerprint(good)
    with torch.no_grad():
        next(found.encoder.parameters()).view(-1)[0] += 1e-6
    save_encoder(other, found)
    assert fingerprint(other) != fingerprint(good)


def test_the_unit_is_kept(good: Path, tmp_path: Path) -> None:
    """Files of earlier versions have none."""
    before = load_encoder(good)
    assert before.unit is None
    assert "unit" not in describe_input(before)
    save_encoder(tmp_path / "metres.safetensors", before._replace(unit="metres"))
    assert load_encoder(tmp_path / "metres.safetensors").unit == "metres"
    assert fingerprint(tmp_path / "metres.safetensors") != fingerprint(good)
