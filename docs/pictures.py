"""Draws the pictures of these pages from synthetic skeletons; nobody was recorded.

``python docs/pictures.py`` trains a small model for some minutes and draws ``pictures/readme.png``
with it, and the small ones of the parts, which every build of the pages draws anew in seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from matplotlib.figure import Figure
from torch import Tensor

from pcm3 import NTU25, PCM3
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
from pcm3.methods.pcm3 import Views
from pcm3.viz import film_strip, save

FOLDER = Path(__file__).parent / "pictures"
FRAMES = 64
EPOCHS = 300

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
    draw_parts()
    draw_readme()
