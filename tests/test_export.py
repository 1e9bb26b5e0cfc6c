"""Files that run without this package give the encoder's features."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from pcm3 import PCM3, export
from pcm3.encoders import Encoder, GRUEncoder, STGCNEncoder, TransformerEncoder
from pcm3.export import export_onnx, export_program
from pcm3.hub import Pretrained
from pcm3.skeleton import SBU15, Skeleton

FRAMES = 8


def make_gru(**options: Any) -> Encoder:
    return GRUEncoder(SBU15, hidden=4, layers=2, **options)


def make_graph() -> Encoder:
    return STGCNEncoder(SBU15, persons=1, channels=4, layers=(1, 1), out_features=6)


def make_transformer(**options: Any) -> Encoder:
    return TransformerEncoder(SBU15, frames=FRAMES, width=8, depth=1, heads=2, **options)


KINDS: dict[str, Callable[[], Encoder]] = {
    "causal pair": make_gru,
    "bidirectional": lambda: make_gru(direction="bidirectional", pool="mean"),
    "graph": make_graph,
    "transformer": make_transformer,
    "transformer without absent persons": lambda: make_transformer(skip_absent=True),
}


HAS_ONNX = all(find_spec(name) for name in ("onnx", "onnxscript", "onnxruntime"))
needs_onnx = pytest.mark.skipif(not HAS_ONNX, reason="needs pip install 'pcm3[onnx]'")
SCRIPT = """
import sys, torch
for folder in sys.argv[1:]:
    program = torch.export.load(f"{folder}/encoder.pt2").module()
    torch.save(program(torch.load(f"{folder}/clips.pt")), f"{folder}/features.pt")
assert not any(name.startswith("pcm3") for name in sys.modules)
"""


class Written(NamedTuple):
    """An encoder in training mode, with statistics of its own, and the files of it."""

    encoder: Encoder
    state: dict[str, torch.Tensor]
    folder: Path
    deviations: list[float]


def clips_for(encoder: Encoder, batch: int) -> torch.Tensor:
    return torch.randn(batch, encoder.in_channels, FRAMES, encoder.joints, encoder.persons)


def write(encoder: Encoder, folder: Path) -> Written:
    encoder(clips_for(encoder, 16) + 1)
    state = copy.deepcopy(encoder.state_dict())
    deviations = [export_program(encoder, folder / "program" / "encoder.pt2", frames=FRAMES)]
    if HAS_ONNX:
        (folder / "onnx").mkdir()
        deviations.append(export_onnx(encoder, folder / "onnx" / "encoder.onnx", frames=FRAMES))
    return Written(encoder, state, folder, deviations)


@pytest.fixture(scope="module")
def write_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Written]:
    """The files of an encoder of a kind, written when they are first asked for."""

    @cache
    def written(kind: str) -> Written:
        torch.manual_seed(0)
        return write(KINDS[kind](), tmp_path_factory.mktemp("files"))

    return written


SLOW = {"causal pair", "transformer"}  # much like the kinds below them
QUICK = [kind for kind in KINDS if kind not in SLOW]


@pytest.fixture(
    params=[*QUICK, *(pytest.param(kind, marks=pytest.mark.slow) for kind in sorted(SLOW))]
)
def written(request: pytest.FixtureRequest, write_once: Callable[[str], Written]) -> Written:
    return write_once(request.param)


def test_files_are_written_alone_and_the_encoder_is_not_changed(written: Written) -> None:
    assert max(written.deviations) < 1e-5
    names = ["encoder.pt2", *(["encoder.onnx"] if HAS_ONNX else [])]
    assert [[path.name for path in folder.iterdir()] for folder in subfolders(written)] == [
        [name] for name in names
    ]
    encoder = written.encoder
    assert encoder.training
    assert all(
        torch.equal(value, written.state[name]) for name, value in encoder.state_dict().items()
    )
    assert all(parameter.requires_grad for parameter in encoder.parameters())


def subfolders(written: Written) -> list[Path]:
    return [written.folder / name for name in ("program", "onnx")[: len(written.deviations)]]


def check_features(encoder: Encoder, clips: torch.Tensor, found: Iterable[torch.Tensor]) -> None:
    frames, pooled = found
    expected = copy.deepcopy(encoder).eval()(clips).detach()
    torch.testing.assert_close(frames, expected, rtol=0, atol=1e-5)
    torch.testing.assert_close(pooled, encoder.pool(expected), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kinds", [QUICK, pytest.param(sorted(SLOW), marks=pytest.mark.slow)])
def test_programs_run_with_torch_alone(
    kinds: list[str], write_once: Callable[[str], Written], tmp_path: Path
) -> None:
    several = {kind: write_once(kind) for kind in kinds}
    for kind, each in several.items():
        folder = tmp_path / kind
        folder.mkdir()
        (folder / "encoder.pt2").symlink_to(each.folder / "program" / "encoder.pt2")
        clips = clips_for(each.encoder, 7)
        clips[:3, ..., -1] = clips[2:5, ..., 0] = 0  # absent persons, and nobody in sample 2
        torch.save(clips, folder / "clips.pt")
    subprocess.run([sys.executable, "-c", SCRIPT, *kinds], cwd=tmp_path, check=True)
    for kind, each in several.items():
        clips, found = (
            torch.load(tmp_path / kind / f"{name}.pt") for name in ("clips", "features")
        )
        check_features(each.encoder, clips, found)


def test_files_name_no_folder_of_this_machine(written: Written, tmp_path: Path) -> None:
    folders = [Path(export.__file__).parent, Path(torch.__file__).parent, written.folder, tmp_path]
    for subfolder in subfolders(written):
        (file,) = subfolder.iterdir()
        content = file.read_bytes()
        assert [folder for folder in folders if str(folder).encode() in content] == []


def test_program_of_another_length_is_refused(tmp_path: Path) -> None:
    export_program(make_graph().double(), tmp_path / "encoder.pt2", frames=5)
    program = torch.export.load(tmp_path / "encoder.pt2").module()
    assert program(torch.zeros(3, 3, 5, 15, 1))[0].dtype == torch.float32
    with pytest.raises(AssertionError, match="Guard failed"):
        program(torch.zeros(3, 3, 6, 15, 1))


def test_a_deviation_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "encoder.pt2"
    file.write_text("old")
    trace = torch.export.export

    def trace_another(model: Any, *arguments: Any, **options: Any) -> torch.export.ExportedProgram:
        other = copy.deepcopy(model)
        for weight in other.parameters():
            weight.add_(0.1)
        return trace(other, *arguments, **options)

    monkeypatch.setattr(torch.export, "export", trace_another)
    with pytest.raises(RuntimeError, match=r"encoder\.pt2.*1e-05"):
        export_program(make_graph(), file, frames=FRAMES)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_a_pretrained_encoder_knows_its_frames(tmp_path: Path) -> None:
    pretrained = Pretrained(make_graph(), SBU15, "joint", FRAMES)
    export_program(pretrained, tmp_path / "encoder.pt2")
    extra = {"pcm3.json": ""}
    program = torch.export.load(tmp_path / "encoder.pt2", extra_files=extra).module()
    assert program(torch.zeros(3, 3, FRAMES, 15, 1))[1].shape == (3, 6)
    check_input(json.loads(extra["pcm3.json"]), {"stream": "joint", "frames": str(FRAMES)})


def check_input(said: dict[str, str], expected: dict[str, str]) -> None:
    """What a file says that goes into its encoder."""
    assert Skeleton.from_dict(json.loads(said["skeleton"])) == SBU15
    assert said == {"skeleton": said["skeleton"]} | expected


def test_features_that_are_not_finite_are_no_success(tmp_path: Path) -> None:
    encoder = make_graph()
    with torch.no_grad():
        next(encoder.parameters()).fill_(torch.nan)
    for export_to, name in ((export_program, "encoder.pt2"), (export_onnx, "encoder.onnx")):
        with pytest.raises(RuntimeError, match="deviate"):
            export_to(encoder, tmp_path / name, frames=FRAMES)
    assert not list(tmp_path.iterdir())


def test_what_is_no_encoder(tmp_path: Path) -> None:
    model = PCM3(make_gru(), SBU15, queue_size=8, decoder_hidden=4)
    for thing, name in ((model, "PCM3"), ("run", "str")):
        with pytest.raises(ValueError, match=rf"load_encoder.*{name}; "):
            export_program(thing, tmp_path / "encoder.pt2")
        with pytest.raises(ValueError, match=rf"load_encoder.*{name}; "):
            export_onnx(thing, tmp_path / "encoder.onnx")


def test_a_folder_in_the_place_of_the_file_is_named_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "encoder.pt2" / "inside").mkdir(parents=True)
    with pytest.raises(OSError) as raised:
        export_program(make_graph(), tmp_path / "encoder.pt2", frames=FRAMES)
    assert raised.value.filename == str(tmp_path / "encoder.pt2")
    assert raised.value.filename2 is None


def test_frames_that_the_encoder_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"frames > 0.*0"):
        export_program(make_graph(), tmp_path / "encoder.pt2", frames=0)
    with pytest.raises(ValueError, match=r"T.*patch=4.*T=6"):
        export_program(make_transformer(), tmp_path / "encoder.pt2", frames=6)
    assert not list(tmp_path.iterdir())


def test_onnx_names_the_packages_it_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lacking = {"onnx", "onnxruntime"}
    monkeypatch.setattr(export, "find_spec", lambda name: None if name in lacking else name)
    with pytest.raises(ImportError, match=r"'pcm3\[onnx\]'"):
        export_onnx(make_graph(), tmp_path / "encoder.onnx")
    assert not list(tmp_path.iterdir())


@needs_onnx
def test_onnx(written: Written) -> None:
    onnxruntime = import_module("onnxruntime")
    session = onnxruntime.InferenceSession(written.folder / "onnx" / "encoder.onnx")
    clips = clips_for(written.encoder, 3)
    found = session.run(["frame_features", "features"], {"clips": clips.numpy()})
    check_features(written.encoder, clips, map(torch.from_numpy, found))


@needs_onnx
def test_onnx_says_what_goes_in(tmp_path: Path) -> None:
    onnxruntime = import_module("onnxruntime")
    file = tmp_path / "encoder.onnx"
    export_onnx(Pretrained(make_graph(), SBU15, "bone", 64, "center"), file, frames=FRAMES)
    said = onnxruntime.InferenceSession(file).get_modelmeta().custom_metadata_map
    expected = {"stream": "bone", "frames": str(FRAMES), "normalization": "center"}
    check_input(said, expected)
