"""Commands on recordings and stores."""

import re
from collections.abc import Collection, Sequence
from dataclasses import make_dataclass
from inspect import signature
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

from pcm3.commands.options import check_new, descriptions, finish, meant, parse


def prepare_command(arguments: Sequence[str]) -> None:
    """Convert raw files to a store: one folder that training and evaluation read."""
    from tyro.conf import OmitArgPrefixes, Positional, Suppress, arg  # noqa: PLC0415

    from pcm3.data.axes import Up  # noqa: PLC0415
    from pcm3.data.normalize import Normalization  # noqa: PLC0415
    from pcm3.data.prepare import prepare  # noqa: PLC0415
    from pcm3.data.readers import READERS  # noqa: PLC0415
    from pcm3.data.report import describe  # noqa: PLC0415
    from pcm3.data.store import Store, StoreDtype  # noqa: PLC0415
    from pcm3.runs.progress import ProgressReport  # noqa: PLC0415

    about = f"Format of the files: {', '.join(READERS)}; by default, or with auto, it is detected."
    formats: Any = Literal[(*READERS, "auto")]
    nothing = _reader_options()()
    brief = not {"-h", "--help"}.isdisjoint(arguments)
    reader_type: Any = (Suppress if brief else OmitArgPrefixes)[type(nothing)]

    def options(
        format: Annotated[formats, Positional, arg(metavar="[FORMAT]", help=about)] = "auto",
        *,
        source: Annotated[Path, Positional, arg(metavar="SOURCE")],
        store: Annotated[Path, Positional, arg(metavar="STORE")],
        skeleton: Path | None = None,
        to: Path | None = None,
        normalization: Normalization | Literal["auto"] = "auto",
        duplicate_single: bool = False,
        persons: int | None = None,
        associate: bool = False,
        up: Up | None = None,
        fps: float | None = None,
        source_fps: float | None = None,
        keep_pixels: bool = False,
        dtype: StoreDtype = "float32",
        min_frames: int = 1,
        skip_bad: bool = False,
        workers: int | None = None,
        overwrite: bool = False,
        reader: reader_type = nothing,
        json: bool = False,
    ) -> None:
        """Read recordings and write a store; if it stops, the same command continues.

        The options that only some formats have are shown by --help-all.

        Args:
            format: Format of the files.
            source: The file or folder to read.
            store: The folder to write; it appears only when it is complete.
            skeleton: Joint layout: the name of a built-in one, such as coco17, or a skeleton.json
                with body parts and centre.
            to: Layout of the store, if another one, such as common15: joints are mapped by anatomy.
            normalization: center subtracts the first person's centre joint in each frame; isc
                (PCM3) also turns bodies to face one way; sgn (MAMP) moves each recording once;
                auto is the recipe that was already applied to the files, or else center.
            duplicate_single: With sgn, copy a single body to the second person, as in the published
                NTU-120 data.
            persons: Number of persons in the store, by default that of the format.
            associate: Track persons by position instead of as in the files.
            up: The axis of the recordings that points up, if not y; they are turned so that y does.
            fps: Frames per second of the store; recordings of another rate are resampled.
            source_fps: Frames per second of the recordings, if the files do not give it.
            keep_pixels: Do not divide 2D coordinates by the length of the bodies.
            dtype: Type of the stored coordinates.
            min_frames: Drop shorter sequences.
            skip_bad: Skip and count bad files instead of stopping.
            workers: Number of processes that read, by default one per core.
            overwrite: Replace an existing store.
            reader: Options that only some formats have.
            json: Print the report as JSON on the last line.
        """
        given = {
            name: value
            for name, value in [("skeleton", skeleton), *vars(reader).items()]
            if value is not None and value is not False
        }
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
                to=to,
                normalization=None if normalization == "auto" else normalization,
                duplicate_single=duplicate_single,
                persons=persons,
                associate=associate,
                up=up,
                fps=fps,
                source_fps=source_fps,
                keep_pixels=keep_pixels,
                dtype=dtype,
                min_frames=min_frames,
                skip_bad=skip_bad,
                workers=workers,
                overwrite=overwrite,
                progress=progress,
                **given,
            )
        finally:
            if bar:
                bar[0].__exit__()
        counts = {key: report[key] for key in ("units", "read", "kept")}
        counts |= {key: len(report[key]) for key in ("dropped", "bad")}
        finish("prepare", counts, json, *describe(Store(store)).split("\n"), report=report)

    defaults = {name: option.default for name, option in signature(options).parameters.items()}
    defaults |= vars(nothing)
    words = _positionals(arguments, [name for name, value in defaults.items() if value is False])
    named = bool(words) and words[0] in get_args(formats)
    if len(words) > 2 and not named:
        raise ValueError(_no_format(words, list(READERS)))
    if len(words) == 2 and named and not Path(words[0]).exists():
        raise ValueError(f"expected {words[0]} SOURCE STORE, got one path, {words[1]}")
    if brief:
        arguments = ["--help"]  # the same with and without a format
    elif len(words) == 2 or (words and not named):  # a folder may have the name of a format
        arguments = ["auto", *arguments]
    parse(
        options,
        "prepare",
        arguments,
        "pcm3 prepare nturgbd_skeletons store",
        "pcm3 prepare folder recordings store --skeleton blazepose33",
    )


def _reader_options() -> Any:
    """Build a dataclass of the readers' options; the first reader with an option describes it."""
    from tyro.conf import arg  # noqa: PLC0415

    from pcm3.data.readers import READERS  # noqa: PLC0415

    formats: dict[str, list[str]] = {}
    for name, reader in READERS.items():
        for option in reader.options:
            formats.setdefault(option, []).append(name)
    del formats["skeleton"]  # an option of every format, declared by the command
    declared: list[tuple[str, Any, Any]] = []
    for option, names in formats.items():
        read, default = READERS[names[0]].read, READERS[names[0]].options[option].default
        kind = get_type_hints(read)[option]
        kind = Path if Path in get_args(kind) else kind
        about = re.split(r"(?<=\.)\s", descriptions(read).get(option, ""))[0]
        help = f"{', '.join(names)}: {about}"
        shown = "none" if default is None else default
        said = default is None and "by default" in about.lower()
        hint = arg(help=help, help_behavior_hint="" if said else f"(default: {shown})")
        # None if not given, so that a reader gets only the options that were given
        unset, kind = (False, bool) if default is False else (None, kind | None)
        declared.append((option, Annotated[kind, hint], unset))
    return make_dataclass("ReaderOptions", declared)


def _positionals(arguments: Sequence[str], flags: Collection[str]) -> list[str]:
    """Return the words that are neither options nor their values; flags have no value."""
    words, rest = [], iter(arguments)
    for word in rest:
        name = word.removeprefix("--").replace("-", "_")
        if not word.startswith("-"):
            words.append(word)
        elif "=" not in word and name not in flags:
            next(rest, None)
    return words


def _no_format(words: Sequence[str], formats: Sequence[str]) -> str:
    """Return the message for three words of which the first is not a format."""
    what = f"expected FORMAT SOURCE STORE, a format among {', '.join(formats)}, got {words[0]!r}"
    if format := next((word for word in words if word in formats), None):
        others = [word for word in words if word != format]
        return f"{what}; the format comes first: pcm3 prepare {' '.join([format, *others])}"
    return what + meant(words[0], formats)


def show_command(arguments: Sequence[str]) -> None:
    """Show the content of a store and what was left out of it, or draw a sequence."""
    from tyro.conf import Positional, arg  # noqa: PLC0415

    from pcm3.data.report import (  # noqa: PLC0415
        describe,
        describe_sequence,
        find_sequence,
        read_report,
        sequence_summary,
    )
    from pcm3.data.splits import part_sizes  # noqa: PLC0415
    from pcm3.data.store import Store  # noqa: PLC0415

    def options(
        store: Annotated[Path, Positional, arg(metavar="STORE")],
        index: str | None = None,
        out: Path | None = None,
        overwrite: bool = False,
        json: bool = False,
    ) -> None:
        """Describe a store or one of its sequences, or draw a sequence with --out.

        Args:
            store: The store.
            index: Describe this sequence instead: its number, from 0, or its name.
            out: Write a picture of the sequence, by default of the first one: .png, .pdf or .svg
                for a film strip, .gif, .mp4 or .html for an animation, .rrd for the rerun viewer.
            overwrite: Replace an existing file.
            json: Print the summary as JSON on the last line.
        """
        check_new(out, overwrite)
        opened = Store(store)
        if index is None and out is None:
            lines = describe(opened).split("\n")
            sizes = {
                name: pair and dict(zip(("training", "test"), pair, strict=True))
                for name, pair in part_sizes(opened).items()
            }
            joints = list(opened.skeleton.joints)
            kept = {"report": read_report(opened), "parts": sizes, "joint_order": joints}
            finish("show", opened.summary(), json, *lines, **kept)
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
