"""Files are written whole and folders by one process, on lesser systems too."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from pcm3.data import Store
from pcm3.data.synthetic import generate
from pcm3.io import files
from pcm3.io.files import locked, replacing
from pcm3.runs import checkpoint
from pcm3.runs.checkpoint import load_checkpoint, save_checkpoint


def test_errors_name_the_file_that_was_meant(tmp_path: Path) -> None:
    file = tmp_path / "result.json"
    file.write_text("before")

    def fail(elsewhere: Path | None) -> None:
        with replacing(file) as temporary:
            temporary.write_text("half")
            raise OSError(errno.ENOSPC, "no space left", str(elsewhere or temporary))

    for elsewhere, named in ((None, file), (tmp_path / "source", tmp_path / "source")):
        with pytest.raises(OSError, match="no space left") as raised:
            fail(elsewhere)
        assert raised.value.filename == str(named)
        assert [each.name for each in tmp_path.iterdir()] == ["result.json"]
        assert file.read_text() == "before"


def test_only_one_holds_a_folder(tmp_path: Path) -> None:
    with (
        locked(tmp_path, "writing"),
        pytest.raises(ValueError, match="another process is reading"),
        locked(tmp_path, "reading"),
    ):
        pass
    with locked(tmp_path, "reading"):
        pass


@pytest.fixture(params=["module", "locks"])
def without_locks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system or a file system that has no locks."""

    def refuse(*_: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    if request.param == "module":
        monkeypatch.setattr(files, "fcntl", None)
    else:
        monkeypatch.setattr(files.fcntl, "flock", refuse)


@pytest.mark.usefixtures("without_locks")
def test_without_locks_a_file_keeps_others_out(tmp_path: Path) -> None:
    with locked(tmp_path, "writing"):
        with (
            pytest.raises(ValueError, match=f"another process is reading: process {os.getpid()}"),
            locked(tmp_path, "reading"),
        ):
            pass
        assert [each.name for each in tmp_path.iterdir()] == [".lock"]
    assert not list(tmp_path.iterdir())
    (tmp_path / ".lock").write_text("elsewhere 12")
    with pytest.raises(ValueError, match="process 12"), locked(tmp_path, "reading"):
        pass


def test_a_lock_of_a_process_that_was_killed_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    monkeypatch.setattr(files.fcntl, "flock", refuse)
    child = os.fork()
    if child == 0:
        with locked(tmp_path, "writing"):
            os._exit(0)
    os.waitpid(child, 0)
    assert (tmp_path / ".lock").exists()
    with locked(tmp_path, "reading"):
        assert (tmp_path / ".lock").read_text().endswith(str(os.getpid()))


def test_two_writers_of_one_file_do_not_tear_it(tmp_path: Path) -> None:
    """Processes of two containers may have the same number."""
    file = tmp_path / "result.json"
    with replacing(file) as one:
        with replacing(file) as other:
            assert one != other
            one.write_text("one")
            other.write_text("other")
        assert one.exists()  # its writer is alive
        assert file.read_text() == "other"
    assert file.read_text() == "one"
    assert [each.name for each in tmp_path.iterdir()] == ["result.json"]


def test_what_a_killed_writer_left_is_removed(tmp_path: Path) -> None:
    file, beside = tmp_path / "result.json", tmp_path / ".result.json.bak.0123abcd.tmp"
    beside.write_text("of another file")
    child = os.fork()
    if child == 0:
        with replacing(file) as temporary:
            temporary.write_text("half")
            os._exit(0)
    os.waitpid(child, 0)
    assert len(list(tmp_path.iterdir())) == 2
    with replacing(file) as temporary:
        temporary.write_text("whole")
    assert {each.name for each in tmp_path.iterdir()} == {"result.json", beside.name}


@pytest.mark.usefixtures("without_locks")
def test_without_locks_old_temporary_files_are_removed(tmp_path: Path) -> None:
    file, young, old = (
        tmp_path / f"{name}" for name in ("a", ".a.01234567.tmp", ".a.89abcdef.tmp")
    )
    for each in (young, old):
        each.write_text("half")
    os.utime(old, (0, 0))
    with replacing(file) as temporary:
        temporary.write_text("whole")
    assert {each.name for each in tmp_path.iterdir()} == {file.name, young.name}


def test_a_disk_that_fails_is_not_called_a_damaged_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Path) -> None:
        raise OSError(errno.EIO, "input/output error")

    file = tmp_path / "checkpoint.pt"
    for step in (1, 2):
        save_checkpoint(file, {"step": step})
    monkeypatch.setattr(checkpoint.zipfile, "ZipFile", fail)
    with pytest.raises(OSError, match="input/output"):
        load_checkpoint(file)
    assert capsys.readouterr().err == ""


def test_a_store_that_cannot_be_replaced_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "store"
    before = generate(out, sequences=4, classes=2, subjects=2).sequence(0).copy()
    rename = Path.rename

    def fail(self: Path, target: Path) -> Path:
        if self.suffix == ".partial":
            raise OSError(errno.EACCES, "permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="permission denied"):
        generate(out, sequences=6, classes=2, subjects=2, overwrite=True)
    assert len(Store(out)) == 4
    np.testing.assert_array_equal(Store(out).sequence(0), before)
    assert [each.name for each in tmp_path.iterdir()] == ["store"]
