"""The command ``novelty``."""

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pcm3.commands.inference import SHOWN, aligned, write_json
from pcm3.commands.options import STILLS, check_new, finish, parse
from pcm3.terminal import tell

if TYPE_CHECKING:
    from pcm3.data.store import Store
    from pcm3.encoders.files import Pretrained
    from pcm3.inference.differences import Difference
    from pcm3.inference.novelty import Judgement, NoveltyDetector
    from pcm3.inference.search import Gallery, Queries


class _Found(NamedTuple):
    """Judgements, their differences from the references, both as JSON, figures and notes."""

    judged: "Sequence[Judgement]"
    differences: "Sequence[Difference | None]"
    rows: list[dict[str, Any]]
    metrics: dict[str, Any]
    notes: list[str]


_TABLES = (".csv", ".json", ".html")
_FEW = 10  # recordings, of fewer an AUC means little


def novelty_command(arguments: Sequence[str]) -> None:
    """Tell how far recordings are from reference ones, and where they differ."""
    from tyro.conf import Positional, arg  # noqa: PLC0415

    def options(
        reference: str,
        data: Path | None = None,
        source: Annotated[Path | None, Positional, arg(metavar="[SOURCE]")] = None,
        run: Path | None = None,
        select: str | None = None,
        index: str | None = None,
        k: Annotated[int, arg(aliases=["-k"])] = 1,
        quantile: float = 0.95,
        protocol: str | None = None,
        window: int | None = None,
        same_subject: bool = False,
        across_classes: bool = False,
        out: Path | None = None,
        accelerator: str = "auto",
        allow_normalization: bool = False,
        overwrite: bool = False,
        json: bool = False,
    ) -> None:
        """Tell how far recordings are from reference ones, such as good repetitions.

        The score is the cosine distance to the nearest reference. Recordings are compared with
        references of other subjects and of their own class. They are novel if they are further
        away than most references are. If it is known which recordings are like the references, the
        area under the ROC curve (AUC) is printed.

        Args:
            reference: A file, a folder or a store of references; with --data, a column
                and values, such as correct:1 or subjects:1,3,5-7, or all, which compares
                each recording with all others.
            data: The store with the references and other recordings.
            source: What to judge: a store, or files that pcm3 prepare reads without options.
                By default all recordings of the store, or the test part of the protocol.
            run: A run folder, which keeps the features, the file of an encoder, or pretrained:
                features are compared. By default the joints of 64 frames are.
            select: Take only these recordings of the store, as references and to judge,
                such as labels:squat; by default all.
            index: Judge this recording only: its number, from 0, or its name; by default all.
            k: The score is the mean distance to this many references, the nearest ones.
            quantile: Share of new recordings like the references that are not to be called novel;
                sets the threshold.
            protocol: Take references from the training part of this protocol only.
            window: Cut recordings into windows of this many frames, and judge each.
            same_subject: Compare recordings with references of their own subject too.
            across_classes: Compare recordings with references of all classes.
            out: The .csv or .json table to write; an .html page of the 20 that are furthest
                away; or a .png, .pdf or .svg picture of one recording, or of its window that is
                furthest away.
            accelerator: Device of the encoder: cpu, cuda, mps or auto.
            allow_normalization: Allow a store with another normalization than the encoder's.
            overwrite: Replace an existing file.
            json: Print the result as JSON on the last line.
        """
        from pcm3.data.report import find_sequence  # noqa: PLC0415
        from pcm3.inference.judgements import check_units  # noqa: PLC0415
        from pcm3.inference.novelty import NoveltyDetector  # noqa: PLC0415
        from pcm3.inference.search import encode, open_queries  # noqa: PLC0415

        check_new(out, overwrite, (*_TABLES, *STILLS))
        with ExitStack() as stack:
            store, which, notes = _open_references(stack, data, reference)
            if source is not None and not source.exists():
                raise ValueError(f"{source}: no such file or folder")
            references, chosen = _choose(store, which, protocol, select)
            if source is None and not chosen:
                raise ValueError(
                    f"expected recordings of {select} to judge, got none in the test part"
                )
            kept = run if data is not None else None
            pretrained, gallery, more = _encode(
                run, kept, store, window, accelerator, allow_normalization
            )
            detector = NoveltyDetector(
                gallery,
                references,
                k=k,
                quantile=quantile,
                same_subject=same_subject,
                across_classes=across_classes or which.startswith("labels:"),
            )
            query = None if source is None else str(source)
            queries = stack.enter_context(open_queries(query, pretrained, store))
            features = gallery
            if source is not None:
                if run is None:
                    check_units(queries.store, store)
                features = encode(pretrained, queries.clips.store, window)
                chosen = queries.indices.tolist()
            if index is not None:
                chosen = [find_sequence(queries.store, index)]
            found = _judge(detector, queries, features, chosen, which, by_joints=run is None)
            drawn = None
            if out is not None and out.suffix in STILLS:
                drawn = _find_drawn(found.judged)
        rows = found.rows
        if out is not None:
            _write(out, found, drawn)
        notes += [*more, *found.notes]
        for note in notes:
            tell(f"pcm3: note: {note}", file=sys.stderr)
        lines = [*_describe(found, detector, reference), *_table(found)]
        if drawn is not None and len(rows) > 1:
            lines.append(_name_drawn(found.judged[drawn], len(rows)))
        if out is not None:
            lines.append(str(out))
        rest = {"recordings": rows, "notes": notes, "out": None if out is None else str(out)}
        finish("novelty", found.metrics, json, *lines, **rest)

    parse(
        options,
        "novelty",
        arguments,
        "pcm3 novelty --reference therapist.csv patient.csv --out patient.png",
        "pcm3 novelty --data store --reference correct:1 --select labels:squat",
        "pcm3 novelty --data store --reference correct:1 new/anna.npy --out anna.png",
    )


def _open_references(
    stack: ExitStack, data: Path | None, reference: str
) -> "tuple[Store, str, list[str]]":
    """The store with the references, which of its recordings they are, and notes."""
    from pcm3.data.store import Store  # noqa: PLC0415
    from pcm3.inference.recordings import open_store  # noqa: PLC0415

    if data is not None:
        if reference != "all" and ":" not in reference and Path(reference).exists():
            raise ValueError(
                f"expected a column and values of {data}, such as correct:1, or all, got the path "
                f"{reference}; without --data it would hold the references"
            )
        return Store(data), reference, []
    if not Path(reference).exists():
        raise ValueError(
            f"expected a file or folder of references, or a store as --data and a column and "
            f"values of it, got {reference!r}, which does not exist"
        )
    store, notes = stack.enter_context(open_store(reference))
    return store, "all", notes


def _choose(
    store: "Store", reference: str, protocol: str | None, select: str | None
) -> tuple[list[int], list[int]]:
    """The references of the store, and its recordings to judge."""
    import numpy as np  # noqa: PLC0415

    from pcm3.data import splits  # noqa: PLC0415

    train, test = splits.split(store, protocol or "all")
    if select is not None:
        wanted = splits.select(store, select)
        train, test = np.intersect1d(train, wanted), np.intersect1d(test, wanted)
    if reference != "all":
        train = np.intersect1d(train, splits.select(store, reference))
    return train.tolist(), test.tolist()


def _encode(
    run: Path | None,
    kept: Path | None,
    store: "Store",
    window: int | None,
    accelerator: str,
    allow_normalization: bool,
) -> "tuple[Pretrained, Gallery, list[str]]":
    """What recordings are compared by, that of the store, and notes; ``kept`` keeps it."""
    from pcm3._torch import allow_tf32, find_device  # noqa: PLC0415
    from pcm3.evaluation.features import load_for  # noqa: PLC0415
    from pcm3.inference.novelty import raw_joints  # noqa: PLC0415
    from pcm3.inference.search import encode, make_gallery  # noqa: PLC0415

    if run is None:
        pretrained = raw_joints(store)
        return pretrained, encode(pretrained, store, window), []
    pretrained, notes = load_for(run, store, allow_normalization)
    pretrained.encoder.to(find_device(accelerator))
    allow_tf32(False)
    if kept is None:  # the store is a temporary one
        return pretrained, encode(pretrained, store, window), notes
    return pretrained, make_gallery(kept, pretrained, store, window), notes


def _judge(
    detector: "NoveltyDetector",
    queries: "Queries",
    features: "Gallery",
    chosen: list[int],
    which: str,
    by_joints: bool,
) -> _Found:
    """Judge recordings, and compare them with their nearest references."""
    from pcm3.inference.judgements import (  # noqa: PLC0415
        explain_furthest,
        judgement_json,
        note_on_classes,
        note_on_missing_joints,
        note_on_sides,
        note_on_sizes,
        note_on_thresholds,
        score_judgements,
    )
    from pcm3.inference.novelty import mirrored  # noqa: PLC0415

    store = detector.gallery.store
    judged, left_out = detector.judge(queries, features, chosen)
    differences, failed = explain_furthest(judged, queries, store)
    notes = [*queries.notes, *failed, *note_on_classes(judged, queries, detector)]
    notes += note_on_thresholds(judged, detector)
    notes += note_on_missing_joints(judged, queries, detector)
    if by_joints:
        notes += note_on_sizes(judged, queries, detector)
    if by_joints and store.skeleton.mirror_pairs:
        swapped, _ = detector.judge(queries, mirrored(features, store.skeleton), chosen)
        notes += note_on_sides(judged, swapped)
    if left_out:
        notes.append(f"{left_out} not judged, as they have too few references to compare with")
    fps, known = queries.store.meta["fps"], any(each.threshold is not None for each in judged)
    metrics = {
        "references": detector.count,
        "judged": len(judged),
        "left_out": left_out,
        "novel": sum(each.novel is True for each in judged) if known else None,
        **score_judgements(judged, queries.store, which, store),
    }
    pairs = zip(judged, differences, strict=True)
    rows = [judgement_json(*each, fps) for each in pairs]
    return _Found(judged, differences, rows, metrics, notes)


def _name_drawn(judgement: "Judgement", count: int) -> str:
    from pcm3.inference.tables import who  # noqa: PLC0415

    frames = f"frames {judgement.start} to {judgement.end}"
    return f"drawn: person {who(judgement.person)}, {frames}, the furthest of {count}"


def _find_drawn(judged: "Sequence[Judgement]") -> int:
    """Which judgement a picture shows: of several of one recording, the furthest."""
    from pcm3.inference.judgements import furthest  # noqa: PLC0415

    if count := len({each.index for each in judged}) - 1:
        raise ValueError(f"expected one recording to draw, got {count + 1}; --index says which one")
    return furthest(judged)[0]


def _write(out: Path, found: _Found, drawn: int | None) -> None:
    if out.suffix == ".csv":
        from pcm3.inference.judgements import write_judgements  # noqa: PLC0415

        write_judgements(out, found.judged, found.differences)
    elif out.suffix == ".json":
        write_json(out, found.rows)
    elif drawn is None:
        from pcm3.inference.pictures import write_novelty_page  # noqa: PLC0415

        write_novelty_page(found.judged, found.differences, out)
    else:
        from pcm3.inference.pictures import picture_difference  # noqa: PLC0415
        from pcm3.viz import save  # noqa: PLC0415

        judgement, difference = found.judged[drawn], found.differences[drawn]
        if difference is None:
            raise ValueError(f"{judgement.recording} cannot be drawn beside its nearest reference")
        save(picture_difference(judgement, difference), out)


def _describe(found: _Found, detector: "NoveltyDetector", reference: str) -> list[str]:
    """The figures as lines."""
    metrics, classes = found.metrics, detector.gallery.store.class_names
    whose = "other subjects" if detector.by_subject else "all subjects"
    labelled = [bool(each.label) for each in found.judged]
    what = ", of the same class"
    if detector.across_classes or not any(labelled):
        what = ", of all classes"
    elif not all(labelled):
        what += " where it is known, else of all classes"
    if not classes:
        what = ""
    nearest = "the nearest" if detector.k == 1 else f"the {detector.k} nearest"
    of_all = "1 reference" if detector.count == 1 else f"{detector.count:,} references"
    threshold = "without a threshold, as no reference has others to be compared with"
    if metrics["novel"] is not None:
        threshold = f"{metrics['novel']:,} of them novel"
    lines = [
        f"{metrics['judged']:,} judged, {threshold}: cosine distance to {nearest} of {of_all} "
        f"({reference}), {whose}{what}"
    ]
    return lines if metrics.get("auc") is None else lines + _figures(metrics, reference)


def _figures(metrics: dict[str, Any], reference: str) -> list[str]:
    """How well scores tell the values of the references from others, as lines."""
    within = [
        f"{metrics[f'auc_within_{name}']:.3f} within {name}"
        for name in ("classes", "subjects")
        if metrics[f"auc_within_{name}"] is not None
    ]
    others, alike = metrics["others"], metrics["alike"]
    column = reference.partition(":")[0]
    lines = [
        f"{others:,} recordings have another value of {column} than the references, {alike:,} have "
        f"one of theirs{': too few for an AUC that means much' * (min(others, alike) < _FEW)}",
        ", ".join([f"AUC {metrics['auc']:.3f}", *within]),
    ]
    areas = metrics["auc_of_class"].items()
    lines += aligned([(f"  {name}", f"{area:.3f}") for name, area in areas], len(areas))
    if metrics["true_positive_rate"] is not None:
        lines.append(
            f"novel are {metrics['true_positive_rate']:.1%} of those with another value, "
            f"{metrics['false_positive_rate'] or 0:.1%} of those with one of theirs"
        )
    return lines


def _table(found: _Found) -> list[str]:
    """The recordings that are furthest from the references, as lines."""
    from pcm3.inference.judgements import furthest  # noqa: PLC0415
    from pcm3.inference.tables import who  # noqa: PLC0415

    rows = []
    for at in furthest(found.judged)[:SHOWN]:
        each, difference = found.judged[at], found.differences[at]
        where = ""
        if difference is not None:
            start, end = (each.start + frame for frame in difference.worst)
            where = f"most in {difference.part}; most in frames {start} to {end}"
        limit = "no threshold" if each.threshold is None else f"threshold {each.threshold:.4f}"
        rows.append(
            (
                *(each.recording, f"person {who(each.person)}", f"{each.start} to {each.end}"),
                *(f"{each.score:.4f}", limit, "novel" if each.novel else "-"),
                *(each.reference, where),
            )
        )
    lines = aligned(rows, len(found.judged))
    return lines + _joints(found.rows[0]) if len(rows) == 1 else lines


def _joints(row: dict[str, Any]) -> list[str]:
    """The joints that differ most on average, as lines."""
    from pcm3.data.units import three_digits  # noqa: PLC0415

    lines = []
    for peak in row.get("joints", []):
        time = "" if peak["seconds"] is None else f" ({peak['seconds']:.2f} s)"
        mean = f"{three_digits(peak['mean'])} {row['unit']} on average"
        most = f"up to {three_digits(peak['difference'])} at frame {peak['frame']}{time}"
        lines.append((f"  {peak['joint']}", mean, most))
    return aligned(lines, len(lines)) if lines else []
