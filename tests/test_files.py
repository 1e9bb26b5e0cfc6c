"""Files are written whole and folders by one process, on lesser systems too."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest

from pcm3 import _files
from pcm3._files import locked, replacing
from pcm3.data import Store
from pcm3.data.synthetic import generate
from pcm3.training import checkpoint
from pcm3.training.checkpoint import load_checkpoint, save_checkpoint


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


@pytest.mark.parametrize("missing", ["module", "locks"])
def test_without_locks_nobody_is_kept_out(
    missing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: int) -> None:
        raise OSError(errno.ENOLCK, "no locks available")

    if missing == "module":
        monkeypatch.setattr(_files, "fcntl", None)
    else:
        monkeypatch.setattr(_files.fcntl, "flock", refuse)
    entered = []
    with locked(tmp_path, "writing"), locked(tmp_path, "reading"):
        entered.append(tmp_path)
    assert entered


def test_a_disk_that_fails_is_not_called_a_damaged_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Path) -> None:
        raise OSError(errno.EIO, "input/output error")

    file = tmp_path / "checkpoint.pt"
    for step in (1, 2):
        save_checkpoint(file, {"step": step})
    monkeypatch.setattr(checkpoint.zipfile, "ZipFile", fail)
    with pytest.raises(OSError, match="input/output error"):
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
