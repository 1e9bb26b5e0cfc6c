"""Draws the pictures of these pages from synthetic skeletons; nobody was recorded.

``python docs/pictures.py`` trains small models for some minutes and draws ``pictures/readme.png``
and those of ``gallery.md`` with them, ``pictures/answer.png`` with the encoder that comes with the
package, ``pictures/results.png`` from a file under ``benchmarks/results``, and the small ones of
the parts, which every build of the pages draws anew in seconds. ``python docs/pictures.py results``
draws ``pictures/results.png`` alone.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from statistics import mean
from tempfile import TemporaryDirectory

import numpy as np
import torch
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from pcm3 import NTU25, PCM3, load_pretrained
from pcm3.augment import (
    AxisMask,
    CutMix,
    DegreeJointDrop,
    Flip,
    GaussianBlur,
    GaussianNoise,
    JointJitter,
    MainAxisRotate,
    Mixup,
    MotionAwareMask,
    RandomMask,
    ReflectCrop,
    ResizeMix,
    Rotate,
    SegmentShuffle,
    Shear,
    TemporalClip,
    TemporalCropResize,
    TimeFlip,
    TopologyMask,
    TubeMask,
)
from pcm3.data import SkeletonDataset, split
from pcm3.data.normalize import normalize
from pcm3.data.synthetic import generate, synthetic_sequences
from pcm3.inference.fit import fit_classifier
from pcm3.inference.streaming import StreamingClassifier
from pcm3.methods.pcm3 import Views
from pcm3.viz import Interval, film_strip, save
from pcm3.viz.figures import PALETTE
from pcm3.viz.timelines import draw_labels, label_looks

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))

import shipped_tables
import spread

FOLDER = Path(__file__).resolve().parent / "pictures"
FRAMES = 64
EPOCHS = 300

CLASSES, PERFORMED, LABELLED = 8, (0, 6, 1, 7, 5, 2), 10

MASKS = {
    "TopologyMask": TopologyMask(NTU25),
    "RandomMask": RandomMask(),
    "MotionAwareMask": MotionAwareMask(ratio=0.6),
    "DegreeJointDrop": DegreeJointDrop(NTU25),
    "TubeMask": TubeMask(ratio=0.6),
}
MIXES = {"CutMix": CutMix(NTU25), "ResizeMix": ResizeMix(NTU25), "Mixup": Mixup((0.4, 0.6))}
TRANSFORMS: dict[str, Callable[..., Tensor]] = {
    "TemporalCropResize": TemporalCropResize(FRAMES, scale=(0.3, 0.4), min_frames=8),
    "ReflectCrop": ReflectCrop(FRAMES, ratio=0.5),
    "TemporalClip": TemporalClip(),
    "SegmentShuffle": SegmentShuffle(),
    "Shear": Shear(0.5),
    "JointJitter": JointJitter(ratio=0.3),
    "Rotate": Rotate(40),
    "MainAxisRotate": MainAxisRotate(60),
    "Flip": Flip(NTU25, negate=False),
    "AxisMask": AxisMask(),
    "GaussianNoise": GaussianNoise(0.03),
    "GaussianBlur": GaussianBlur((2.0, 2.0)),
    "TimeFlip": TimeFlip(),
}


def draw_parts() -> None:
    """A clip before and after every transform and mask of ``pcm3.augment``, as SVG."""
    clips = actions("jumping jack", "kick right")
    for name, transform in TRANSFORMS.items():
        after = transform(clips, generator=seeded())
        draw_part(name, torch.stack([clips[0], after[0]]), ground=name == "JointJitter")
    for name, mix in MIXES.items():
        mixed = mix(clips, generator=seeded()).clips[0]
        draw_part(name, torch.stack([clips[0], mixed]), ground=True)
    for name, masking in MASKS.items():
        mask = masking(clips, generator=seeded())
        mask[1] = mask[0]
        mask[0] = False
        draw_part(name, clips[[0, 0]], mask=mask)


def draw_part(name: str, rows: Tensor, mask: Tensor | None = None, ground: bool = False) -> None:
    """Two rows; with a ground below the joints of the second that are not as in the first."""
    before = rows[[0, 0]] if ground else None
    figure = film_strip(rows, NTU25, mask, 5, ["before", "after"], before=before)
    figure.legends[0].remove()
    figure.suptitle(name)
    save(figure, FOLDER / f"{name}.svg")


def draw_readme() -> None:
    """One recording as it is, as two views of PCM3, and as a trained model restores it."""
    clips = actions("jumping jack", "kick right", subjects=8)
    mask = TopologyMask(NTU25)(clips, generator=seeded())
    mixed = CutMix(NTU25)(clips, generator=seeded())
    views = Views(clips, clips, clips, mixed, mask)
    model = trained().eval()
    with torch.no_grad():
        predicted = model.loss(views).prediction
    assert predicted is not None
    restored = torch.where(mask[:, None], predicted, clips)
    restored[..., NTU25.center, :] = 0  # what clips are centred on: not missing where it is 0
    rows = {
        "recorded": clips[0],
        "masked": clips[0].masked_fill(mask[0], torch.nan),
        "restored": restored[0],
        "mixed": mixed.clips[0],
    }
    hidden, before = torch.zeros_like(mask[0]), clips[0]
    figure = film_strip(
        torch.stack([*rows.values()]),
        NTU25,
        mask=torch.stack([mask[0] if name == "restored" else hidden for name in rows]),
        titles=[*rows],
        before=torch.stack([before if name == "mixed" else rows[name] for name in rows]),
    )
    rename(figure, {"hidden": "predicted", "changed": "another recording's"})
    save(figure, FOLDER / "readme.png", dpi=160)


def draw_answer() -> None:
    """Labels of a live recording over time, by a classifier of ten labelled ones of each class."""
    with TemporaryDirectory() as folder:
        store = generate(
            Path(folder) / "store", sequences=480, classes=CLASSES, views=1, missing=0.0
        )
        known, unseen = split(store, "xsub")
        few = np.concatenate([known[store.labels[known] == c][:LABELLED] for c in range(CLASSES)])
        classifier = fit_classifier(load_pretrained(), store, few)
        shown = [unseen[store.labels[unseen] == c][0] for c in PERFORMED]
        frames = np.concatenate([store.sequence(int(index)) for index in shown])
        lengths = store.lengths[shown]
        names = [store.class_names[c] for c in PERFORMED]
    stream = StreamingClassifier(classifier)
    said = [stream.push(frame).label for frame in frames]
    done = [name for name, length in zip(names, lengths, strict=True) for _ in range(length)]
    rows, looks = [intervals_of(done), intervals_of(said)], label_looks([*done, *said])

    clip = torch.from_numpy(frames).permute(3, 0, 2, 1)
    seconds = np.linspace(0, len(frames) / 30, 12)
    figure = film_strip(
        clip[None], NTU25, frames=12, heads=[f"{second:.0f} s" for second in seconds]
    )
    figure.legends[0].remove()
    figure.set_layout_engine("none")
    figure.set_size_inches(12, 3.2)
    for place, axis in enumerate(figure.axes):
        axis.set_position((0.075 + 0.07625 * place, 0.3, 0.07625, 0.75))
    bands = figure.add_axes((0.075, 0.02, 0.915, 0.28))
    draw_labels(bands, rows, looks)
    for row, intervals in enumerate(rows):
        for name, start, end, _ in intervals:
            if end - start > 5 * len(name):
                bright = np.dot(to_rgb(looks[name]["color"]), (0.3, 0.59, 0.11)) > 0.5
                style = {"ha": "center", "va": "center", "color": "black" if bright else "white"}
                bands.text((start + end) / 2, row, name, **style)
    bands.set(xlim=(0, len(frames)), ylim=(1.5, -0.5), xticks=())
    bands.set_yticks((0, 1), ("true", "predicted"))
    bands.spines[:].set_visible(False)
    bands.tick_params(left=False)
    save(figure, FOLDER / "answer.png", dpi=110)


def intervals_of(labels: Sequence[str]) -> list[Interval]:
    """Frames of one label after the other as intervals."""
    intervals, start = [], 0
    for name, group in groupby(labels):
        end = start + len(list(group))
        intervals.append(Interval(name, start, end))
        start = end
    return intervals


def draw_gallery() -> None:
    """Run the code of ``gallery.md``, which writes its pictures into the working folder."""
    page = FOLDER.with_name("gallery.md").read_text(encoding="utf-8")
    code = "".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL))
    with TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-c", code], cwd=folder, check=True)
        for file in Path(folder).glob("*.png"):
            colours = (
                Image.open(file)
                .convert("RGB")
                .quantize(256, method=Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
            )
            colours.save(FOLDER / file.name, optimize=True)


def draw_results() -> None:
    """The linear probe of three encoders on seven data sets, and its mean over them."""
    named = {
        "untrained": ("untrained", "#999999"),
        "pool": ("pretrained on real recordings", PALETTE[3]),
        "shipped": ("shipped: pretrained on synthetic motion", PALETTE[1]),
    }
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    axis = figure.add_subplot()
    probes = linear_probes()
    for number, (encoder, values) in enumerate(probes.items()):
        name, colour = named[encoder]
        at = np.arange(len(values)) + 0.29 * (number - 1)
        bars = axis.bar(at, values.values(), 0.27, color=colour, label=name)
        axis.bar_label(bars, fmt="%.1f", fontsize=8)
    axis.set_xticks(range(len(values)), [*values])
    axis.axvline(len(values) - 1.5, color="#BBBBBB", linewidth=0.8)
    axis.set(xlim=(-0.6, len(values) - 0.4), ylim=(0, 100), ylabel="top-1 accuracy, %")
    axis.tick_params(axis="x", length=0)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=3, frameon=False)
    drawn = {"Description": json.dumps(probes)}  # a test compares it with the file
    figure.savefig(FOLDER / "results.png", dpi=110, metadata=drawn)


def linear_probes() -> dict[str, dict[str, float]]:
    """Accuracies in percent by encoder and data set, each a mean over seeds; last their mean."""
    rows = json.loads((spread.RESULTS / "shipped.json").read_text())["results"]
    probes: dict[str, dict[str, float]] = {}
    for encoder in ("untrained", "pool", "shipped"):
        runs = [spread.averaged(row["figures"]) for row in rows if row["what"] == encoder]
        values = {
            name.partition(",")[0]: 100 * mean(run[data]["linear"] for run in runs)
            for data, name in shipped_tables.SHIPPED.items()
        }
        probes[encoder] = values | {"mean": mean(values.values())}
    return probes


def rename(figure: Figure, names: dict[str, str]) -> None:
    for text in figure.legends[0].get_texts():
        text.set_text(names.get(text.get_text(), text.get_text()))


def trained() -> PCM3:
    """Masked motion prediction by the preset ``small``, after seven of eight synthetic subjects."""
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:
        store = generate(Path(folder) / "store", noise=0.005, missing=0.0)
        model = PCM3.from_preset("small", store.skeleton, store.persons, positives=())
        train, _ = split(store, "subjects:1-7")
        return model.fit(SkeletonDataset(store, train), epochs=EPOCHS, accelerator="cpu")


def actions(*names: str, subjects: int = 1) -> Tensor:
    """One synthetic clip of each action, of the last subject: (N, C, T, V, M)."""
    recordings = synthetic_sequences(
        sequences=960, subjects=subjects, views=1, frames=(FRAMES, FRAMES), noise=0.005, missing=0.0
    )
    found: dict[str, Tensor] = {}
    for recording in recordings:
        name = recordings.class_names[recording.label]
        if name in names and recording.columns["subjects"] == subjects:
            frames = torch.from_numpy(normalize(recording.frames, NTU25, "center"))
            found.setdefault(name, frames.permute(3, 0, 2, 1))
        if len(found) == len(names):
            break
    return torch.stack([found[name] for name in names])


def seeded() -> torch.Generator:
    return torch.Generator().manual_seed(0)


if __name__ == "__main__":
    draw_results()
    if sys.argv[1:] != ["results"]:
        draw_parts()
        draw_answer()
        draw_readme()
        draw_gallery()
