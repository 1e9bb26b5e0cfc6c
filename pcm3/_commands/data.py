"""Commands on recordings and stores."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pcm3._commands.options import finish, meant, parse


@dataclass(frozen=True)
class ReaderOptions:
    """What only some formats know, but for the skeleton; see the documentation of each."""

    ignore: Path | None = None
    """ntu: file that names the samples to leave out, one a line."""
    edition: Literal[60, 120] | None = None
    """ntu: 60 reads only the actions of NTU RGB+D 60."""
    bodies: Literal["place", "tracked"] | None = None
    """ntu: bodies by place in each frame's list (as for isc) or by id."""
    untrimmed: bool = False
    """pku: whole videos, with a class for every frame."""
    phase: Literal[1, 2] | None = None
    """pku: which phase, where the folder holds both."""
    skeleton: Path | None = None
    """all: joint layout, coco17 say, or a skeleton.json with body parts and centre."""
    axes: str | None = None
    """folder: order of the axes, MTVC say; TMVC by default."""
    unit: str | None = None
    """folder: unit of the coordinates; by default metres, in 2D pixels."""
    coordinates: Literal[2, 3] | None = None
    """folder, packed: of three numbers a joint, x and y alone (2) or z too (3)."""
    unit_scale: float | None = None
    """bvh: metres in one of its units; 0.01 by default."""
    count_rows: bool = False
    """bvh: read all frames, whatever number the header says."""

    def given(self) -> dict[str, Any]:
        """Those that are not left at their default."""
        return {
            each.name: getattr(self, each.name)
            for each in fields(self)
            if getattr(self, each.name) != each.default
        }


def prepare_command(arguments: Sequence[str]) -> None:
    """Raw files to a store: one folder that training and evaluation read."""
    from tyro.conf import OmitArgPrefixes, Positional, Suppress, arg  # noqa: PLC0415

    from pcm3.data.normalize import Normalization  # noqa: PLC0415
    from pcm3.data.prepare import prepare  # noqa: PLC0415
    from pcm3.data.readers import Format  # noqa: PLC0415
    from pcm3.data.report import describe  # noqa: PLC0415
    from pcm3.data.store import Store, StoreDtype  # noqa: PLC0415
    from pcm3.training.progress import ProgressReport  # noqa: PLC0415

    formats = get_args(Format)
    about = f"What the files are: {', '.join(formats)}; auto, or nothing, has it found out."
    brief = not {"-h", "--help"}.isdisjoint(arguments)
    reader_type: Any = Suppress[ReaderOptions] if brief else OmitArgPrefixes[ReaderOptions]

    def options(
        format: Annotated[
            Format | Literal["auto"], Positional, arg(metavar="[FORMAT]", help=about)
        ],
        source: Annotated[Path, Positional, arg(metavar="SOURCE")],
        store: Annotated[Path, Positional, arg(metavar="STORE")],
        normalization: Normalization | Literal["auto"] = "auto",
        duplicate_single: bool = False,
        persons: int | None = None,
        associate: bool = False,
        fps: float | None = None,
        source_fps: float | None = None,
        keep_pixels: bool = False,
        dtype: StoreDtype = "float32",
        min_frames: int = 1,
        skip_bad: bool = False,
        workers: int | None = None,
        overwrite: bool = False,
        reader: reader_type = ReaderOptions(),
        json: bool = False,
    ) -> None:
        """Read recordings and write a store; the same command again continues a stopped one.

        The options that only some formats have are shown by --help-all.

        Args:
            format: What the files are.
            source: The file or folder to read.
            store: The folder to write; appears only when it is complete.
            normalization: center subtracts the first person's centre joint in each frame; isc
                (PCM3) also turns bodies to face one way; sgn (MAMP) moves each recording once;
                auto is the recipe that the files hold already, or else center.
            duplicate_single: Of sgn: a lone body twice, as in the published NTU-120.
            persons: Room for so many; by default what the format has.
            associate: Tell persons apart by where they were, not by the files.
            fps: Of the store; recordings of another rate are resampled.
            source_fps: Of the recordings, where the files do not say it.
            keep_pixels: Do not divide 2D coordinates by the length of the bodies.
            dtype: Of the stored coordinates.
            min_frames: Drop shorter sequences.
            skip_bad: Count files that are not as they should be instead of stopping.
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
                normalization=None if normalization == "auto" else normalization,
                duplicate_single=duplicate_single,
                persons=persons,
                associate=associate,
                fps=fps,
                source_fps=source_fps,
                keep_pixels=keep_pixels,
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
        finish("prepare", counts, json, *describe(Store(store)).split("\n"), report=report)

    words = _positionals(arguments)
    if words and words[0] not in (*formats, "auto"):
        if len(words) > 2:
            raise ValueError(_no_format(words, formats))
        arguments = ["auto", *arguments]
    parse(
        options,
        "prepare",
        arguments,
        "pcm3 prepare nturgbd_skeletons store",
        "pcm3 prepare folder recordings store --skeleton blazepose33",
    )


def _positionals(arguments: Sequence[str]) -> list[str]:
    """The words that are neither options of ``prepare`` nor their values."""
    flags = {each.name for each in fields(ReaderOptions) if each.type is bool}
    flags |= {"duplicate_single", "associate", "keep_pixels", "skip_bad", "overwrite", "json"}
    words, rest = [], iter(arguments)
    for word in rest:
        name = word.removeprefix("--").replace("-", "_")
        if not word.startswith("-"):
            words.append(word)
        elif "=" not in word and name not in flags:
            next(rest, None)
    return words


def _no_format(words: Sequence[str], formats: Sequence[str]) -> str:
    """What to say to three words of which the first is no format."""
    what = f"expected FORMAT SOURCE STORE, a format among {', '.join(formats)}, got {words[0]!r}"
    if found := [word for word in words if word in formats]:
        others = [word for word in words if word != found[0]]
        return f"{what}; the format comes first: pcm3 prepare {' '.join([found[0], *others])}"
    return what + meant(words[0], formats)


def show_command(arguments: Sequence[str]) -> None:
    """What a store holds, what was left out of it, and pictures of its sequences."""
    from tyro.conf import Positional, arg  # noqa: PLC0415

    from pcm3.data.report import (  # noqa: PLC0415
        describe,
        describe_sequence,
        find_sequence,
        read_report,
        sequence_summary,
    )
    from pcm3.data.store import Store  # noqa: PLC0415

    def options(
        store: Annotated[Path, Positional, arg(metavar="STORE")],
        index: str | None = None,
        out: Path | None = None,
        json: bool = False,
    ) -> None:
        """Describe a store, or one of its sequences, which --out makes a picture of.

        Args:
            store: The store.
            index: Describe this sequence instead: its number, from 0, or its name.
            out: Write a picture of the sequence, the first one by default: .png, .pdf or .svg a
                film strip, .gif, .mp4 or .html an animation, .rrd what the rerun viewer opens.
            json: Print the summary as JSON on the last line.
        """
        opened = Store(store)
        if index is None and out is None:
            lines = describe(opened).split("\n")
            finish("show", opened.summary(), json, *lines, report=read_report(opened))
            return
        which = 0 if index is None else find_sequence(opened, index)
        lines = describe_sequence(opened, which).split("\n")
        summary = sequence_summary(opened, which)
        if out is not None:
            from pcm3.viz import picture_sequence  # noqa: PLC0415

            picture_sequence(opened, which, out)
            lines.append(str(out))
        finish("show", summary, json, *lines, out=None if out is None else str(out))

    parse(
        options,
        "show",
        arguments,
        "pcm3 show store",
        "pcm3 show store --index 3 --out third.gif",
    )
