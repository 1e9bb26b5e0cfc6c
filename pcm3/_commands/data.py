"""Commands on recordings and stores."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pcm3._commands.options import finish, parse

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from pcm3.data.store import Store


@dataclass(frozen=True)
class ReaderOptions:
    """What only some formats know; see the documentation of each."""

    ignore: Path | None = None
    """ntu: file that names the samples to leave out, one a line."""
    edition: Literal[60, 120] | None = None
    """ntu: 60 reads only the actions of NTU RGB+D 60."""
    untrimmed: bool = False
    """pku: whole videos with a class for every frame, for detection."""
    phase: Literal[1, 2] | None = None
    """pku: which phase, where the folder holds both."""
    skeleton: str | None = None
    """folder: name of the joint layout, coco17 say, instead of a skeleton.json."""
    fps: float | None = None
    """folder: frames per second."""
    unit: str | None = None
    """folder: unit of the coordinates."""
    unit_scale: float | None = None
    """bvh: metres in one of the file's units; 0.01 by default."""

    def given(self) -> dict[str, Any]:
        """Those that are not left at their default."""
        return {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if getattr(self, each.name) != each.default
        }


def prepare_command(arguments: Sequence[str]) -> None:
    """Raw files to a store: one folder that training and evaluation read."""
    from tyro.conf import OmitArgPrefixes, Positional, arg  # noqa: PLC0415

    from pcm3.data.normalize import Normalization  # noqa: PLC0415
    from pcm3.data.prepare import prepare  # noqa: PLC0415
    from pcm3.data.readers import Format  # noqa: PLC0415
    from pcm3.data.report import describe  # noqa: PLC0415
    from pcm3.data.store import Store, StoreDtype  # noqa: PLC0415
    from pcm3.training.progress import ProgressReport  # noqa: PLC0415

    def options(
        format: Positional[Format | Literal["auto"]],
        source: Annotated[Path, Positional, arg(metavar="SOURCE")],
        store: Annotated[Path, Positional, arg(metavar="STORE")],
        normalization: Normalization = "center",
        duplicate_single: bool = False,
        persons: int | None = None,
        dtype: StoreDtype = "float32",
        min_frames: int = 1,
        skip_bad: bool = False,
        workers: int | None = None,
        overwrite: bool = False,
        reader: OmitArgPrefixes[ReaderOptions] = ReaderOptions(),
        json: bool = False,
    ) -> None:
        """Read recordings and write a store; the same command again continues a stopped one.

        Args:
            format: What the files are; auto, or leaving it out, finds it out from the path.
            source: The file or folder to read.
            store: The folder to write; appears only when it is complete.
            normalization: Recipe for the coordinates; center subtracts the first person's centre
                joint frame by frame; isc (PCM3, CMD) also turns the body to face one way, which
                recordings from several cameras need; sgn (MAMP) moves each recording once.
            duplicate_single: Of sgn: a lone person is there twice, as in the published NTU-120.
            persons: Persons that a sequence has room for; by default what the format has.
            dtype: Type of the stored coordinates; float16 takes half the room.
            min_frames: Drop shorter sequences.
            skip_bad: Count files that do not hold what they should instead of stopping.
            workers: Processes that read; one for each core by default.
            overwrite: Replace a store that is there.
            reader: What only some formats know.
            json: Print the report as JSON on the last line.
        """
        bar: list[ProgressReport] = []

        def progress(done: int, total: int) -> None:
            if not bar:
                bar.append(ProgressReport("prepare", total).__enter__())
            bar[0].advance_to(done)

        try:
            report = prepare(
                source,
                store,
                format=None if format == "auto" else format,
                normalization=normalization,
                duplicate_single=duplicate_single,
                persons=persons,
                dtype=dtype,
                min_frames=min_frames,
                skip_bad=skip_bad,
                workers=workers,
                overwrite=overwrite,
                progress=progress,
                **reader.given(),
            )
        finally:
            if bar:
                bar[0].__exit__(None, None, None)
        counts = {key: report[key] for key in ("units", "read", "kept")}
        counts |= {key: len(report[key]) for key in ("dropped", "bad")}
        finish("prepare", counts, json, describe(Store(store)), report=report)

    first = next((argument for argument in arguments if not argument.startswith("-")), "")
    is_path = Path(first).name != first or Path(first).exists()
    if first and first not in get_args(Format) and is_path:
        arguments = ["auto", *arguments]
    parse(options, "prepare", arguments)


def show_command(arguments: Sequence[str]) -> None:
    """What a store holds, what was left out of it, and pictures of its sequences."""
    from tyro.conf import Positional, arg  # noqa: PLC0415

    from pcm3.data.report import (  # noqa: PLC0415
        describe,
        describe_sequence,
        read_report,
        sequence_summary,
    )
    from pcm3.data.store import Store  # noqa: PLC0415

    def options(
        store: Annotated[Path, Positional, arg(metavar="STORE")],
        index: int | None = None,
        out: Path | None = None,
        json: bool = False,
    ) -> None:
        """Describe a store, or one of its sequences, which --out makes a picture of.

        Args:
            store: The store.
            index: Describe this sequence instead, from 0.
            out: Write a picture of the sequence, the first one by default: .png, .pdf or .svg a
                film strip, .gif, .mp4 or .html an animation, .rrd what the rerun viewer opens.
            json: Print the summary as JSON on the last line.
        """
        opened = Store(store)
        if index is None and out is None:
            say = describe(opened)
            finish("show", opened.summary(), json, say, report=read_report(opened))
            return
        which = index or 0
        say, summary = describe_sequence(opened, which), sequence_summary(opened, which)
        if out is not None:
            _picture(opened, which, out)
            say += f"\n{out}"
        finish("show", summary, json, say, out=None if out is None else str(out))

    parse(options, "show", arguments)


_SOME = 32  # sequences
_STRIPS, _ANIMATIONS = (".png", ".pdf", ".svg"), (".gif", ".mp4", ".html")


def _picture(store: "Store", index: int, out: Path) -> None:
    suffix = out.suffix.lower()
    if suffix not in (*_STRIPS, *_ANIMATIONS, ".rrd"):
        expected = ", ".join((*_STRIPS, *_ANIMATIONS))
        raise ValueError(f"expected --out FILE ending in {expected} or .rrd, got {out.name}")

    from pcm3.viz import animate, film_strip, save, show_in_rerun  # noqa: PLC0415
    from pcm3.viz.results import short_text  # noqa: PLC0415

    clip = _upright(store, index)
    fps = store.meta["fps"] or 30.0
    name, label = store.names[index], int(store.labels[index])
    title = f"{store.class_names[label]}: {name}" if label >= 0 else name
    if suffix == ".rrd":
        show_in_rerun(clip, store.skeleton, fps, out, name)
    elif suffix in _ANIMATIONS:
        save(animate(clip, store.skeleton, fps, title=title), out)
    else:
        figure = film_strip(clip[None], store.skeleton)
        figure.suptitle(short_text(title, 80), fontsize="medium")
        save(figure, out)


def _upright(store: "Store", index: int) -> "NDArray[np.float32]":
    """A sequence (C, T, V, M), rotated so that the second coordinate points up."""
    import numpy as np  # noqa: PLC0415

    clip = store.stored(index).transpose(3, 0, 2, 1).astype(np.float32)
    up = 1
    if store.meta["normalization"] == "isc":  # which stands bodies up along the third
        clip, up = np.stack([clip[0], clip[2], -clip[1]]), 2
    if {"trunk", "left_leg", "right_leg"} <= store.skeleton.parts.keys():
        parts = store.skeleton.parts
        # of several sequences: in one of them people may lie down
        some = np.linspace(0, len(store) - 1, min(len(store), _SOME)).astype(int)
        heights = np.concatenate([store.stored(int(at))[:, 0, :, up] for at in some])
        heights = np.where(heights == 0, np.nan, heights.astype(np.float64))
        trunk = np.nanmean(heights[:, parts["trunk"]])
        if trunk < np.nanmean(heights[:, (*parts["left_leg"], *parts["right_leg"])]):
            clip[1:] *= -1  # half a turn, or the image of one
    return clip
