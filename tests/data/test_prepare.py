"""From files to a store: what is kept, what is dropped, and what a kill leaves."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from pcm3.data import Store, prepare
from pcm3.data import prepare as prepare_function
from pcm3.data.report import describe, read_report
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import COCO17

FILES, SHARD = 80, 5
MANY = 300  # so that there is still work when a process is killed


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sequences of one or two persons as plain files."""
    return write(tmp_path, FILES)


def write(tmp_path: Path, files: int) -> Path:
    rng = np.random.default_rng(0)
    folder = tmp_path / "files"
    folder.mkdir()
    rows = ["file,label,subjects"]
    for index in range(files):
        frames = rng.normal(size=(3 + index % 5, 2, 17, 2)).astype(np.float32)
        frames[:, 1] *= index % 2
        np.save(folder / f"{index:03}.npy", frames)
        rows.append(f"{index:03}.npy,{index % 4},{index % 3}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


def frames_of(folder: Path, index: int) -> np.ndarray:
    return np.load(folder / f"{index:03}.npy")


@pytest.mark.parametrize("workers", [1, 2])
def test_everything_arrives_in_order(folder, tmp_path, workers):
    seen = []
    report = prepare(
        folder, tmp_path / "s", skeleton="coco17", normalization="none", keep_pixels=True,
        workers=workers, progress=lambda *done: seen.append(done),
    )  # fmt: skip
    store = Store(tmp_path / "s")
    assert seen[-1] == (FILES, FILES)
    assert sorted(seen) == seen
    assert (report["units"], report["read"], report["kept"]) == (FILES, FILES, FILES)
    assert report["bodies"] == {"1": FILES // 2, "2": FILES // 2}
    assert store.slots.tolist() == [1, 2] * (FILES // 2)
    assert store.labels.tolist() == [index % 4 for index in range(FILES)]
    assert store.columns["subjects"].tolist() == [index % 3 for index in range(FILES)]
    for index in (0, SHARD - 1, SHARD, 40, FILES - 1):
        np.testing.assert_array_equal(store.sequence(index), frames_of(folder, index))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "s"]


def test_workers_change_nothing(folder, tmp_path):
    for workers in (1, 2):
        prepare(folder, tmp_path / f"s{workers}", skeleton="coco17", workers=workers)
    for name in ("bodies.npy", "meta.json", "report.json"):
        assert (tmp_path / "s1" / name).read_bytes() == (tmp_path / "s2" / name).read_bytes()


def test_bad_files_are_counted_or_stop_it(folder, tmp_path):
    bad = frames_of(folder, 50)
    bad[1, 0, 3, 1] = np.nan
    np.save(folder / "050.npy", bad)
    message = "050.npy: frame 1, person 0, joint 3: NaN"
    with pytest.raises(SkeletonFormatError, match=message):
        prepare(folder, tmp_path / "s", skeleton="coco17", workers=2)
    assert not (tmp_path / "s").exists()
    report = prepare(folder, tmp_path / "s", skeleton="coco17", workers=2, skip_bad=True)
    assert (report["kept"], len(report["bad"])) == (FILES - 1, 1)
    assert message in report["bad"][0]
    assert "1 bad file skipped" in describe(Store(tmp_path / "s"))
    assert message in describe(Store(tmp_path / "s"))


def test_what_is_dropped_is_reported(folder, tmp_path):
    np.save(folder / "010.npy", np.zeros((9, 2, 17, 2), np.float32))
    report = prepare(folder, tmp_path / "s", skeleton="coco17", min_frames=5, workers=1)
    short = [f"{index:03}.npy" for index in range(FILES) if index % 5 < 2 and index != 10]
    wanted = dict.fromkeys(short, "fewer than 5 frames") | {"010.npy": "no body in any frame"}
    assert {entry["name"]: entry["reason"] for entry in report["dropped"]} == wanted
    assert report["bodies"]["0"] == 1
    assert report["kept"] + len(wanted) == report["read"] == FILES
    said = describe(Store(tmp_path / "s"))
    assert f"dropped {len(short)}: fewer than 5 frames" in said
    assert "dropped 1: no body in any frame" in said


def test_nothing_left(folder, tmp_path):
    with pytest.raises(ValueError, match=r"of 80.*left: 80.*99"):
        prepare(folder, tmp_path / "s", skeleton="coco17", min_frames=99, workers=1)
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


def stop_after(done: int, _total: int) -> None:
    if done >= SHARD:
        raise KeyboardInterrupt


def test_finished_shards_are_not_read_again(folder, tmp_path):
    options = {"skeleton": "coco17", "workers": 1, "normalization": "none", "keep_pixels": True}
    before = frames_of(folder, 0)
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, tmp_path / "s", progress=stop_after, **options)
    assert not (tmp_path / "s").exists()
    status = (folder / "000.npy").stat()  # changed behind our back
    np.save(folder / "000.npy", 2 * before)
    os.utime(folder / "000.npy", ns=(status.st_atime_ns, status.st_mtime_ns))
    seen = []
    report = prepare(folder, tmp_path / "s", progress=lambda *n: seen.append(n), **options)
    assert seen[0] == (SHARD, FILES)
    assert report["kept"] == FILES
    np.testing.assert_array_equal(Store(tmp_path / "s").sequence(0), before)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "s"]


def test_skip_bad_goes_on_where_a_bad_file_stopped_it(folder, tmp_path):
    (folder / "050.npy").write_bytes(b"nonsense")
    (folder / "051.npy").write_bytes((folder / "051.npy").read_bytes()[:-9])
    np.save(folder / "052.npy", frames_of(folder, 52)[:, :, :16])
    np.save(folder / "053.npy", np.zeros((4, 2, 17, 3), np.float32))
    with pytest.raises(SkeletonFormatError, match=r"050.npy"):
        prepare(folder, tmp_path / "s", skeleton="coco17", workers=1)
    seen = []
    report = prepare(
        folder, tmp_path / "s", skeleton="coco17", workers=1, skip_bad=True,
        progress=lambda *done: seen.append(done),
    )  # fmt: skip
    assert seen[0] == (SHARD, FILES)
    assert (report["kept"], len(report["bad"])) == (FILES - 4, 4)
    for message, part in zip(
        report["bad"],
        ("050.npy: not a readable", "051.npy: not a readable", "expected 17 joints", "expected 2 "),
        strict=True,
    ):
        assert part in message


def test_other_settings_or_files_start_again(folder, tmp_path):
    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    options = {"skeleton": "coco17", "workers": 1, "normalization": "none", "keep_pixels": True}
    for change in ({"min_frames": 4}, {"normalization": "center"}, {}):
        with pytest.raises(KeyboardInterrupt):
            prepare(folder, tmp_path / "s", progress=stop, **options | change)
        assert len(list(tmp_path.glob(".s.shards"))) == 1
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, tmp_path / "s", progress=stop_after, **options)
    np.save(folder / "000.npy", 2 * frames_of(folder, 0)[:2])
    prepare(folder, tmp_path / "s", **options)
    np.testing.assert_array_equal(Store(tmp_path / "s").sequence(0), frames_of(folder, 0))


def test_other_files_behind_a_link_start_again(folder, tmp_path):
    """What a stop leaves is of no use then."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "linked").symlink_to(folder)
    options = {
        "format": "folder",
        "skeleton": "coco17",
        "workers": 1,
        "normalization": "none",
        "keep_pixels": True,
    }
    with pytest.raises(KeyboardInterrupt):
        prepare(source, tmp_path / "s", progress=stop_after, **options)
    np.save(folder / "000.npy", 2 * frames_of(folder, 0)[:2])
    prepare(source, tmp_path / "s", **options)
    np.testing.assert_array_equal(Store(tmp_path / "s").sequence(0), frames_of(folder, 0))


SCRIPT = """
import sys
from pcm3.data import prepare
if __name__ == "__main__":
    prepare(sys.argv[1], sys.argv[2], skeleton="coco17", workers=2, progress=print)
"""


def test_kill_in_the_middle(tmp_path):
    """No half store is left, what was done counts, and no worker stays behind."""
    folder = write(tmp_path, MANY)
    prepare(folder, tmp_path / "expected", skeleton="coco17", workers=1)
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    command = [sys.executable, "-u", str(script), str(folder), str(tmp_path / "s")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the first shard is done
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    for _ in range(100):
        if not _alive(process.pid):
            break
        time.sleep(0.1)
    assert not _alive(process.pid)
    if not (tmp_path / "s").exists():  # killed before the end, as it should be
        assert list(tmp_path.glob(".s.shards"))
    seen = []
    prepare(
        folder, tmp_path / "s", skeleton="coco17", workers=2, overwrite=(tmp_path / "s").exists(),
        progress=lambda *done: seen.append(done),
    )  # fmt: skip
    for name in ("bodies.npy", "meta.json", "report.json"):
        assert (tmp_path / "s" / name).read_bytes() == (tmp_path / "expected" / name).read_bytes()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["expected", "files", "s", "script.py"]


def _alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_worker_is_told_of(tmp_path):
    """What is done counts, and the same call goes on from it."""
    folder = write(tmp_path, MANY)

    def kill(*_: int) -> None:
        for worker in multiprocessing.active_children():
            os.kill(worker.pid, signal.SIGKILL)

    options = {"skeleton": "coco17", "workers": 2}
    with pytest.raises(ChildProcessError, match="killed"):
        prepare(folder, tmp_path / "s", progress=kill, **options)
    assert not (tmp_path / "s").exists()
    assert list(tmp_path.glob(".s.shards/*.json"))
    assert prepare(folder, tmp_path / "s", **options)["kept"] == MANY


@pytest.mark.parametrize("text", ["", "[]", '{"kept": 5}', "[" * 100_000, '{"bad": 1}'])
@pytest.mark.parametrize("skip_bad", [False, True])
def test_a_damaged_report_of_a_shard_is_made_again(folder, tmp_path, text, skip_bad):
    options = {"skeleton": "coco17", "workers": 1, "skip_bad": skip_bad}
    wanted = prepare(folder, tmp_path / "whole", **options)
    with pytest.raises(KeyboardInterrupt):
        prepare(folder, tmp_path / "s", progress=stop_after, **options)
    (first, *_) = sorted(tmp_path.glob(".s.shards/*.json"))
    first.write_text(text)
    found = prepare(folder, tmp_path / "s", **options)
    assert found == wanted


def test_a_kill_while_the_store_is_written_leaves_no_rubbish(folder, tmp_path):
    (tmp_path / ".s.12345678.partial").mkdir()
    others = [".s.isc.12345678.partial", ".s2.12345678.partial"]  # of stores that are being made
    for other in others:
        (tmp_path / other).mkdir()
    prepare(folder, tmp_path / "s", skeleton="coco17", workers=1)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([*others, "files", "s"])


@pytest.mark.parametrize("name", ["run", "features.npz"])
def test_what_lies_in_a_store_is_not_overwritten(folder, tmp_path, name):
    prepare(folder, tmp_path / "s", skeleton="coco17", workers=1)
    (tmp_path / "s" / name).mkdir()
    with pytest.raises(ValueError, match=name):
        prepare(folder, tmp_path / "s", skeleton="coco17", workers=1, overwrite=True)
    assert (tmp_path / "s" / name).exists()
    assert len(Store(tmp_path / "s")) == FILES


def test_a_link_to_a_store_stays_a_link(folder, tmp_path):
    prepare(folder, tmp_path / "real", skeleton="coco17", workers=1)
    (tmp_path / "link").symlink_to("real")
    options = {"skeleton": "coco17", "workers": 1, "min_frames": 4, "overwrite": True}
    prepare(folder, tmp_path / "link", **options)
    assert (tmp_path / "link").is_symlink()
    assert len(Store(tmp_path / "real")) == len(Store(tmp_path / "link")) < FILES


def test_a_store_survives_a_kill_while_it_is_replaced(folder, tmp_path):
    prepare(folder, tmp_path / "s", skeleton="coco17", workers=1)
    rename = Path.rename

    def stop(self: Path, target: Path) -> Path:
        if Path(target) == tmp_path / "s":
            os._exit(9)  # the old store has its other name, the new one has none yet
        return rename(self, target)

    child = os.fork()
    if child == 0:
        Path.rename = stop
        prepare(folder, tmp_path / "s", skeleton="coco17", workers=1, min_frames=4, overwrite=True)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert not (tmp_path / "s").exists()
    with pytest.raises(SkeletonFormatError, match=r"\.s\.replaced"):
        Store(tmp_path / "s")
    with pytest.raises(ValueError, match="s: already exists"):
        prepare(folder, tmp_path / "s", skeleton="coco17", workers=1)
    assert len(Store(tmp_path / "s")) == FILES
    prepare(folder, tmp_path / "s", skeleton="coco17", workers=1, min_frames=4, overwrite=True)
    assert len(Store(tmp_path / "s")) < FILES
    assert sorted(path.name for path in tmp_path.iterdir()) == ["files", "s"]


def test_only_one_at_a_time(folder, tmp_path):
    def again(*_: int) -> None:
        with pytest.raises(ValueError, match=r"another process is preparing .*s$"):
            prepare(folder, tmp_path / "s", skeleton="coco17", workers=1, min_frames=2)

    prepare(folder, tmp_path / "s", skeleton="coco17", workers=1, progress=again)
    assert len(Store(tmp_path / "s")) == FILES


def test_sequences_keep_their_names(folder, tmp_path):
    prepare(folder, tmp_path / "s", skeleton="coco17", workers=2, min_frames=4)
    names = tuple(f"{index:03}.npy" for index in range(FILES) if index % 5)
    assert Store(tmp_path / "s").names == names


def test_bad_sequences_do_not_take_others_along(tmp_path):
    """One file that holds many: only the sequence that is bad is missing."""
    rng = np.random.default_rng(0)
    joints = rng.normal(size=(12, 1, 17, 2)).astype(np.float32)
    joints[4, 0, 3, 1] = np.nan  # in the second of four sequences
    arrays = {"joints": joints, "lengths": np.full(4, 3), "joint_names": np.array(COCO17.joints)}
    np.savez(tmp_path / "data.npz", parents=np.array(COCO17.parents), **arrays)
    with pytest.raises(SkeletonFormatError, match="sequence 1"):
        prepare(tmp_path / "data.npz", tmp_path / "s")
    report = prepare(tmp_path / "data.npz", tmp_path / "s", skip_bad=True)
    assert (report["kept"], len(report["bad"])) == (3, 1)
    assert Store(tmp_path / "s").names == ("sequence 0", "sequence 2", "sequence 3")


def test_settings_are_checked(folder, tmp_path):
    for options, message in (
        ({"format": "dvd"}, "expected a format among ntu, .*got 'dvd'"),
        ({"normalization": "whiten"}, "expected a normalization among .*got 'whiten'"),
        ({"duplicate_single": True}, "belongs to normalization 'sgn', got 'center'"),
        ({"dtype": "int8"}, "expected a dtype among"),
        ({"colour": "red"}, "format 'folder' has the options .*; got colour"),
        ({"workers": 0}, "expected workers >= 1, got 0"),
        ({"min_frames": 0}, "expected min_frames >= 1, got 0"),
        ({"persons": 0}, "expected persons >= 1, got 0"),
    ):
        with pytest.raises(ValueError, match=message):
            prepare(folder, tmp_path / "s", **({"skeleton": "coco17"} | options))
    assert [path.name for path in tmp_path.iterdir()] == ["files"]


def test_persons(folder, tmp_path):
    prepare(folder, tmp_path / "s", skeleton="coco17", persons=3, workers=1)
    assert Store(tmp_path / "s").persons == 3
    assert prepare is prepare_function
    assert Store(tmp_path / "s").slots.max() == 2


def test_report_is_in_the_store(folder, tmp_path):
    report = prepare(folder, tmp_path / "s", skeleton="coco17", workers=1, normalization="none")
    written = read_report(Store(tmp_path / "s"))
    assert written == {key: value for key, value in report.items() if key != "summary"}
    assert written["options"] == {"skeleton": "coco17"}
    assert str(tmp_path) not in json.dumps(report["summary"] | written)
    summary = Store(tmp_path / "s").summary()
    assert summary["length_histogram"] == {"edges": [3, 4, 5, 6, 7, 8], "counts": [FILES // 5] * 5}
    assert "    7 to 7  ######################################## 16" in describe(
        Store(tmp_path / "s")
    )
