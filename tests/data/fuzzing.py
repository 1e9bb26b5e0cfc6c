"""Damaged files for everything that reads files, and slow readers that say what is right.

``python tests/data/fuzzing.py READER FIRST COUNT`` reads COUNT damaged files in this process and
prints the figures as JSON; ``fuzz`` does so in a process of its own, which may crash or hang.
"""

from __future__ import annotations

import csv
import faulthandler
import io
import json
import math
import pickle
import random
import re
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import traceback
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import test_agcn
import test_azure
import test_bvh
import test_c3d
import test_coco
import test_csv
import test_ctrgcn
import test_folder
import test_freemocap
import test_mediapipe
import test_mmpose
import test_msr
import test_ntu
import test_openpose
import test_packed
import test_pku
import test_pyskl
import test_trc
import test_ucla
import test_utd
import test_videopose3d
from mutators import mutator
from numpy.typing import NDArray
from scipy.io import loadmat, savemat

from pcm3.data import Store, StoreWriter
from pcm3.data.protocols import Protocol
from pcm3.data.readers import open_source
from pcm3.errors import SkeletonFormatError
from pcm3.skeleton import COCO17, SBU15

HANG = 20
"""Seconds after which a file counts as one that hangs."""
GROWTH = 256
"""Megabytes that a file of some kilobytes may take at most."""


class Wrong(AssertionError):  # noqa: N818
    """What was read is not what the file says, or an error is not one that the reader documents."""


class Case(NamedTuple):
    """What is fuzzed.

    Attributes:
        write: Writes a small valid corpus into a folder.
        read: Reads it in full and compares it with a slow reading of its own; gives whether any
            part was refused. Raises ``Wrong`` where they differ.
        pattern: The files that are damaged.
    """

    write: Callable[[Path], None]
    read: Callable[[Path], bool]
    pattern: str = "**/*"


def require(condition: object, *what: object) -> None:
    if not condition:
        raise Wrong(*what)


def same(found: Any, wanted: Any, *what: object) -> None:
    """Equal arrays, bit for bit but for the sign of zero."""
    found, wanted = np.asarray(found), np.asarray(wanted)
    require(found.shape == wanted.shape, *what, found.shape, wanted.shape)
    require(np.array_equal(found, wanted), *what, "differ")


def as_float32(values: Any) -> NDArray[np.float32]:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(values, dtype=np.float64).astype(np.float32)


# --- readers: what all have in common -------------------------------------------------------------


def _recordings(format: Any, path: Path, **options: Any) -> tuple[Any, list[Any], bool]:
    """The source, all good recordings with their units, and whether anything was refused."""
    source, found, refused = open_source(path, format, **options), [], False
    pickle.loads(pickle.dumps(source))
    for unit in source.units:
        try:
            for recording in source.read(unit):
                if isinstance(recording, SkeletonFormatError):
                    _check_message(recording)
                    refused = True
                else:
                    _check_recording(source, recording)
                    found.append((unit, recording))
        except SkeletonFormatError as error:
            _check_message(error)
            refused = True
    columns = {tuple(sorted(recording.columns)) for _, recording in found}
    require(len(columns) < 2, "columns differ", columns)
    for name in next(iter(columns), ()):
        values = [recording.columns[name] for _, recording in found]
        kinds = {type(value) for value in values if value != -1}
        require(len(kinds) < 2, "a mixture in", name, kinds)
    return source, found, refused


def _check_table(folder: Path, source: Any, found: list[Any]) -> None:
    """What ``labels.csv`` says of the files of units."""
    text = (folder / "labels.csv").read_text(encoding="utf-8-sig")
    parted = ";" if ";" in text.splitlines()[0] else ","
    head, *rows = [
        row for row in csv.reader(io.StringIO(text, newline=""), delimiter=parted) if row
    ]
    head = [cell.strip() for cell in head]
    cells = [dict(zip(head, map(str.strip, row), strict=True)) for row in rows]
    by_file = {(folder / row["file"]).resolve(): row for row in cells}
    for unit, recording in found:
        require(unit.unit.resolve().is_relative_to(folder.resolve()), "outside", unit.unit)
        row = by_file[unit.unit.resolve()]
        label = _slow_cell(row.get("label", ""))
        if isinstance(label, str):
            label = sorted({row["label"] for row in cells if row["label"]}).index(label)
            require(source.class_names[label] == row["label"], "class")
        require(recording.label == label, "label", recording.label, label)
        wanted = {key: _slow_cell(row[key]) for key in head if key not in ("file", "label", "fps")}
        require(recording.columns == wanted, recording.columns, wanted)
        require(recording.fps is None or "fps" not in row or recording.fps == float(row["fps"]))


def _slow_cell(text: str) -> int | str:
    if not text:
        return -1
    if _NUMBER.fullmatch(text.encode()):
        require(abs(float(text)) < 2**64 and Fraction(text).denominator == 1, "a fraction", text)
        return int(Fraction(text))
    return text


def _check_message(error: BaseException) -> None:
    text = str(error)
    require(len(text) < 4000, "a message of", len(text), "characters", text[:500])
    require("allocate" not in text and "MemoryError" not in text, "memory", text[:500])
    text.encode("utf-8")


def _check_recording(source: Any, recording: Any) -> None:
    frames, classes = recording.frames, len(source.class_names)
    require(type(frames) is np.ndarray and frames.dtype == np.float32, "no float32")
    require(frames.ndim == 4 and frames.shape[2] == len(source.skeleton), frames.shape)
    require(len(frames) and frames.shape[3] in (2, 3), frames.shape)
    require(np.isfinite(frames).all(), "NaN or infinity")
    require(type(recording.label) is int and -1 <= recording.label < classes, recording.label)
    for name, value in recording.columns.items():
        require(type(name) is str and name.isidentifier(), "column", name)
        whole = type(value) is int and -(2**63) <= value < 2**63
        require(whole or (type(value) is str and value.strip() == value != ""), name, value)
    if recording.frame_labels is not None:
        labels = recording.frame_labels
        require(labels.shape == frames.shape[:1] and labels.dtype == np.int64, labels.shape)
        require(((labels >= -1) & (labels < classes)).all(), labels)
        for start, end, label in recording.segments.tolist():
            require(0 <= start < end <= len(frames) and 0 <= label < classes, start, end, label)


_NUMBER = re.compile(rb"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


def _number(word: bytes) -> float:
    require(_NUMBER.fullmatch(word), "no number", word[:60])
    return float(word)


# --- text -----------------------------------------------------------------------------------------


def _write_ntu(folder: Path) -> None:
    name = "S001C002P003R002A{:03d}.skeleton"
    (folder / name.format(13)).write_text(test_ntu.format_ntu(test_ntu.random_frames(3)))
    frames = test_ntu.random_frames(3, 3, 1)
    frames[1, 0] = frames[0, 1] = 0
    text = test_ntu.format_ntu(frames, number="{:.7f}", eol="\n")
    (folder / name.format(60)).write_text(text)


def _read_ntu(folder: Path) -> bool:
    _, found, refused = _recordings("ntu", folder)
    for file, recording in found:
        same(recording.frames, _slow_ntu(file.read_bytes()), file.name)
        require(recording.label == int(file.name[17:20]) - 1, recording.label)
        require(recording.columns["views"] == 2 and recording.columns["subjects"] == 3)
    return refused


def _slow_ntu(data: bytes) -> NDArray[np.float32]:
    lines = iter([line.split() for line in data.rstrip().split(b"\n")])

    def values(count: int) -> list[bytes]:
        line = next(lines, None)
        require(line is not None and len(line) == count, "line", line)
        return line or []

    def integer(words: list[bytes]) -> int:
        require(re.fullmatch(rb"[0-9]+", words[0]), "no integer", words[0])
        return int(words[0])

    slots: dict[int, int] = {}
    found = []
    length = integer(values(1))
    for time in range(length):
        for _ in range(integer(values(1))):
            slot = slots.setdefault(integer(values(10)), len(slots))
            require(integer(values(1)) == 25, "joints")
            for joint in range(25):
                found.append((time, slot, joint, [_number(word) for word in values(12)[:3]]))
    require(next(lines, None) is None, "more lines")
    frames = np.zeros((length, len(slots), 25, 3))
    require(len({place[:3] for place in found}) == len(found), "a body twice")
    for time, slot, joint, position in found:
        frames[time, slot, joint] = position
    return as_float32(frames)


def _write_pku(folder: Path) -> None:
    test_pku.write(folder, test_pku.PHASE1[:2])
    (folder / "Label_v2" / "0002-M.txt").write_text("2 1 4\n51,6,8,\n")
    (folder / "cross-view.txt").write_text("Training\n0002-L.txt,\nValidation\n0002-M.txt,\n")


def _read_pku(folder: Path) -> bool:
    refused = False
    for untrimmed in (False, True):
        _, found, some = _recordings("pku", folder, untrimmed=untrimmed)
        refused |= some
        for video, recording in found:
            text = video.skeletons.read_bytes().decode("utf-8", "replace")
            rows = [line.split() for line in re.split(r"\r\n|\r|\n", text)]
            frames = as_float32([[_number(word.encode()) for word in row] for row in rows if row])
            require(frames.ndim == 2 and frames.shape[1] == 150, frames.shape)
            frames = frames.reshape(-1, 2, 25, 3)
            actions = []
            for number, line in enumerate(_text_lines(video.labels), 1):
                if line.strip():
                    row = re.sub(",$", "", line.strip())
                    words = re.split(r"\s*,\s*" if "," in row else r"\s+", row)
                    whole = all(re.fullmatch("[0-9]{1,9}", word) for word in words[:3])
                    if whole and len(words) in (3, 4):
                        label, start, end = map(int, words[:3])
                        actions.append((number, start, min(end, len(frames)), label - 1))
            require(recording.columns["views"] == {"L": 1, "M": 2}[video.skeletons.stem[-1]])
            if untrimmed:
                same(recording.frames, frames)
                same(recording.segments, np.reshape([action[1:] for action in actions], (-1, 3)))
            else:
                number = int(recording.name.rpartition(" ")[2])
                ((_, start, end, label),) = [each for each in actions if each[0] == number]
                same(recording.frames, frames[start:end])
                require(recording.label == label)
    return refused


def _text_lines(file: Path) -> list[str]:
    return file.read_text(encoding="utf-8-sig", errors="replace").splitlines()


def _write_msr(folder: Path) -> None:
    test_msr.write(folder, "a20_s01_e02_skeleton3D.txt", test_msr.clip(3, 1))
    test_msr.write(folder, "a08_s10_e03_skeleton3D.txt", test_msr.clip(1, 2))


def _read_msr(folder: Path) -> bool:
    _, found, refused = _recordings("msr", folder)
    for file, recording in found:
        rows = [line.encode().split() for line in _text_lines(file) if line.strip()]
        require(all(len(row) == 4 for row in rows), "words")
        values = as_float32([[_number(word) for word in row[:3]] for row in rows])
        same(recording.frames, values.reshape(-1, 1, 20, 3))
        require(recording.label == int(file.name[1:3]) - 1)
    return refused


def _write_bvh(folder: Path) -> None:
    body = test_bvh.Body()
    (folder / "one.bvh").write_text(body.text(body.motion(3)))
    text = test_bvh.wrapped(test_bvh.colons(body.text(body.motion(3))))
    text = test_bvh.upper_case(test_bvh.braces_behind_names(text))
    (folder / "two.bvh").write_text(text)
    (folder / "labels.csv").write_text("file,label,day\none.bvh,wave,1.0\ntwo.bvh,bow,2\n")


def _read_bvh(folder: Path) -> bool:
    source, found, refused = _recordings("bvh", folder)
    _check_table(folder, source, found)
    for unit, recording in found:
        names, parents, positions = _slow_bvh(unit.unit.read_bytes().decode("utf-8", "replace"))
        require(source.skeleton.joints == tuple(names), names)
        require(source.skeleton.parents == tuple(parents), parents)
        scale = max(1e-3, float(np.abs(positions).max()))
        require(recording.frames.shape == (*positions.shape[:1], 1, *positions.shape[1:]), "shape")
        near = np.abs(recording.frames[:, 0] - positions) <= 1e-5 * scale
        require(near.all(), unit.unit.name, "positions")
    return refused


def _slow_bvh(text: str) -> tuple[list[str], list[int], NDArray[np.float64]]:
    """Joint by joint, frame by frame."""
    lines = re.split(r"\r\n|\r|\n", text.removeprefix("\ufeff"))
    words = [
        (row, word)
        for row, line in enumerate(lines)
        for word in line.replace("{", " { ").replace("}", " } ").split()
    ]
    at = next(at for at, (_, word) in enumerate(words) if word.upper() == "MOTION")
    names, parents, offsets, channels = _slow_hierarchy(words[:at])
    rest = " ".join(word for _, word in words[at + 1 :]).replace(":", " ", 2).split()
    require([rest[0].lower(), rest[2].lower(), rest[3].lower()] == ["frames", "frame", "time"])
    numbers = [_number(word.encode()) for word in rest[5:]]
    width = sum(map(len, channels))
    require(_number(rest[1].encode()) * width == len(numbers) > 0, "frames")
    positions = np.zeros((len(numbers) // width, len(names), 3))
    for frame in range(len(positions)):
        world: list[Any] = []
        left = iter(numbers[frame * width : frame * width + width])
        for joint, parent in enumerate(parents):
            matrix, shift = np.eye(4), offsets[joint].copy()
            for channel in channels[joint]:
                if channel.endswith("position"):
                    shift["XYZ".index(channel[0])] = next(left)
                else:
                    matrix = matrix @ test_bvh.turn(channel[0], next(left))
            matrix[:3, 3] = shift
            world.append(matrix if parent < 0 else world[parent] @ matrix)
        positions[frame] = [matrix[:3, 3] / 100 for matrix in world]
    return names, parents, positions


def _slow_hierarchy(
    words: list[tuple[int, str]],
) -> tuple[list[str], list[int], list[Any], list[list[str]]]:
    """Names, parents, offsets and channels, of words and their rows."""
    names, parents, offsets, channels, stack = [], [], [], [], []
    head = iter(enumerate(words))
    for place, (row, word) in head:
        key = word.upper()
        if key in ("ROOT", "JOINT", "END"):
            named = []
            for other, each in words[place + 1 :]:
                if each == "{" or other != row:
                    break
                named.append(each)
            for _ in named:
                next(head)
            parents.append(stack[-1] if stack else -1)
            end = f"{names[stack[-1]]}_end" if key == "END" else ""
            ends = sum(re.fullmatch(re.escape(end) + "[0-9]*", name) is not None for name in names)
            names.append((end + str(ends + 1) * bool(ends)) if end else " ".join(named))
            offsets.append(np.zeros(3))
            channels.append([])
        elif key == "{":
            stack.append(len(names) - 1)
        elif key == "}":
            stack.pop()
        elif key == "OFFSET":
            values = [next(head)[1][1] for _ in range(3)]
            offsets[stack[-1]] = np.array([_number(value.encode()) for value in values])
        elif key == "CHANNELS":
            count = int(next(head)[1][1])
            channels[stack[-1]] = [next(head)[1][1].capitalize() for _ in range(count)]
        else:
            require(key == "HIERARCHY", word)
    return names, parents, offsets, channels


def _write_ucla(folder: Path) -> None:
    test_ucla.write(folder, "a12_s01_e00_v03", test_ucla.clip(2, 1), label=10)
    test_ucla.write(folder, "a02_s10_e05_v01", test_ucla.clip(1, 2), label=2)


def _read_ucla(folder: Path) -> bool:
    _, found, refused = _recordings("ucla", folder)
    for file, recording in found:
        values = json.loads(file.read_text())["skeletons"]
        for frame in values:
            require(type(frame) is list and len(frame) == 20, "joints")
            for joint in frame:
                require(type(joint) is list and len(joint) == 3, "coordinates")
                require(all(type(value) in (int, float) for value in joint), "numbers", joint)
        same(recording.frames[:, 0], as_float32(values))
    return refused


# --- pose estimators ------------------------------------------------------------------------------


def _same_poses(recording: Any, persons: list[tuple[int, Any]], numbers: list[int]) -> None:
    """The bodies of each frame, in any slots; (V, C) of persons by number of their frame."""
    start, step = min(numbers), math.gcd(*(number - min(numbers) for number in numbers)) or 1
    require(len(recording.frames) == (max(numbers) - start) // step + 1, "frames")
    bodies = [((number - start) // step, as_float32(points) + 0) for number, points in persons]
    wanted = Counter((at, body.tobytes()) for at, body in bodies if body.any())
    found = Counter(
        (at, (body + 0).tobytes())
        for at, frame in enumerate(recording.frames)
        for body in frame
        if body.any()
    )
    require(found == wanted, recording.name, "differs")


def _require_numbers(values: Any) -> None:
    require(all(type(value) in (int, float) for value in values), "no numbers", values)


def _sure(values: Any) -> Any:
    """x, y of each joint, 0 where the score is below 0."""
    triples = np.reshape(values, (-1, 3))
    return triples[:, :2] * (triples[:, 2:] >= 0)


def _write_mediapipe(folder: Path) -> None:
    points = test_mediapipe.clip(3).round(3)
    points[1] = 0
    test_mediapipe.write(folder / "a.json", test_mediapipe.solution(points))
    test_mediapipe.write(folder / "b.json", test_mediapipe.task(test_mediapipe.clip(2, 2).round(3)))


def _read_mediapipe(folder: Path) -> bool:
    _, found, refused = _recordings("mediapipe", folder)
    for file, recording in found:
        content = json.loads(file.read_text())
        content = content["frames"] if isinstance(content, dict) else content
        persons, numbers = [], []
        for at, frame in enumerate(content):
            number = next((frame[key] for key in _FRAME_KEYS if key in frame), at)
            landmarks = frame.get("pose_world_landmarks", frame.get("worldLandmarks")) or []
            if isinstance(landmarks, dict):  # as protobuf writes a list of landmarks
                landmarks = landmarks["landmark"] if landmarks else []
            many = bool(landmarks) and isinstance(landmarks[0], list)
            for person in landmarks if many else [landmarks] * bool(landmarks):
                marks = [[mark[axis] for axis in "xyz"] for mark in person]
                _require_numbers([value for mark in marks for value in mark])
                scored = all("visibility" in mark for mark in person)
                kept = [not scored or mark["visibility"] >= 0 for mark in person]
                points = np.array(marks) * np.array(kept)[:, None]
                persons.append((number, points))
            numbers.append(number)
        _same_poses(recording, persons, numbers)
    return refused


_FRAME_KEYS = ("frame", "frame_id", "frame_index", "frame_number")


def _write_openpose(folder: Path) -> None:
    test_openpose.write(folder / "anna", "wave", test_openpose.clip(2, 2))
    test_openpose.write(folder, "bow", [*test_openpose.clip(2), []])


def _read_openpose(folder: Path) -> bool:
    _, found, refused = _recordings("openpose", folder)
    for unit, recording in found:
        persons = []
        for number, file in zip(unit.numbers, unit.files, strict=True):
            for person in json.loads(file.read_text())["people"]:
                values = person["pose_keypoints_2d"]
                _require_numbers(values)
                persons.append((number, _sure(values)))
        _same_poses(recording, persons, list(unit.numbers))
    return refused


def _write_coco(folder: Path) -> None:
    people = test_openpose.clip(3, 2, 17)
    test_coco.write(folder / "a.json", test_coco.alphapose(people, "cam_{}.jpg", ids=[1, 2]))
    test_coco.write(folder / "b.json", test_coco.coco(people[:2, :1], 7))


def _read_coco(folder: Path) -> bool:
    _, found, refused = _recordings("coco", folder)
    for file, recording in found:
        persons = []
        for result in json.loads(file.read_text()):
            number = result["image_id"]
            if isinstance(number, str):
                number = int(re.findall(r"[0-9]+", number.rpartition(".")[0] or number)[-1])
            _require_numbers(result["keypoints"])
            persons.append((number, _sure(result["keypoints"])))
        _same_poses(recording, persons, [number for number, _ in persons])
    return refused


def _write_mmpose(folder: Path) -> None:
    people = test_openpose.clip(3, 2, 17)
    test_mmpose.write(folder / "a.json", test_mmpose.with_meta(people[:2]))
    frames = test_mmpose.frames_of([*people, []], track_id=[3, 4])
    joints = {str(at): name for at, name in enumerate(COCO17.joints)}
    content = {"meta_info": {"keypoint_id2name": joints}, "instance_info": frames}
    test_mmpose.write(folder / "b.json", content)


def _read_mmpose(folder: Path) -> bool:
    source, found, refused = _recordings("mmpose", folder)
    for file, recording in found:
        content = json.loads(file.read_text())
        order = list(range(17))
        if isinstance(content, dict):
            names = content.get("meta_info", {}).get("keypoint_id2name")
            if names:
                own = [re.sub("[^a-z0-9]", "", names[str(at)].lower()) for at in range(17)]
                all_of = [re.sub("[^a-z0-9]", "", name.lower()) for name in source.skeleton.joints]
                order = [own.index(name) for name in all_of]
            content = content["instance_info"]
        persons = []
        for frame in content:
            for instance in frame["instances"]:
                points = [instance["keypoints"][at] for at in order]
                _require_numbers([value for point in points for value in point])
                scores = instance.get("keypoint_scores", [1] * 17)
                kept = np.array([scores[at] >= 0 for at in order])
                persons.append((frame["frame_id"], np.array(points) * kept[:, None]))
        _same_poses(recording, persons, [frame["frame_id"] for frame in content])
    return refused


def _write_azure(folder: Path) -> None:
    test_azure.write(folder / "a.json", test_azure.content([*test_azure.clip(2), []]))
    test_azure.write(folder / "b.json", test_azure.content(test_azure.clip(2, 2)))


def _read_azure(folder: Path) -> bool:
    source, found, refused = _recordings("azure", folder)
    for file, recording in found:
        content, persons = json.loads(file.read_text()), []
        own = [re.sub("[^a-z0-9]", "", name.lower()) for name in content["joint_names"]]
        all_of = [re.sub("[^a-z0-9]", "", name.lower()) for name in source.skeleton.joints]
        for frame in content["frames"]:
            for body in frame["bodies"]:
                points = [body["joint_positions"][own.index(name)] for name in all_of]
                _require_numbers([value for point in points for value in point])
                persons.append((frame["frame_id"], np.array(points, np.float64) / 1000))
        _same_poses(recording, persons, [frame["frame_id"] for frame in content["frames"]])
    return refused


def _write_csv(folder: Path) -> None:
    points = test_mediapipe.clip(3, 2)[:, :, :15].round(3)
    test_csv.write(folder / "a.csv", test_csv.wide(points[:, 0], SBU15.joints))
    test_csv.write(folder / "b.csv", test_csv.long(points[:2], SBU15.joints))


def _read_csv(folder: Path) -> bool:
    source, found, refused = _recordings("csv", folder)
    for file, recording in found:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = [[cell.strip() for cell in row] for row in csv.reader(stream) if any(row)]
        joints, head, persons, numbers = source.skeleton.joints, rows[0], {}, []
        wide = [f"{joint}_{axis}" for joint in SBU15.joints for axis in "xyz"]
        if joints != SBU15.joints or head not in (wide, ["frame", "person", "joint", *"xyz"]):
            continue  # other names, other joints
        for at, row in enumerate(rows[1:]):
            cells = row if head == wide else row[3:]
            values = [_number(cell.encode()) if cell else 0.0 for cell in cells]
            number = at if head == wide else int(Fraction(row[0]))
            key = (number, at) if head == wide else (number, row[1])
            body = persons.setdefault(key, np.zeros((15, 3)))
            if head == wide:
                body[:] = np.reshape(values, (15, 3))
            else:
                body[joints.index(row[2])] = values
            numbers.append(number)
        _same_poses(recording, [(key[0], body) for key, body in persons.items()], numbers)
    return refused


def _write_trc(folder: Path) -> None:
    points = test_trc.clip(3, 15)
    points[1, 2] = points[2] = np.nan
    (folder / "a.trc").write_text(test_trc.opensim(points, SBU15.joints))
    (folder / "b.trc").write_text(test_trc.pose2sim(points[:2], SBU15.joints[::-1]))


def _read_trc(folder: Path) -> bool:
    source, found, refused = _recordings("trc", folder)
    for file, recording in found:
        lines = re.split(
            r"\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]", file.read_text("utf-8-sig", "replace")
        )
        heads = dict(zip(lines[1].split(), lines[2].split(), strict=False))
        scale = {"mm": 0.001, "cm": 0.01}.get(heads["Units"].lower(), 1.0)
        own = [cell.strip() for cell in lines[3].split("\t")[2:] if cell.strip()]
        require(heads["NumMarkers"] == str(len(own)), "markers")
        plain = [re.sub("[^a-z0-9]", "", name.lower()) for name in own]
        joints = [re.sub("[^a-z0-9]", "", name.lower()) for name in source.skeleton.joints]
        persons, numbers = [], []
        for line in lines[5:]:
            if not line.strip():
                continue
            cells = [cell.strip() for cell in line.split("\t")]
            require(re.fullmatch("[0-9]+", cells[0]), "frame", cells[0])
            numbers.append(int(cells[0]))
            values = [_slow_marker(cell) for cell in cells[2 : 2 + 3 * len(own)]]
            points = np.reshape(values, (len(own), 3)) * scale
            points[np.isnan(points).all(1)] = 0
            persons.append((numbers[-1], points[[plain.index(name) for name in joints]]))
        require(heads["NumFrames"] == str(len(numbers)), "frames")
        _same_poses(recording, persons, numbers)
    return refused


def _slow_marker(cell: str) -> float:
    return np.nan if cell.lower().lstrip("+-") in ("", "nan") else _number(cell.encode())


def _write_c3d(folder: Path) -> None:
    points = test_c3d.clip(3)
    points[1, 2] = np.nan
    (folder / "a.c3d").write_bytes(test_c3d.c3d(points, analog=2))
    (folder / "b.c3d").write_bytes(test_c3d.c3d(points, processor=test_c3d.MIPS, integers=True))


def _read_c3d(folder: Path) -> bool:
    source, found, refused = _recordings("c3d", folder)
    for file, recording in found:
        data = file.read_bytes()
        order = ">" if data[(data[0] - 1) * 512 + 3] == test_c3d.MIPS else "<"
        if data[(data[0] - 1) * 512 + 3] == test_c3d.DEC:
            continue
        count, samples = struct.unpack(order + "2H", data[2:6])
        scale, block = (
            *struct.unpack(order + "f", data[12:16]),
            *struct.unpack(order + "H", data[16:18]),
        )
        size, letter = (4, "f") if scale < 0 else (2, "h")
        width = 4 * count + samples
        if len(source.skeleton) != count:
            continue  # some points have no name
        for time, frame in enumerate(recording.frames[:, 0]):
            begin = (block - 1) * 512 + time * size * width
            raw = struct.unpack(f"{order}{width}{letter}", data[begin : begin + size * width])
            rows = np.reshape(raw[: 4 * count], (count, 4))
            with np.errstate(all="ignore"):
                points = as_float32(rows[:, :3] * (abs(scale) if scale > 0 else 1))
                kept = points[(rows[:, 3] >= 0) & ~np.isnan(points).any(1)]
                there = frame[frame.any(1)]
                # the order and the unit are those of parameters
                scaled = [as_float32(kept.astype(float) * unit) for unit in (1, 0.01, 0.001)]
                factors = [np.sort(each[each.any(1)].ravel()) for each in scaled]
            fits = [len(each) == there.size for each in factors]
            require(any(fits), "points")
            close = [
                np.allclose(np.sort(there.ravel()), each, rtol=1e-5, atol=1e-38)
                for each in factors
                if len(each) == there.size
            ]
            require(any(close), "frame", time)
    return refused


# --- pickles and arrays ---------------------------------------------------------------------------


class _SlowUnpickler(pickle._Unpickler):
    """Python's own unpickler, of files that were taken for harmless before."""

    def find_class(self, module: str, name: str) -> Any:
        require(
            module.partition(".")[0] in ("numpy", "_codecs", "collections")
            or (module in ("builtins", "__builtin__") and name not in ("eval", "exec", "getattr")),
            "executed",
            module,
            name,
        )
        return super().find_class(module, name)


def _slow_pickle(file: Path) -> Any:
    return _SlowUnpickler(io.BytesIO(file.read_bytes()), encoding="latin1").load()


def _write_pyskl(folder: Path) -> None:
    contents = test_pyskl.three_d()
    for each in contents["annotations"]:
        each["keypoint"] = each["keypoint"][:, :2]
        each["total_frames"] = each["keypoint"].shape[1]
    (folder / "data.pkl").write_bytes(pickle.dumps(contents, 4))


def _read_pyskl(folder: Path) -> bool:
    file = folder / "data.pkl"
    _, found, refused = _recordings("pyskl", file)
    samples = _slow_pickle(file)
    samples = samples if isinstance(samples, list) else samples["annotations"]
    require(refused or len(found) == len(samples), "samples")
    by_name: dict[str, Any] = {}
    for sample in samples:
        name = sample.get("frame_dir") if isinstance(sample, dict) else None
        if isinstance(name, bytes):
            name = name.decode("utf-8", "replace")
        whole = type(name) is int and abs(name) < 2**63
        if isinstance(name, (str, np.integer)) or whole:
            by_name.setdefault(str(name), sample)
    for _, recording in found:
        sample = by_name[recording.name]
        wanted = as_float32(np.swapaxes(sample["keypoint"], 0, 1))
        same(recording.frames, wanted, recording.name)
        require(recording.label == int(sample["label"]), "label")
    return refused


def _write_agcn(folder: Path) -> None:
    for part, names in test_agcn.NAMES.items():
        np.save(folder / f"{part}_data_joint.npy", test_agcn.data(part)[:, :, :4])
        lengths = np.minimum(test_agcn.LENGTHS[part], 4)
        np.save(folder / f"{part}_num_frame.npy", lengths)
        labels = pickle.dumps((names, test_agcn.LABELS[part]))
        (folder / f"{part}_label.pkl").write_bytes(labels)


def _read_agcn(folder: Path) -> bool:
    _, found, refused = _recordings("agcn", folder)
    parts = {}
    for part in ("train", "val"):
        names, labels = _slow_pickle(folder / f"{part}_label.pkl")
        data = _load(folder / f"{part}_data_joint.npy")
        lengths = _load(folder / f"{part}_num_frame.npy")
        parts[part] = data, lengths, list(names), list(labels)
    for unit, recording in found:
        data, lengths, names, labels = parts[unit.file.name.partition("_")[0]]
        wanted = [
            row
            for row, name in enumerate(names)
            if name == recording.name and labels[row] == recording.label
        ]
        options = [
            as_float32(data[row].transpose(1, 3, 2, 0))[: max(1, int(lengths[row]))]
            for row in wanted
        ]
        empty = [row for row in wanted if lengths[row] == 0]
        fits = any(np.array_equal(recording.frames, option) for option in options)
        require(fits or (empty and not recording.frames.any()), recording.name)
    return refused


def _load(file: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(io.BytesIO(file.read_bytes()), allow_pickle=False)
    return array


def _slow_npz(file: Path) -> dict[str, NDArray[Any]]:
    with zipfile.ZipFile(file) as archive:
        names = [name for name in archive.namelist() if name.endswith(".npy")]
        return {
            name.removesuffix(".npy"): np.load(io.BytesIO(archive.read(name)), allow_pickle=False)
            for name in names
        }


def _write_ctrgcn(folder: Path) -> None:
    np.savez(folder / "NTU60_CS.npz", **test_ctrgcn.arrays(((2, 3), (3, 1)), classes=12)[0])


def _read_ctrgcn(folder: Path) -> bool:
    file = folder / "NTU60_CS.npz"
    _, found, refused = _recordings("ctrgcn", file)
    arrays = _slow_npz(file)
    for _, recording in found:
        part, _, row = recording.name.removeprefix("x_").removesuffix("]").partition("[")
        padded = as_float32(arrays[f"x_{part}"][int(row)]).reshape(-1, 2, 25, 3)
        used = max([t + 1 for t in range(len(padded)) if padded[t].any()], default=1)
        same(recording.frames, padded[:used], recording.name)
        require(arrays[f"y_{part}"][int(row)][recording.label] == 1, "label")
        require(recording.columns == {"train": int(part == "train")}, "column")
    return refused


def _write_packed(folder: Path) -> None:
    arrays = test_packed.untrimmed() | {"camera": np.array(["left", " b ", ""])}
    np.savez(folder / "data.npz", **arrays, day=np.array([b"1.0", b"2", b"-3"]))


def _read_packed(folder: Path) -> bool:
    file = folder / "data.npz"
    _, found, refused = _recordings("packed", file)
    arrays = _slow_npz(file)
    ends = np.cumsum(arrays["lengths"].astype(np.int64))
    for _, recording in found:
        row = int(recording.name.split()[1])
        span = slice(ends[row] - arrays["lengths"][row], ends[row])
        same(recording.frames, as_float32(arrays["joints"][span]), recording.name)
        require("labels" not in arrays or recording.label == arrays["labels"][row], "label")
        rows = arrays.get("segments", np.zeros((0, 4)))
        rows = rows[rows[:, 0] == row][:, 1:].tolist()
        if "frame_labels" in arrays:
            same(recording.frame_labels, arrays["frame_labels"][span], "frame labels")
        if "segments" in arrays:
            same(recording.segments, np.reshape(rows, (-1, 3)), "segments")
        if "frame_labels" in arrays and "segments" in arrays:
            for frame, label in enumerate(recording.frame_labels.tolist()):
                there = {its for start, end, its in rows if start <= frame < end}
                require(label in (there or {-1}), "a contradiction in frame", frame)
        for name, value in recording.columns.items():
            cell = arrays[name][row].item()
            cell = cell.decode() if isinstance(cell, bytes) else cell
            wanted = _slow_cell(cell.strip()) if isinstance(cell, str) else cell
            require(value == wanted, name, value, wanted)
    require(refused or len(found) == len(ends), "sequences")
    return refused


def _write_folder(folder: Path) -> None:
    for name, clip in test_folder.CLIPS.items():
        (folder / name).parent.mkdir(exist_ok=True)
        np.save(folder / name, clip[:2])
    lines = ["file,label,subjects,camera,fps", "b.npy,wave,3.0,side,30"]
    lines += ['"more/c.npy",bow,,front,29.97', "a.npy,,1,front,30", ""]
    (folder / "labels.csv").write_text("\n".join(lines))
    (folder / "skeleton.json").write_text(json.dumps(COCO17.to_dict()))


def _read_folder(folder: Path) -> bool:
    source, found, refused = _recordings("folder", folder)
    _check_table(folder, source, found)
    for unit, recording in found:
        wanted = as_float32(_load(unit.unit))
        same(recording.frames, wanted if wanted.ndim == 4 else wanted[:, None], recording.name)
        require(len(recording.frames) >= recording.frames.shape[1], "more persons than frames")
    return refused


def _write_freemocap(folder: Path) -> None:
    points = test_freemocap.clip(3, 75)
    points[1, 2] = points[2] = np.nan
    np.save(folder / test_freemocap.BODY, points[:, :33])
    (folder / "old").mkdir()
    np.save(folder / "old" / test_freemocap.ALL, points.astype(np.float32))


def _read_freemocap(folder: Path) -> bool:
    _, found, refused = _recordings("freemocap", folder)
    for file, recording in found:
        points = _load(file)[:, :33].astype(np.float64) / 1000
        points[np.isnan(points).all(-1)] = 0
        same(recording.frames[:, 0], as_float32(points), file.name)
    return refused


def _write_videopose3d(folder: Path) -> None:
    people = {"S1": {"Walking 1": test_videopose3d.clip(3, 32, 3)}}
    people["S9"] = {"Photo": test_videopose3d.clip(2, 32, 3)}
    np.savez(folder / "data.npz", positions_3d=people)


def _read_videopose3d(folder: Path) -> bool:
    file = folder / "data.npz"
    _, found, refused = _recordings("videopose3d", file)
    with zipfile.ZipFile(file) as archive:
        raw = io.BytesIO(archive.read("positions_3d.npy"))
    version = np.lib.format.read_magic(raw)
    read = np.lib.format.read_array_header_1_0
    (read if version == (1, 0) else np.lib.format.read_array_header_2_0)(raw)
    people = _SlowUnpickler(raw, encoding="latin1").load()
    people = people.item() if isinstance(people, np.ndarray) else people
    takes = {f"{who} {what}": each for who, its in people.items() for what, each in its.items()}
    require(refused or len(found) == len(takes), "recordings")
    for _, recording in found:
        same(recording.frames[:, 0], as_float32(takes[recording.name]), recording.name)
    return refused


def _write_utd(folder: Path) -> None:
    file = folder / "a10_s2_t3_skeleton.mat"
    savemat(file, {"d_skel": test_utd.clip(2, 1), "other": np.arange(3)})
    file = folder / "a2_s8_t1_skeleton.mat"
    savemat(file, {"about": "text", "d_skel": test_utd.clip(3, 2)}, do_compression=True)
    for each in folder.iterdir():  # the comment holds the date
        each.write_bytes(b"MATLAB 5.0".ljust(124) + each.read_bytes()[124:])


def _read_utd(folder: Path) -> bool:
    _, found, refused = _recordings("utd", folder)
    for file, recording in found:
        data = b"MATLAB 5.0".ljust(124) + file.read_bytes()[124:]  # the rest is a comment
        values = loadmat(io.BytesIO(data), variable_names=["d_skel"])["d_skel"]
        values = values[..., None] if values.ndim == 2 else values
        same(recording.frames[:, 0], as_float32(values.transpose(2, 0, 1)), file.name)
    return refused


# --- what pcm3 wrote ------------------------------------------------------------------------------


def _write_store(folder: Path) -> None:
    rng = np.random.default_rng(0)
    rule = {"xsub": Protocol("subjects", (1, 2), (3,))}
    with StoreWriter(
        folder / "store", SBU15, class_names=["wave", "bow"], fps=30.0, protocols=rule
    ) as writer:
        for row, length in enumerate((2, 4, 3)):
            writer.add(
                rng.normal(size=(length, 2, 15, 3)),
                row % 2,
                name=f"clip {row}",
                frame_labels=[row % 2] * length,
                segments=[[0, length, row % 2]],
                subjects=row + 1,
                camera=["left", "b"][row % 2],
            )


def _read_store(folder: Path) -> bool:
    store = Store(folder / "store")
    meta = json.loads((folder / "store" / "meta.json").read_text())
    bodies, table = _load(store.path / "bodies.npy"), _slow_npz(store.path / "table.npz")
    repr(store), json.dumps(store.summary()), store.names
    require(len(store.names) == len(store) == meta["sequences"] > 0, "names")
    require(list(store.class_names) == meta["class_names"], "classes")
    require(all(type(name) is str for name in store.class_names), "classes")
    for name, rule in store.protocols.items():
        require(type(rule.column) is str, name)
        parts = (*rule.train, *(rule.test or ()))
        require(all(type(value) is int for value in parts), "protocol", rule)
    row = first = 0
    for index in range(len(store)):
        sequence, label = store.sequence(index), store.labels[index]
        length, slots = (int(table[key][index]) for key in ("lengths", "slots"))
        wanted = bodies[row : row + length * slots].reshape(length, slots, *bodies.shape[1:])
        stored = sequence[:, :slots]
        require(sequence.shape[:2] == (length, store.persons), "shape")
        require(np.array_equal(stored, wanted, equal_nan=True), "sequence", index)
        require(not sequence[:, slots:].any(), "persons who are not there")
        require(label.dtype == np.int64 and -1 <= label < len(store.class_names), "label", label)
        require(label == table["labels"][index], "label")
        if store.frame_labels is not None:
            own = store.frame_labels[first : first + length]
            require(((own >= -1) & (own < len(store.class_names))).all(), "frame labels")
        row, first = row + length * slots, first + length
    if store.segments is not None:
        for index, start, end, label in store.segments.tolist():
            require(0 <= index < len(store) and 0 <= start < end <= store.lengths[index], "segment")
            require(0 <= label < len(store.class_names), "segment")
    for name, column in store.columns.items():
        require(column.dtype == np.int64 and column.shape == (len(store),), name)
        words = meta.get("words", {}).get(name)
        wanted = [words[code] if code >= 0 else "" for code in column] if words else column
        same(store.values(name), wanted, name)
    return False


def _write_encoder(folder: Path) -> None:
    import torch

    from pcm3.encoders import GRUEncoder, STGCNEncoder, TransformerEncoder
    from pcm3.hub import Pretrained, save_encoder

    torch.manual_seed(0)
    encoders = {
        "gru": GRUEncoder(15, hidden=2, layers=1),
        "stgcn": STGCNEncoder(SBU15, persons=1, channels=2, layers=(1, 1), out_features=2),
        "transformer": TransformerEncoder(SBU15, frames=4, patch=2, width=4, depth=1, heads=2),
    }
    for name, encoder in encoders.items():
        pretrained = Pretrained(encoder, SBU15, "joint", 4, "center")
        file = folder / f"{name}.safetensors"
        save_encoder(file, pretrained)
        data = file.read_bytes()  # with a header in any order
        size = int.from_bytes(data[:8], "little")
        header = json.dumps(json.loads(data[8 : 8 + size]), sort_keys=True).encode()
        file.write_bytes(len(header).to_bytes(8, "little") + header + data[8 + size :])


def _read_encoder(folder: Path) -> bool:
    import torch
    from safetensors.torch import load_file

    from pcm3.hub import load_encoder

    refused = False
    for file in sorted(folder.glob("*.safetensors")):
        try:
            found = load_encoder(file)
        except SkeletonFormatError as error:
            _check_message(error)
            refused = True
            continue
        weights, state = load_file(file), found.encoder.state_dict()
        require(weights.keys() == state.keys(), "weights")
        for name, value in state.items():
            wanted = weights[name].to(value.dtype)
            require(torch.equal(value.nan_to_num(7.0), wanted.nan_to_num(7.0)), name)
        require(found.stream in ("joint", "bone", "motion") and found.frames > 0, "clips")
        require(len(found.skeleton) == found.encoder.joints, "joints")
        clip = torch.zeros(1, found.encoder.in_channels, 4, 15, found.encoder.persons)
        require(found.encoder(clip).shape[0] == 1, "features")
    return refused


def _write_official(folder: Path) -> None:
    import torch

    from pcm3.encoders import GRUEncoder

    torch.manual_seed(0)
    encoder = GRUEncoder(15, hidden=2, layers=1)
    names = {"layers.0.0.": "encoder.gru.{}_l0", "layers.0.1.": "encoder.gru.{}_l0_reverse"}
    weights = {}
    for key, value in encoder.state_dict().items():
        start = next((start for start in names if key.startswith(start)), None)
        kind = key.removeprefix(start or "").removesuffix("_l0")
        weights["module." + (names[start].format(kind) if start else key)] = value
    torch.save({"epoch": 3, "state_dict": weights}, folder / "new.pth")
    floats = {key: value for key, value in weights.items() if value.is_floating_point()}
    flat, start = torch.cat([value.flatten() for value in floats.values()]), 0
    for key, value in floats.items():
        floats[key] = flat[start : start + value.numel()].view(value.shape)
        start += value.numel()
    file = folder / "old.bin"
    torch.save({"state_dict": floats}, file, _use_new_zipfile_serialization=False)
    file.write_bytes(  # where the one storage was in memory is its name
        re.sub(rb"\d{9,}", lambda each: b"1" * len(each.group()), file.read_bytes())
    )


def _read_official(folder: Path) -> bool:
    import torch

    from pcm3.hub import load_official

    refused = False
    for file in sorted(folder.iterdir()):
        try:
            encoder = load_official(file, skeleton=SBU15).encoder
        except SkeletonFormatError as error:
            _check_message(error)
            refused = True
            continue
        content = torch.load(file, map_location="cpu", weights_only=True)
        known = [value for value in content["state_dict"].values() if value.numel()]
        for value in encoder.state_dict().values():
            require(torch.isfinite(value).all(), "not finite")
            require(any(torch.equal(value, each) for each in known) or value.ndim == 0, "weights")
    return refused


def _write_checkpoint(folder: Path) -> None:
    import torch

    state = {"model": {"weight": torch.arange(6.0).reshape(2, 3)}, "position": {"epoch": 1}}
    torch.save(state, folder / "checkpoint.pt")


def _read_checkpoint(folder: Path) -> bool:
    import torch

    from pcm3.runs.checkpoint import load_checkpoint

    state = load_checkpoint(folder / "checkpoint.pt")
    require(isinstance(state, dict), "no state")
    weight = (state or {}).get("model", {}).get("weight")
    if isinstance(weight, torch.Tensor):
        weight.double().sum()
    return False


CASES = {
    "ntu": Case(_write_ntu, _read_ntu),
    "pku": Case(_write_pku, _read_pku),
    "pyskl": Case(_write_pyskl, _read_pyskl),
    "ctrgcn": Case(_write_ctrgcn, _read_ctrgcn),
    "agcn": Case(_write_agcn, _read_agcn),
    "ucla": Case(_write_ucla, _read_ucla),
    "utd": Case(_write_utd, _read_utd),
    "msr": Case(_write_msr, _read_msr),
    "bvh": Case(_write_bvh, _read_bvh),
    "packed": Case(_write_packed, _read_packed),
    "folder": Case(_write_folder, _read_folder),
    "mediapipe": Case(_write_mediapipe, _read_mediapipe),
    "openpose": Case(_write_openpose, _read_openpose),
    "coco": Case(_write_coco, _read_coco),
    "mmpose": Case(_write_mmpose, _read_mmpose),
    "azure": Case(_write_azure, _read_azure),
    "csv": Case(_write_csv, _read_csv),
    "videopose3d": Case(_write_videopose3d, _read_videopose3d),
    "freemocap": Case(_write_freemocap, _read_freemocap),
    "trc": Case(_write_trc, _read_trc),
    "c3d": Case(_write_c3d, _read_c3d),
    "store": Case(_write_store, _read_store),
    "encoder": Case(_write_encoder, _read_encoder),
    "official": Case(_write_official, _read_official),
    "checkpoint": Case(_write_checkpoint, _read_checkpoint),
}


class Corpus:
    """Valid files of a case in a folder, one of which is damaged at a time."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder, self.case = name, folder, CASES[name]
        self.case.write(folder)
        self.files = {
            file: file.read_bytes()
            for file in sorted(folder.glob(self.case.pattern))
            if file.is_file() and file.name != "report.json"
        }

    def damage(self, number: int) -> tuple[Path, bytes]:
        """Which file is damaged, and to what, always the same for a number."""
        rng = random.Random(f"{self.name} {number}")
        file = rng.choice(list(self.files))
        return file, mutator(file.suffix)(self.files[file], rng)

    def read(self, file: Path, data: bytes) -> bool:
        """Whether the damaged file was refused; the file is put right again.

        Raises:
            Wrong: If it was neither refused as documented nor read as it is.
        """
        file.write_bytes(data)
        before = _reset_peak()
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                refused = self.case.read(self.folder)
        except Wrong:
            raise
        except SkeletonFormatError as error:
            _check_message(error)
            refused = True
        except ValueError as error:
            require(type(error) is ValueError and self.name == "checkpoint", _trace(error))
            refused = True
        except Exception as error:
            raise Wrong(_trace(error)) from error
        finally:
            file.write_bytes(self.files[file])
        growth = _peak() - before
        require(growth < GROWTH, f"took {growth:.0f} MB")
        return refused


def _reset_peak() -> float:
    """Set the peak of this process's memory to what it uses now, where Linux can; return it."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")
    return _peak()


def _peak() -> float:
    """The most megabytes that this process has used, since the peak was reset."""
    status = Path("/proc/self/status")
    if status.exists():
        lines = status.read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)[-6:])[-3000:]


class Figures(NamedTuple):
    """Of one reader.

    Attributes:
        files: Damaged files that were read.
        refused: Of these, in whole or in part, with an error that the reader documents.
        correct: Read whole, and the same as by the slow reader.
        wrong: What else happened, by the number of the file.
    """

    files: int
    refused: int
    correct: int
    wrong: dict[str, str]


def run(name: str, first: int, count: int, said: Callable[[str], None] | None = None) -> Figures:
    """Read damaged files FIRST to FIRST + COUNT in this process."""
    counts: Counter[bool] = Counter()
    wrong = {}
    with tempfile.TemporaryDirectory() as temporary:
        corpus = Corpus(name, Path(temporary))
        corpus.case.read(corpus.folder)
        for number in range(first, first + count):
            file, data = corpus.damage(number)
            if said:
                said(f"{number}\n")
            try:
                counts[corpus.read(file, data)] += 1
            except Wrong as error:
                wrong[str(number)] = f"{file.name}: " + " ".join(map(str, error.args))
    return Figures(count, counts[True], counts[False], wrong)


def fuzz(name: str, first: int, count: int) -> Figures:
    """The same in a process of its own; a crash or a file that hangs is among what is wrong."""
    done = Figures(0, 0, 0, {})
    while done.files < count:
        start = first + done.files
        command = [sys.executable, __file__, name, str(start), str(count - done.files)]
        process = subprocess.run(command, capture_output=True, text=True, check=False)
        if process.returncode == 0:
            part = Figures(**json.loads(process.stdout))
        else:
            numbers = re.findall(r"^\d+$", process.stderr, re.MULTILINE)
            last = int(numbers[-1]) if numbers else start
            trace = [line for line in process.stderr.splitlines() if not line.isdigit()]
            why = f"ended with {process.returncode}: " + "\n".join(trace[-25:])
            if not numbers:
                raise RuntimeError(why)
            part = run_part(name, start, last - start)
            part = part._replace(files=part.files + 1, wrong={**part.wrong, str(last): why})
        done = Figures(*(a + b for a, b in zip(done[:3], part[:3], strict=True)), done[3] | part[3])
    return done


def run_part(name: str, first: int, count: int) -> Figures:
    return fuzz(name, first, count) if count else Figures(0, 0, 0, {})


def dump(name: str, number: int, out: Path) -> Path:
    """Keep the corpus with this file damaged, to look at."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    corpus = Corpus(name, out)
    file, data = corpus.damage(number)
    file.write_bytes(data)
    return file


def _watched() -> Iterator[Callable[[str], None]]:
    def said(text: str) -> None:
        faulthandler.dump_traceback_later(HANG, exit=True)
        sys.stderr.write(text)

    faulthandler.enable()
    yield said
    faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    for watch in _watched():
        figures = run(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), watch)
    print(json.dumps(figures._asdict()))
