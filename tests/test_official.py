"""Published checkpoints: their names, wrappers and sizes, and what is said of bad ones."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from pcm3 import MAMP, NTU25, PCM3
from pcm3.encoders import GRUEncoder, TransformerEncoder
from pcm3.errors import SkeletonFormatError
from pcm3.hub import Pretrained, load_official, save_encoder

HIDDEN = 128  # the smallest whose features have room for the published task prompts


def model() -> PCM3:
    torch.manual_seed(0)
    encoder = GRUEncoder(NTU25, hidden=HIDDEN, layers=2)
    built = PCM3(encoder, NTU25, embedding=8, queue_size=16, decoder_hidden=4)
    with torch.no_grad():
        for tensor in built.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.randn_like(tensor).abs())
    built.queue.position.fill_(5)
    return built


def published(built: PCM3) -> dict[str, Tensor]:
    """The weights under the names of the authors' code, written out one by one."""
    state, names = built.state_dict(), {}
    for side, encoder, projector in (
        ("q", "encoder", "projector"),
        ("k", "key_encoder.module", "key_projector.module"),
    ):
        for layer in range(2):
            for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
                for second, suffix in ((0, ""), (1, "_reverse")):
                    theirs = f"encoder_{side}.encoder.gru.{kind}_l{layer}{suffix}"
                    names[theirs] = f"{encoder}.layers.{layer}.{second}.{kind}_l0"
        for entry in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            names[f"encoder_{side}.input_norm.{entry}"] = f"{encoder}.input_norm.{entry}"
        for entry in ("0.weight", "0.bias", "2.weight", "2.bias"):
            names[f"encoder_{side}.fc.{entry}"] = f"{projector}.{entry}"
    for key in state:
        if key.startswith("decoder.adapter."):
            names[key.replace("decoder.adapter", "linear")] = key
        elif key.startswith("decoder.gru."):
            names[key.replace("decoder.gru", "recons_decoder.decoder")] = key
        elif key.startswith("decoder.output."):
            names[key.replace("decoder.output", "recons_decoder.reconstruction")] = key
    weights = {theirs: state[ours] for theirs, ours in names.items()}
    weights["queue"] = state["queue.anchors"].T
    weights["queue_ptr"] = state["queue.position"].reshape(1)
    for theirs, view in (("base", "intra"), ("mix", "inter"), ("mask",) * 2, ("recons", "predict")):
        offset = state[f"domain_prompts.{view}.offset"]  # (C, V, M)
        flat = [offset[c, v, m] for v in range(25) for c in range(3) for m in range(2)]
        weights[f"{theirs}_prompt"] = torch.stack(flat).reshape(1, 1, 150)
    for theirs, task in (("cl", "contrast"), ("mp", "predict")):
        weights[f"{theirs}_prompt"] = state[f"task_prompts.{task}.vector"][None]
    return weights


def wrappers(weights: dict[str, Tensor]) -> dict[str, Any]:
    return {
        "bare": weights,
        "module": {f"module.{key}": value for key, value in weights.items()},
        "state_dict": {"epoch": 450, "state_dict": weights, "args": argparse.Namespace(lr=0.02)},
        "model": {"model": {f"module.{key}": value for key, value in weights.items()}},
    }


@pytest.mark.parametrize("wrapper", ["bare", "module", "state_dict", "model"])
@pytest.mark.parametrize("on_disk", [False, True])
def test_whole_model(tmp_path: Path, wrapper: str, on_disk: bool) -> None:
    built = model()
    content = wrappers(published(built))[wrapper]
    if on_disk:
        torch.save(content, tmp_path / "checkpoint.pth.tar")
    loaded = load_official(tmp_path / "checkpoint.pth.tar" if on_disk else content)
    assert loaded.encoder.origin == (
        str(tmp_path / "checkpoint.pth.tar") if on_disk else "state_dict"
    )
    assert loaded.model is not None
    assert loaded.unused == ()
    assert loaded.encoder is loaded.model.encoder
    wanted, found = built.state_dict(), loaded.model.state_dict()
    assert wanted.keys() == found.keys()
    for key, value in wanted.items():
        assert torch.equal(found[key], value), key


def test_encoder_alone() -> None:
    built = model().eval()
    weights = {
        key.removeprefix("encoder_q."): value
        for key, value in published(built).items()
        if key.startswith("encoder_q.")
    }
    clips = torch.randn(2, 3, 9, 25, 2)
    for prefix in ("", "encoder_q."):
        names = {f"{prefix}{key}": value for key, value in weights.items()}
        loaded = load_official(names, hidden=HIDDEN)
        assert loaded.model is None
        assert not loaded.encoder.training
        assert torch.equal(loaded.encoder(clips), built.encoder(clips))
        assert loaded.unused == tuple(
            f"{prefix}fc.{n}.{e}" for n in (0, 2) for e in ("weight", "bias")
        )


def test_prompts_of_another_size_are_left_out() -> None:
    weights = published(model())
    weights["cl_prompt"] = torch.zeros(1, 256)
    loaded = load_official(weights)
    assert isinstance(loaded.model, PCM3)
    assert not loaded.model.task_prompts
    assert loaded.unused == ("cl_prompt", "mp_prompt")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"encoder_q.encoder.gru.bias_hh_l1": None}, "gru.bias_hh_l1 is missing"),
        ({"linear.0.bias": None}, "linear.0.bias is missing"),
        ({"queue": torch.zeros(9, 16)}, r"queue.*\(8, 16\).*\(9, 16\)"),
        ({"encoder_q.input_norm.bias": torch.zeros(7)}, r"input_norm\.bias.*\(150,\).*\(7,\)"),
        (
            {"encoder_q.encoder.gru.weight_hh_l0": None},
            r"encoder_q\.encoder\.gru\.weight_hh_l0\b.*encoder_q\.",
        ),
    ],
)
def test_what_is_missing_is_named(change: dict[str, Tensor | None], message: str) -> None:
    weights = {k: v for k, v in {**published(model()), **change}.items() if v is not None}
    with pytest.raises(SkeletonFormatError, match=message):
        load_official(weights)


def test_wrong_hidden_size_is_named() -> None:
    message = r"encoder_q\.encoder\.gru\.weight_ih_l0\b.*\(96, 150\).*\(384, 150\)"
    with pytest.raises(SkeletonFormatError, match=message):
        load_official(published(model()), hidden=32)


def test_weights_of_no_model() -> None:
    with pytest.raises(SkeletonFormatError, match=r"state_dict: .*heads.* 7 and"):
        load_official(published_mamp(mamp()), "mamp", heads=7)


def test_recipe_of_the_method_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a checkpoint to an accuracy and features, by the code and commands of the page."""
    from pcm3.cli import main
    from pcm3.data.synthetic import generate

    text = (Path(__file__).parents[1] / "docs" / "method.md").read_text()
    page = text.split("## Published checkpoints")[1]
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": published(model())}, "xsub_joint.pth.tar")
    generate(tmp_path / "ntu60", sequences=12, classes=2, subjects=2, normalization="isc")
    (code,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    exec(code, {})
    (commands,) = re.findall(r"```bash\n(.*?)```", page, re.DOTALL)
    for line in commands.splitlines():
        assert main(line.split()[1:]) == 0
    assert "linear xsub (solver pcm3): top1 " in capsys.readouterr().out
    assert np.load("features.npz")["features"].shape == (12, 2 * HIDDEN)


class Gadget:
    def __reduce__(self) -> tuple[Any, tuple[str]]:
        return print, ("executed",)


def test_nothing_in_a_file_is_executed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "evil.pth"
    torch.save({"state_dict": published(model()), "extra": Gadget()}, file)
    with pytest.raises(SkeletonFormatError, match=r"evil\.pth: .*print"):
        load_official(file)
    assert "executed" not in capsys.readouterr().out


def test_what_is_no_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(SkeletonFormatError, match=r"nowhere\.pth"):
        load_official(tmp_path / "nowhere.pth")
    torch.save({"encoder.gru.weight_hh_l0": torch.zeros(300, 100)}, tmp_path / "good.pth")
    content = (tmp_path / "good.pth").read_bytes()
    page = b"<!DOCTYPE html>\n<html><body>Not found</body></html>"
    for part in (b"hello", page, content[:1000], content[:-100], b"PK\x03\x04" * 50):
        (tmp_path / "text.pth").write_bytes(part)
        with pytest.raises(SkeletonFormatError, match=r"text\.pth: ") as raised:
            load_official(tmp_path / "text.pth")
        assert len(str(raised.value)) < 300  # nothing of the content
    (tmp_path / "empty.pth").touch()
    with pytest.raises(SkeletonFormatError, match=r"empty\.pth: .*empty"):
        load_official(tmp_path / "empty.pth")
    with pytest.raises(SkeletonFormatError, match="folder"):
        load_official(tmp_path)
    ours = Pretrained(GRUEncoder(25, hidden=2, layers=1), NTU25, "joint", 64)
    save_encoder(tmp_path / "ours.pth", ours)
    with pytest.raises(SkeletonFormatError, match=r"safetensors.*Encoder\.from_pretrained"):
        load_official(tmp_path / "ours.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(SkeletonFormatError, match=r"list\.pth: .*list"):
        load_official(tmp_path / "list.pth")
    with pytest.raises(SkeletonFormatError, match=r"state_dict: .*no tensor"):
        load_official({"epoch": 3})
    with pytest.raises(ValueError, match=r"'pcm3'.*'mamp'.*'moco'"):
        load_official({}, "moco")  # type: ignore[arg-type]


# --- MAMP -----------------------------------------------------------------------------------------


def mamp() -> MAMP:
    torch.manual_seed(0)
    encoder = TransformerEncoder(NTU25, frames=16, width=16, depth=2, heads=2)
    return MAMP(encoder, NTU25, decoder_depth=1)


def published_mamp(built: MAMP) -> dict[str, Tensor]:
    """The weights under the names of the authors' code, written out one by one."""
    state = built.state_dict()
    names = {
        "temp_embed": "encoder.positions.time",
        "pos_embed": "encoder.positions.joint",
        "mask_token": "decoder.mask_token",
        "decoder_temp_embed": "decoder.positions.time",
        "decoder_pos_embed": "decoder.positions.joint",
    }
    for end in ("weight", "bias"):
        names[f"joints_embed.proj.{end}"] = f"encoder.tokenizer.{end}"
        names[f"norm.{end}"] = f"encoder.norm.{end}"
        names[f"decoder_embed.{end}"] = f"decoder.embed.{end}"
        names[f"decoder_norm.{end}"] = f"decoder.norm.{end}"
        names[f"decoder_pred.{end}"] = f"decoder.output.{end}"
        for theirs, ours, count in (("blocks", "encoder", 2), ("decoder_blocks", "decoder", 1)):
            for block in range(count):
                for layer, here in (
                    ("norm1", "norm1"),
                    ("attn.qkv", "qkv"),
                    ("attn.proj", "proj"),
                    ("norm2", "norm2"),
                    ("mlp.fc1", "mlp.0"),
                    ("mlp.fc2", "mlp.2"),
                ):
                    names[f"{theirs}.{block}.{layer}.{end}"] = f"{ours}.blocks.{block}.{here}.{end}"
    weights = {theirs: state[ours] for theirs, ours in names.items()}
    linear = weights["joints_embed.proj.weight"]  # (D, frame and coordinate)
    weights["joints_embed.proj.weight"] = linear.view(16, 4, 3).transpose(1, 2)[..., None]
    return weights


@pytest.mark.parametrize("wrapper", ["bare", "module", "state_dict", "model"])
def test_whole_mamp(wrapper: str) -> None:
    built = mamp()
    loaded = load_official(wrappers(published_mamp(built))[wrapper], "mamp", heads=2)
    assert loaded.model is not None
    assert loaded.unused == ()
    found = loaded.model.state_dict()
    assert found.keys() == built.state_dict().keys()
    for key, value in built.state_dict().items():
        assert torch.equal(found[key], value), key


def test_encoder_of_mamp_alone() -> None:
    built = mamp().eval()
    weights = {k: v for k, v in published_mamp(built).items() if not k.startswith("decoder")}
    loaded = load_official({**weights, "head.weight": torch.zeros(3)}, "mamp", heads=2)
    assert loaded.model is None
    assert loaded.unused == ("mask_token", "head.weight")
    clips = torch.randn(2, 3, 16, 25, 2)
    assert torch.equal(loaded.encoder(clips), built.encoder(clips))


def test_what_mamp_lacks_is_named() -> None:
    weights = published_mamp(mamp())
    del weights["blocks.1.mlp.fc2.bias"]
    with pytest.raises(
        SkeletonFormatError, match=r"state_dict: blocks\.1\.mlp\.fc2\.bias is missing"
    ):
        load_official(weights, "mamp", heads=2)
    wanted = r"joints_embed\.proj\.weight and temp_embed.*encoder_q\."
    with pytest.raises(SkeletonFormatError, match=wanted):
        load_official(published(model()), "mamp")


@pytest.mark.parametrize("method", ["pcm3", "mamp"])
def test_weights_that_are_no_numbers(method: Any) -> None:
    weights = published(model()) if method == "pcm3" else published_mamp(mamp())
    name = (
        "encoder_q.encoder.gru.weight_hh_l0_reverse" if method == "pcm3" else "blocks.1.norm2.bias"
    )
    weights[name] = weights[name].clone()
    weights[name].view(-1)[3] = float("nan")
    with pytest.raises(SkeletonFormatError, match=f"{re.escape(name)}.*NaN"):
        load_official(weights, method, heads=2)


def test_weights_without_values_are_not_what_was_in_memory(tmp_path: Path) -> None:
    """In the old format, torch takes a storage that the file only names for one that it holds."""
    file = tmp_path / "old.pth"
    whole = torch.ones(10)
    torch.save({"a": whole[:4], "b": whole[4:]}, file, _use_new_zipfile_serialization=False)
    data = file.read_bytes()
    name = re.search(rb"[0-9]{9,}", data)
    assert name is not None
    other = name.group()[:-1] + (b"7" if name.group()[-1:] != b"7" else b"8")
    file.write_bytes(data.replace(name.group(), other, 1))
    assert torch.load(file, weights_only=True)["b"].tolist() == [1] * 6  # and "a" is anything
    with pytest.raises(SkeletonFormatError, match=r"old\.pth: "):
        load_official(file)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.bool])
@pytest.mark.parametrize("method", ["pcm3", "mamp"])
def test_weights_that_are_complex_or_true(method: Any, dtype: torch.dtype) -> None:
    weights = {"encoder_q.odd": torch.zeros(2), "odd": torch.zeros(2).to(dtype)}
    with pytest.raises(SkeletonFormatError, match=f"odd.*{dtype}"):
        load_official(weights, method)
