"""The command ``novelty``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pcm3.commands.inference import SHOWN, aligned, write_json
from pcm3.commands.options import check_new, finish, parse
from pcm3.terminal import tell

if TYPE_CHECKING:
    from pcm3.data.store import Store
    from pcm3.encoders.files import Pretrained
    from pcm3.inference.differences import Difference
    from pcm3.inference.novelty import Judgement, NoveltyDetector
    from pcm3.inference.search import Gallery

_TABLES, _PICTURES = (".csv", ".json", ".html"), (".png", ".pdf", ".svg")


def novelty_command(arguments: Sequence[str]) -> None:
    """Tell how far recordings are from reference ones, and where they differ."""
    from tyro.conf import Positional, arg  # noqa: PLC0415

    def options(
        data: Path,
        reference: str,
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
            data: The store with the references.
            reference: Its recordings that are references: a column and values, such as correct:1,
                quality:good or subjects:1,3,5-7.
            source: What to judge: a store, or files that pcm3 prepare reads without options. By
                default all recordings of the store, or the test part of the protocol.
            run: The run folder, which keeps the features, the file of an encoder, or pretrained,
                the encoder of pcm3: features are compared. By default the joints of 64 frames are.
            select: Take only these recordings of the store, as references and to judge: a column
                and values, such as labels:squat; by default all.
            index: Judge this recording only: its number, from 0, or its name; by default all.
            k: The score is the mean distance to this many references, the nearest ones.
            quantile: Share of the references that are not novel; sets the threshold.
            protocol: Take references from the training part of this protocol only.
            window: Cut recordings into windows of this many frames, and judge each.
            same_subject: Compare recordings with references of their own subject too.
            across_classes: Compare recordings with references of all classes.
            out: The .csv or .json table to write; an .html page with pictures of the 20 recordings
                that are furthest away; or a .png, .pdf or .svg picture of one recording.
            accelerator: Device of the encoder: cpu, cuda, mps or auto.
            allow_normalization: Allow a store with another normalization than the encoder's.
            overwrite: Replace an existing file.
            json: Print the result as JSON on the last line.
        """
        from pcm3.data.report import find_sequence  # noqa: PLC0415
        from pcm3.data.store import Store  # noqa: PLC0415
        from pcm3.inference.judgements import (  # noqa: PLC0415
            explain_furthest,
            judgement_json,
            score_judgements,
        )
        from pcm3.inference.novelty import NoveltyDetector  # noqa: PLC0415
        from pcm3.inference.search import encode, open_queries  # noqa: PLC0415

        if out is not None and out.suffix not in (*_TABLES, *_PICTURES):
            raise ValueError(
                f"expected a file ending in {', '.join((*_TABLES, *_PICTURES))}, got {out}"
            )
        check_new(out, overwrite)
        store = Store(data)
        if source is not None and not source.exists():
            raise ValueError(f"{source}: no such file or folder")
        references, chosen = _choose(store, reference, protocol, select)
        if source is None and not chosen:
            raise ValueError(f"expected recordings of {select} to judge, got none in the test part")
        pretrained, gallery, notes = _encode(run, store, window, accelerator, allow_normalization)
        detector = NoveltyDetector(
            gallery,
            references,
            k=k,
            quantile=quantile,
            same_subject=same_subject,
            across_classes=across_classes or reference.startswith("labels:"),
        )
        query = None if source is None else str(source)
        with open_queries(query, pretrained, store) as queries:
            features = gallery
            if source is not None:
                features = encode(pretrained, queries.clips.store, window)
                chosen = queries.indices.tolist()
            if index is not None:
                chosen = [find_sequence(queries.store, index)]
            judged, left_out = detector.judge(queries, features, chosen)
            differences, failed = explain_furthest(judged, queries, store)
            figures = score_judgements(judged, queries.store, reference, store)
            if out is not None and out.suffix in _PICTURES and len(judged) != 1:
                raise ValueError(
                    f"expected one recording to draw, got {len(judged)}; --index says which one"
                )
        notes += [*queries.notes, *failed]
        if left_out:
            notes.append(f"{left_out} not judged, as they have too few references to compare with")
        rows = [judgement_json(*each) for each in zip(judged, differences, strict=True)]
        if out is not None:
            _write(out, judged, differences, rows, store)
        for note in notes:
            tell(f"pcm3: note: {note}", file=sys.stderr)
        known = any(each.threshold is not None for each in judged)
        metrics = {
            "references": len(references),
            "judged": len(judged),
            "left_out": left_out,
            "novel": sum(each.novel is True for each in judged) if known else None,
            **figures,
        }
        lines = [*_describe(metrics, detector, reference), *_table(judged, differences)]
        if out is not None:
            lines.append(str(out))
        rest = {"recordings": rows, "notes": notes, "out": None if out is None else str(out)}
        finish("novelty", metrics, json, *lines, **rest)

    parse(
        options,
        "novelty",
        arguments,
        "pcm3 novelty --run run --data store --reference correct:1 --out novelty.csv",
        "pcm3 novelty --data store --reference correct:1 --select labels:squat",
        "pcm3 novelty --data store --reference correct:1 new/anna.npy --out anna.png",
    )


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
    return np.intersect1d(train, splits.select(store, reference)).tolist(), test.tolist()


def _encode(
    run: Path | None,
    store: "Store",
    window: int | None,
    accelerator: str,
    allow_normalization: bool,
) -> "tuple[Pretrained, Gallery, list[str]]":
    """What recordings are compared by, that of the store, and notes."""
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
    return pretrained, make_gallery(run, pretrained, store, window), notes


def _write(
    out: Path,
    judged: "Sequence[Judgement]",
    differences: "Sequence[Difference | None]",
    rows: list[dict[str, Any]],
    store: "Store",
) -> None:
    if out.suffix == ".csv":
        from pcm3.inference.judgements import write_judgements  # noqa: PLC0415

        write_judgements(out, judged, differences)
    elif out.suffix == ".json":
        write_json(out, rows)
    else:
        from pcm3.inference.pictures import picture_difference, write_novelty_page  # noqa: PLC0415
        from pcm3.viz import save  # noqa: PLC0415

        if out.suffix == ".html":
            write_novelty_page(judged, differences, out)
        elif differences[0] is None:
            raise ValueError(f"{judged[0].recording} cannot be drawn beside its nearest reference")
        else:
            save(picture_difference(judged[0], differences[0]), out)


def _describe(metrics: dict[str, Any], detector: "NoveltyDetector", reference: str) -> list[str]:
    """The figures as lines."""
    whose = "other subjects" if detector.by_subject else "all subjects"
    what = "of all classes" if detector.across_classes else "of the same class"
    nearest = "the nearest" if detector.k == 1 else f"the {detector.k} nearest"
    found = "without a threshold, as no reference has others to be compared with"
    if metrics["novel"] is not None:
        found = f"{metrics['novel']:,} of them novel"
    lines = [
        f"{metrics['judged']:,} judged, {found}: cosine distance to {nearest} of "
        f"{metrics['references']:,} references ({reference}), {whose}, {what}"
    ]
    if metrics.get("auc") is None:
        return lines
    within = [
        f"{metrics[f'auc_within_{name}']:.3f} within {name}"
        for name in ("classes", "subjects")
        if metrics[f"auc_within_{name}"] is not None
    ]
    lines.append(", ".join([f"AUC {metrics['auc']:.3f}", *within]))
    areas = metrics["auc_of_class"].items()
    lines += aligned([(f"  {name}", f"{area:.3f}") for name, area in areas], len(areas))
    if metrics["true_positive_rate"] is not None:
        lines.append(
            f"novel are {metrics['true_positive_rate']:.1%} of the recordings that are unlike the "
            f"references, {metrics['false_positive_rate'] or 0:.1%} of those like them"
        )
    return lines


def _table(judged: "Sequence[Judgement]", differences: "Sequence[Difference | None]") -> list[str]:
    """The recordings that are furthest from the references, as lines."""
    from pcm3.inference.judgements import furthest  # noqa: PLC0415
    from pcm3.inference.tables import who  # noqa: PLC0415

    rows = []
    for at in furthest(judged)[:SHOWN]:
        each, difference = judged[at], differences[at]
        where = ""
        if difference is not None:
            start, end = (each.start + frame for frame in difference.worst)
            where = f"most in {difference.part}, frames {start} to {end}"
        rows.append(
            (
                *(each.recording, f"person {who(each.person)}", f"{each.start} to {each.end}"),
                *(f"{each.score:.4f}", "novel" if each.novel else "", each.reference, where),
            )
        )
    return aligned(rows, len(judged))
