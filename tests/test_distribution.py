"""What is published: the package in the wheel, all that builds and tests it in the source."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from pcm3 import __version__

pytest.importorskip("setuptools", minversion="77")

ROOT = Path(__file__).parents[1]
FOLDERS = ("pcm3", "tests", "docs", "examples", "benchmarks", ".ci")
JUNK = ("__pycache__", "_build", "api", "*.pyc", ".*_cache", ".hypothesis", "*.egg-info")
BUILD = "import sys; from setuptools import build_meta; build_meta.build_{}(sys.argv[1])"


def files(folder: Path) -> set[str]:
    return {each.relative_to(folder).as_posix() for each in folder.rglob("*") if each.is_file()}


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this project, and nothing else."""
    copy = tmp_path_factory.mktemp("distribution") / "project"
    copy.mkdir()
    for name in FOLDERS:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns(*JUNK))
    for drawn in (copy / "docs" / "pictures").glob("*.svg"):  # when the pages are built
        drawn.unlink()
    for name in ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "MANIFEST.in", "Makefile"):
        shutil.copy(ROOT / name, copy)
    for name in ("CITATION.cff", "Dockerfile", "SECURITY.md"):
        shutil.copy(ROOT / name, copy)
    for name in ("README.md", "constraints.txt", "pyproject.toml", "setup.cfg", "setup.py"):
        shutil.copy(ROOT / name, copy)
    return copy


@pytest.fixture(scope="module")
def archives(project: Path) -> tuple[zipfile.ZipFile, dict[str, bytes]]:
    """The wheel, and the files of the source archive, built where junk lies about."""
    work = project.parent / "work"
    shutil.copytree(project, work)
    for junk in (
        "docs/_build/html/index.html",
        "docs/api/pcm3.rst",
        "tests/.hypothesis/example.py",
    ):
        (work / junk).parent.mkdir(parents=True, exist_ok=True)
        (work / junk).write_text("junk")
    for junk in ("pcm3/__pycache__/a.pyc", "tests/__pycache__/a.pyc", "demo/run.json", "dist/a.py"):
        (work / junk).parent.mkdir(parents=True, exist_ok=True)
        (work / junk).write_text("junk")
    out = project.parent / "dist"
    for kind in ("wheel", "sdist"):
        command = [sys.executable, "-c", BUILD.format(kind), str(out)]
        subprocess.run(command, cwd=work, check=True, capture_output=True, timeout=300)
    with tarfile.open(next(out.glob("*.tar.gz"))) as archive:
        members = [each for each in archive.getmembers() if each.isfile()]
        content = {
            each.name.partition("/")[2]: archive.extractfile(each).read() for each in members
        }
    return zipfile.ZipFile(next(out.glob("*.whl"))), content


@pytest.fixture(scope="module")
def metadata(archives: tuple[zipfile.ZipFile, dict[str, bytes]]) -> Message:
    return message_from_bytes(archives[1]["PKG-INFO"])


def test_wheel_holds_the_package_alone(
    project: Path, archives: tuple[zipfile.ZipFile, dict[str, bytes]]
) -> None:
    found = {name for name in archives[0].namelist() if ".dist-info/" not in name}
    assert found == {f"pcm3/{name}" for name in files(project / "pcm3")}
    assert "pcm3/py.typed" in found
    shipped = {f"pcm3/encoders/pretrained.{ending}" for ending in ("json", "safetensors")}
    assert {name for name in found if not name.endswith(".py")} == {"pcm3/py.typed", *shipped}
    packages = {str(Path(name).parent) for name in found}
    assert {f"{name}/__init__.py" for name in packages} <= found


def test_source_archive_holds_the_project_alone(
    project: Path, archives: tuple[zipfile.ZipFile, dict[str, bytes]]
) -> None:
    made = {"PKG-INFO"} | {name for name in archives[1] if name.startswith("pcm3.egg-info/")}
    assert set(archives[1]) - made == files(project)


def test_metadata(metadata: Message) -> None:
    assert metadata["Name"] == "pcm3"
    assert metadata["Version"] == __version__
    assert metadata["License-Expression"] == "Apache-2.0"
    assert metadata["Requires-Python"] == ">=3.10"
    stated = {each.rpartition(":: ")[2] for each in metadata.get_all("Classifier", ())}
    workflow = ROOT / ".github" / "workflows" / "ci.yml"
    if workflow.is_file():  # not in the source archive
        tested = re.search(r"python: \[(.*)\]", workflow.read_text(encoding="utf-8"))[1]
        assert {*re.findall(r"3\.\d+", tested)} == {name for name in stated if name[:2] == "3."}


def test_citation_is_of_this_version() -> None:
    said = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (.*)$", said, re.MULTILINE)[1] == __version__
    doi = re.search(r"^  doi: (.*)$", said, re.MULTILINE)[1]
    assert doi in (ROOT / "README.md").read_text(encoding="utf-8")


def test_description_has_no_link_that_leads_nowhere(metadata: Message) -> None:
    text = metadata.get_payload()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "](docs/" in readme
    captions = re.findall(r"^!\[.*\n+\*(\w[^[`]+)", readme, re.MULTILINE)
    assert captions
    assert [caption for caption in captions if caption in text] == []
    assert "(what pose estimators write)" in text
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert re.findall(r"]\((?!https://)[^)]*\)|<img", text) == []
    assert text.count("](https://") == readme.count("](https://")
