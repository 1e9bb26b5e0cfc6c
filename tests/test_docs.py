"""README and documentation say what was measured, and their code runs."""

import csv
import importlib.util
import json
import re
import shlex
import sys
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from pkgutil import walk_packages
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pictures
import pytest
import torch
from PIL import Image
from torch import Tensor
from webcam import record, record_session

import pcm3
from pcm3 import NTU25, Skeleton, augment
from pcm3.cli import main
from pcm3.data import Store, generate, prepare
from pcm3.data.synthetic import synthetic_sequences
from pcm3.data.synthetic.motion import SyntheticMotion
from pcm3.encoders import Encoder, GRUEncoder, TransformerEncoder
from pcm3.export import export_program
from pcm3.hub import Pretrained, save_encoder
from pcm3.inference.estimators import PretrainedEncoder
from pcm3.methods import Method
from pcm3.methods.catalog import get_preset
from pcm3.methods.settings import EncoderSettings
from pcm3.runs.folder import Run
from pcm3.skeleton import BLAZEPOSE33, SKELETONS
from pcm3.sweep.file import read_sweep

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_tables_are_those_on_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    spec = importlib.util.spec_from_file_location("table", ROOT / "benchmarks" / "table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for page in module.PAGES:
        text = page.read_text()
        assert re.search(r"<!-- table \w+ -->\n(\|.*\n){3,}<!-- end -->", text)
        assert module.filled(text) == text


def python_of(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


def code_of(page: Path) -> list[str]:
    """The cells of a page that Sphinx executes."""
    return re.findall(r"```{code-cell} ipython3\n(.*?)```", page.read_text(), re.DOTALL)


def run_all(blocks: list[str], **names: Any) -> dict[str, Any]:
    for block in blocks:
        exec(block, names)
    return names


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_of_readme(here: Path) -> None:
    training, borrowing = python_of(ROOT / "README.md")
    names = run_all([borrowing])
    assert names["hidden"].shape == (8, 64, 25, 2)
    assert torch.isfinite(names["loss"])
    generate(here / "store", sequences=200)
    names = run_all([training.replace("epochs=100", "epochs=1, accelerator='cpu'")])
    assert names["features"].shape == (3, 128)
    assert (here / "run" / "encoder.safetensors").exists()


def test_python_of_getting_started(here: Path) -> None:
    names = run_all(python_of(ROOT / "docs" / "getting-started.md"))
    assert names["features"].shape == (16, 512)


def test_python_of_data(here: Path) -> None:
    webcam, similar, motion, reading = python_of(ROOT / "docs" / "data.md")
    save = run_all([webcam])["save"]
    marks = [SimpleNamespace(x=0.1 * joint, y=0.2, z=-0.3) for joint in range(33)]
    for number, name in enumerate(("one", "two", "three"), 5):
        save(name, [None, *[marks] * number])
    (here / "recordings" / "labels.csv").write_text(
        "file,label,subjects\none.npy,wave,1\ntwo.npy,bow,2\nthree.npy,bow,3\n"
    )
    names = {
        "names": np.array(["zero", "far", "near"]),
        "features": np.eye(3) + np.eye(3)[[2, 1, 0]],
    }
    names["features"][2, 2] = 9
    np.savez(here / "features.npz", **names)
    assert run_all([similar])["nearest"].tolist() == [2, 1]
    run_all([motion])
    assert len(Store(here / "motion")) == 200
    names = run_all([reading])
    assert names["clips"].shape == (1, 3, 6, 33, 1)
    assert names["store"].class_names == ("bow", "wave")


def test_python_of_pretrained(here: Path) -> None:
    blocks = python_of(ROOT / "docs" / "pretrained.md")
    names = run_all(blocks)
    assert names["pretrained"].normalization == "body"
    # people, whose axes are found, in place of noise
    motion = SyntheticMotion(4, skeleton=NTU25, frames=(100, 100)).batch(range(4)).clips
    people = [block.replace("torch.randn(4, 3, 100, 25, 2)", "people") for block in blocks]
    assert people != blocks
    names = run_all(people, people=torch.nn.functional.pad(motion, (0, 1)))
    clips, lengths = names["clips"], names["lengths"]
    recordings = [clip[:, :n].permute(1, 3, 2, 0) for clip, n in zip(clips, lengths, strict=True)]
    expected = PretrainedEncoder("pretrained", skeleton="ntu25").fit_transform(recordings)
    np.testing.assert_allclose(names["features"].numpy(), expected, atol=1e-5)


def test_python_of_tasks(here: Path) -> None:
    generate(here / "store", sequences=60)
    encoder = TransformerEncoder(NTU25, persons=1, frames=16, width=8, depth=1, heads=2)
    save_encoder("run/encoder.safetensors", Pretrained(encoder, NTU25, "joint", 16, "center"))
    names = run_all(python_of(ROOT / "docs" / "tasks.md"))
    assert names["top1"] == names["figures"]["top1"]


def test_python_of_classify(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = python_of(ROOT / "docs" / "classify.md")
    sharing = next(block for block in blocks if "SharedModel" in block)
    if importlib.util.find_spec("huggingface_hub") is None:
        blocks.remove(sharing)
    else:
        module = import_module("pcm3.inference.sharing")
        upload = module.SharedModel.save_pretrained
        monkeypatch.setattr(module.SharedModel, "push_to_hub", upload)
        monkeypatch.setattr(module, "snapshot_download", lambda name, **_: name)
    generate(here / "store", sequences=60)
    (here / "new").mkdir()
    for number, recording in enumerate(synthetic_sequences(sequences=12)):
        np.save(here / "new" / f"{number}.npy", recording.frames[:, 0])
    encoder = GRUEncoder(NTU25, persons=1, hidden=8, layers=1)
    save_encoder("run/encoder.safetensors", Pretrained(encoder, NTU25, "joint", 16, "center"))
    names = run_all(blocks)
    assert names["probabilities"].shape == (60, 12)
    assert set(names["labels"]) <= {*names["store"].class_names, "unknown"}
    *rows, shape, _ = capsys.readouterr().out.splitlines()
    assert (len(rows), shape) == (12, "(12, 2)")
    if sharing in blocks:
        assert (here / "folder" / "classifier.safetensors").is_file()
        assert "license: apache-2.0" in (here / "user" / "name" / "README.md").read_text()


def test_python_of_parts(here: Path) -> None:
    names = run_all(python_of(ROOT / "docs" / "parts.md"))
    assert torch.equal(names["queue"].anchors[:8], names["key"])
    assert names["network"][1].weight.grad.isfinite().all()
    assert names["features"].shape == (8, 128)
    assert names["precision"] == 1


def test_code_of_the_tutorial_on_parts() -> None:
    names = run_all(code_of(ROOT / "docs" / "tutorial-parts.md"))
    assert names["view"].shape == (8, 3, 32, 25, 1)
    assert torch.equal(names["queue"].anchors[152:160], names["key"])
    assert names["loss"].isfinite()


def test_python_of_method(here: Path) -> None:
    blocks = python_of(ROOT / "docs" / "method.md")
    blocks = [each for each in blocks if "load_official" not in each]  # tests/test_official.py
    encoder = TransformerEncoder(NTU25, frames=16, width=8, depth=2, heads=2)
    save_encoder("run/encoder.safetensors", Pretrained(encoder, NTU25, "joint", 16))
    names = run_all(blocks)
    assert names["scores"].shape == (8, 60)
    before, after = encoder.state_dict(), names["encoder"].state_dict()
    assert not torch.equal(before["tokenizer.weight"], after["tokenizer.weight"])
    assert (here / "encoder.pt2").exists()


def test_python_of_gallery(here: Path) -> None:
    page = ROOT / "docs" / "gallery.md"
    code = "".join(python_of(page))
    shorter = code.replace("epochs=40", "epochs=1, accelerator='cpu'")
    run_all([shorter.replace('"store", classes', '"store", sequences=240, classes')])
    drawn = {file.name for file in here.glob("*.png")}
    shown = set(re.findall(r"!\[.+\]\(pictures/(.+)\)", page.read_text()))
    assert shown == drawn | {"answer.png", "readme.png"}
    assert all((ROOT / "docs" / "pictures" / name).stat().st_size < 120_000 for name in drawn)


def test_python_of_recipes(here: Path) -> None:
    names = run_all(python_of(ROOT / "docs" / "recipes.md"))
    assert names["pooled"].shape == (64,)
    skeleton = names["skeleton"]
    own = names["Smooth"](names["Convolution"](skeleton), skeleton, queue_size=16, decoder_hidden=8)
    output = own(torch.randn(4, 3, 90, len(skeleton), 1))
    assert output.terms["smooth"] > 0
    assert type(names["trained"]) is names["Smooth"]
    assert names["trained"].frames == 32  # as the preset has it
    terms = output.terms
    without = sum(terms[f"info_nce/{view}"] + terms[f"kl/{view}"] for view in own.positives)
    without = without + own.mask_weight * terms["masked_mse"]
    torch.testing.assert_close(output.total, without + 0.1 * terms["smooth"])
    export_program(Pretrained(names["encoder"], skeleton, "bone", 8), here / "encoder.pt2")
    said = names["say_input"]("encoder.pt2")
    assert (said["stream"], said["frames"]) == ("bone", "8")
    assert Skeleton.from_dict(json.loads(said["skeleton"])) == skeleton


def test_python_of_sweeps(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = ROOT / "docs" / "sweeps.md"
    run_all(python_of(page))
    small = ROOT / "examples" / "sweeps" / "small.toml"
    assert main(["sweep", str(small), "--dry-run"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 9 + 1
    whole, axes = re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL)
    (here / "whole.toml").write_text(whole)
    assert [*read_sweep("whole.toml").variations] == ["contrastive", "pcm3", "distilled"]
    (here / "axes.toml").write_text(f'common.data = "store"\n{axes}')
    assert "masking-random_mask_ratio-0.4" in read_sweep("axes.toml").variations


def test_every_page_with_python_is_tested() -> None:
    tested = Path(__file__).read_text()
    pages = [page.stem.replace("-", "_") for page in PAGES if python_of(page)]
    assert len(pages) == 11
    assert all(f"def test_python_of_{page.lower()}(" in tested for page in pages)


_REFERENCES = ("therapist.csv", "therapist", "recordings")


class Understood(BaseException):  # so that the command does not explain it
    """The command has read its options and begins to work."""


def commands() -> list[str]:
    found = []
    for page in PAGES:
        if page.name == "reproduce.md":  # tests/test_reproduce.py runs its commands
            continue
        for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
            lines = block.replace("\\\n", " ").splitlines()
            found += [line.partition(" #")[0].strip() for line in lines]
        for block in code_of(page):
            found += re.findall(r"^(pcm3 .*?)(?: \|.*)?$", block, re.MULTILINE)
    return [line for line in dict.fromkeys(found) if line]


class Mean(Encoder):
    """Stands for an encoder of the reader's own."""

    def forward(self, clips: Tensor, prompt: Tensor | None = None) -> Tensor:
        raise NotImplementedError


@dataclass(frozen=True)
class StillSettings(EncoderSettings):
    weight: float = 1.0


class Still(Method):
    """Stands for a method of the reader's own."""

    Settings = StillSettings


@cache
def import_everything() -> None:
    """Import all modules before something stands in for what they import: they would keep it."""
    for module in walk_packages(pcm3.__path__, "pcm3."):
        if not module.name.endswith("__main__"):
            import_module(module.name)


@pytest.mark.parametrize("line", [line for line in commands() if line.startswith("pcm3 ")])
def test_commands_are_understood(line: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def begin(*_: object, **__: object) -> None:
        raise Understood

    import_everything()
    for module, name in (
        ("pcm3.data.prepare", "prepare"),
        ("pcm3.data.store", "Store"),
        ("pcm3.training.pretrain", "pretrain"),
        ("pcm3.encoders.files", "load_encoder"),
        ("pcm3.inference.files", "load_classifier"),
        ("pcm3.inference.recordings", "open_store"),
        ("pcm3.demo", "demo"),
        ("pcm3.report.page", "write_report"),
        ("pcm3.sweep.file", "read_sweep"),
    ):
        monkeypatch.setattr(import_module(module), name, begin)
    monkeypatch.setattr(Run, "load_config", lambda _: get_preset("small-pp"))
    monkeypatch.setattr(Run, "settings", lambda _: {})
    (here / "run").mkdir()
    nets, still = ModuleType("mypackage.nets"), ModuleType("mypackage.still")
    nets.Convolution, still.Still = Mean, Still  # type: ignore[attr-defined]
    for module_of_ones_own in (nets, still):
        monkeypatch.setitem(sys.modules, module_of_ones_own.__name__, module_of_ones_own)
    for source in ("recordings.npz", "nturgbd_skeletons", "SOURCE", *_REFERENCES):
        (here / source).touch()
    words = shlex.split(line)[1:]
    if words[-1] == "--help" or words[0] in ("presets", "completion"):
        with suppress(SystemExit):
            assert main(words) == 0
        return
    with pytest.raises(Understood):
        main(words)


def test_other_commands_are_those_there_are() -> None:
    makefile = (ROOT / "Makefile").read_text()
    extras = re.findall(r"^(\w+) = \[", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    seen = set()
    for line in commands():
        program, *words = shlex.split(line)
        seen.add(program)
        if program == "make":
            assert f"\n{words[0]}:" in makefile
        elif program == "python":
            assert (ROOT / words[0]).is_file()
        elif program == "sbatch":
            assert (ROOT / words[1]).is_file()
        elif program == "pip":
            assert set(re.findall(r"\[(\w+)\]", line)) <= set(extras)
        else:
            assert program == "pcm3", line
    assert seen == {"make", "python", "pip", "sbatch", "pcm3"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        file, _, _ = target.partition("#")
        if file and not re.match(r"https?:", file) and "pictures/" not in file:
            assert (page.parent / file).is_file(), target


def test_every_transform_has_its_picture() -> None:
    drawn = {*pictures.TRANSFORMS, *pictures.MIXES, *pictures.MASKS}
    page = (ROOT / "docs" / "parts.md").read_text()
    assert drawn == set(re.findall(r"!\[(\w+)\]\(pictures/\1\.svg\)", page))
    no_picture = {"Compose", "OneOf", "RandomMix", "MixedClips", "MotionFrameDrop", "functional"}
    assert drawn == set(augment.__all__) - no_picture


def test_every_joint_layout_is_on_the_page_of_parts() -> None:
    row = re.search(r"^\| (`NTU25`.*?) \|", (ROOT / "docs" / "parts.md").read_text(), re.MULTILINE)
    assert sorted(re.findall(r"`(\w+)`", row[1])) == sorted(name.upper() for name in SKELETONS)


def test_every_page_is_once_in_the_index_and_its_tables() -> None:
    index = (ROOT / "docs" / "index.md").read_text()
    parts = re.findall(r"^## (.+)\n((?:(?!^#|^```).*\n)*)", index, re.MULTILINE)
    tables = {
        part: re.findall(r"^\|.*\]\(([\w-]+)\.md\)", text, re.MULTILINE) for part, text in parts
    }
    trees = re.findall(r"```{toctree}\n:hidden:\n:caption: (.+)\n\n([^`]+)```", index)
    assert {part: pages.split() for part, pages in trees} == tables
    listed = sorted(page for pages in tables.values() for page in pages)
    assert listed == [page.stem for page in PAGES if page.stem not in ("README", "index")]


def test_pictures_of_the_readme_are_there_and_small() -> None:
    files = re.findall(r"!\[.+\]\((.+)\)", (ROOT / "README.md").read_text())
    assert files
    assert all((ROOT / file).stat().st_size < 250_000 for file in files)


def test_picture_of_the_results_is_of_those_on_file() -> None:
    drawn = json.loads(Image.open(ROOT / "docs" / "pictures" / "results.png").text["Description"])
    probes = pictures.linear_probes()
    assert probes.keys() == drawn.keys()
    assert all(drawn[name] == pytest.approx(values) for name, values in probes.items())


def test_recordings_of_the_page_on_labelling_are_as_it_says(tmp_path: Path) -> None:
    truth = record(tmp_path / "recordings")
    files = sorted((tmp_path / "recordings").glob("*.json"))
    assert [file.name for file in files] == list(truth)
    assert len(files) == 100
    rows = list(csv.DictReader((tmp_path / "recordings" / "labels.csv").open()))
    labels = {row["file"]: row["label"] for row in rows if row["label"]}
    assert list(labels) == list(truth)[:20]
    assert Counter(labels.values()) == dict.fromkeys(set(truth.values()), 4)
    assert all(truth[name] == label for name, label in labels.items())
    report = prepare(tmp_path / "recordings", tmp_path / "store", workers=1)
    assert report["kept"] == 100
    store = Store(tmp_path / "store")
    assert (store.skeleton.joints, store.meta["fps"]) == (BLAZEPOSE33.joints, 30)
    assert int((store.labels >= 0).sum()) == 20
    performed = record_session(tmp_path / "new" / "session.json")
    prepare(tmp_path / "new", tmp_path / "session", workers=1)
    assert Store(tmp_path / "session").lengths[0] == round(performed[-1][2] * 30)
    assert Store(tmp_path / "session").lengths[0] > 2 * store.lengths.max()
    assert {name for name, *_ in performed} <= set(truth.values())
