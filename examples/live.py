"""Say what somebody is doing while they do it: frames go in one by one, labels come out.

Without arguments a puppet performs, and a classifier on an untrained encoder watches, to be ready
in seconds. With a classifier that ``pcm3 classifier`` wrote, give a recording that ``pcm3 prepare``
reads, which is replayed at its frame rate:

    python examples/live.py CLASSIFIER RECORDING

or, for a classifier of MediaPipe's 33 landmarks or of any layout, the model file of MediaPipe's
Pose Landmarker, which then follows you on the first camera (pip install mediapipe; Ctrl-C stops):

    python examples/live.py CLASSIFIER pose_landmarker_full.task

For another pose estimator, write a function like ``camera``, which yields keypoints. A classifier
of any layout must also be told the layout and which axis points up, as in ``own``; a classifier of
one layout takes the axes of its training recordings.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pcm3 import NTU25, load_classifier
from pcm3.data import generate, split
from pcm3.data.synthetic import synthetic_sequences
from pcm3.encoders import GRUEncoder
from pcm3.encoders.files import Pretrained
from pcm3.inference.classifier import Classifier
from pcm3.inference.fit import fit_classifier
from pcm3.inference.recordings import Recordings, open_recordings
from pcm3.inference.streaming import StreamingClassifier
from pcm3.skeleton import BLAZEPOSE33

Pose = NDArray[np.float32]
"""Keypoints of one frame: (V, C) of one person or (M, V, C) of several, 0 where nothing is seen."""

SCENE: dict[str, Any] = {"sequences": 96, "classes": 4, "views": 1}


def main() -> float:
    """Follow people that the classifier does not know; return the share of frames named right."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        store = generate(Path(folder) / "store", frames=(40, 60), **SCENE)
        known, unseen = split(store, "xsub")
        encoder = GRUEncoder(NTU25, persons=1, hidden=64, pool="mean").eval()
        classifier = fit_classifier(Pretrained(encoder, NTU25, "joint", 64, "center"), store, known)
    performed = list(synthetic_sequences(frames=(110, 130), **SCENE))
    film = [performed[index] for index in unseen[:6]]
    truth = [store.class_names[scene.label] for scene in film for _ in scene.frames]
    labels = follow((frame for scene in film for frame in scene.frames), classifier, truth)
    right = float(np.mean(np.equal(labels, truth)))
    print(f"{right:.0%} of {len(truth)} frames named right")
    return right


def own(file: str, source: str) -> list[str]:
    """Follow a recording or the camera with a kept classifier; return the label of each frame."""
    try:
        classifier = load_classifier(file)
        any_layout = classifier.pretrained.normalization == "body"
        if source.endswith(".task"):
            layout = {"skeleton": BLAZEPOSE33, "up": "-y"} if any_layout else {}
            return follow(camera(source, classifier), classifier, **layout)
        with open_recordings(source, classifier) as recordings:
            layout = {"skeleton": recordings.store.skeleton, "up": "y"} if any_layout else {}
            return follow(replay(recordings, any_layout), classifier, **layout)
    except (ValueError, OSError, ImportError, RuntimeError) as error:  # of MediaPipe
        raise SystemExit(f"live.py: {error}") from None


def follow(
    poses: Iterable[Pose],
    classifier: Classifier,
    truth: Sequence[str] | None = None,
    **layout: Any,
) -> list[str]:
    """Push frames as they come, and print a line when the label changes."""
    stream, rate = StreamingClassifier(classifier, **layout), classifier.fps or 30
    if layout:
        print(f"frames of the layout {stream.skeleton.name}, in which {stream.up} points up")
    labels: list[str] = []
    started = time.perf_counter()
    with suppress(KeyboardInterrupt):
        for pose in poses:
            now = stream.push(pose)
            if not labels or now.label != labels[-1]:
                line = f"{len(labels) / rate:>6.1f} s  {now.label:<18} {now.probability:>4.0%}"
                print(line + (f"  (it is: {truth[len(labels)]})" if truth else ""), flush=True)
            labels.append(now.label)
    seconds = time.perf_counter() - started
    print(f"{len(labels) / seconds:.0f} frames per second; the classifier knows {rate:g}")
    return labels


def replay(recordings: Recordings, any_layout: bool) -> Iterator[Pose]:
    """Yield the frames of a recording at the pace at which they were recorded."""
    store, clips = recordings.store, recordings.clips
    if len(clips) > 1:
        name = store.names[recordings.indices[0]]
        print(f"{len(clips)} recordings or persons: the first is replayed, {name}")
    frames = clips.sequence(0)
    started = time.perf_counter()
    # a whole recording shows which way is up; a camera does not
    for number, frame in enumerate(store.upright(frames) if any_layout else frames):
        due = number / (clips.meta["fps"] or 30)
        time.sleep(max(0.0, started + due - time.perf_counter()))
        yield frame


def camera(model: str, classifier: Classifier) -> Iterator[Pose]:
    """Yield MediaPipe's world landmarks of one person, at the frame rate of the classifier.

    Frames of a faster camera are left out.
    """
    try:
        import cv2  # noqa: PLC0415
        from mediapipe import Image, ImageFormat  # noqa: PLC0415
        from mediapipe.tasks.python import BaseOptions, vision  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(f"the camera needs {error.name}: pip install mediapipe") from None
    pretrained = classifier.pretrained
    if pretrained.skeleton.joints != BLAZEPOSE33.joints and pretrained.normalization != "body":
        name = pretrained.skeleton.name
        raise ValueError(f"expected a classifier of the skeleton blazepose33, got one of {name}")
    options = vision.PoseLandmarkerOptions(
        BaseOptions(model_asset_path=model), running_mode=vision.RunningMode.VIDEO
    )
    film, fps = cv2.VideoCapture(0), classifier.fps or 30
    if not film.isOpened():
        raise OSError("found no camera")
    with vision.PoseLandmarker.create_from_options(options) as landmarker:
        started, last = time.perf_counter(), -1
        while True:
            taken, picture = film.read()
            seconds = time.perf_counter() - started
            if not taken:
                return
            if int(seconds * fps) == last:
                continue
            last = int(seconds * fps)
            image = Image(ImageFormat.SRGB, np.ascontiguousarray(picture[..., ::-1]))
            people = landmarker.detect_for_video(image, int(seconds * 1000)).pose_world_landmarks
            pose = np.zeros((33, 3), np.float32)
            if people:
                pose[:] = [(mark.x, mark.y, mark.z) for mark in people[0]]
            yield pose


if __name__ == "__main__":
    if len(sys.argv) not in (1, 3):
        raise SystemExit(__doc__)
    own(*sys.argv[1:]) if sys.argv[1:] else main()
