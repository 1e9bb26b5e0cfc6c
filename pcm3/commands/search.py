"""The command ``search``."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pcm3.commands.inference import SHOWN, aligned, write_json
from pcm3.commands.options import STILLS, check_new, finish, parse
from pcm3.terminal import tell

_FOUND = (".csv", ".json", ".html")


def search_command(arguments: Sequence[str]) -> None:
    """Find the recordings that are most similar to a recording."""
    from tyro.conf import arg  # noqa: PLC0415

    def options(
        run: Path,
        data: Path,
        query: str,
        k: Annotated[int, arg(aliases=["-k"])] = 5,
        other_subjects: bool = False,
        out: Path | None = None,
        source_fps: float | None = None,
        accelerator: str = "auto",
        allow_normalization: bool = False,
        overwrite: bool = False,
        json: bool = False,
    ) -> None:
        """Find the most similar recordings of a store, by cosine similarity of features; exact.

        If the store has recordings of more than 300 frames, all are searched in windows as long as
        the query. A window that overlaps a better one of its recording by more than half is left
        out.

        Args:
            run: The run folder, which keeps the features for the next search, the file of an
                encoder, or pretrained, the encoder of pcm3.
            data: The store to search.
            query: A recording of the store, by its number, from 0, or its name; or other
                recordings: a file, a folder or a store, as of pcm3 predict.
            k: Number of recordings to find, or of windows.
            other_subjects: Leave out the recordings of the query's own subject, by the column
                subjects.
            out: The .csv or .json table to write, an .html page with film strips, or the film
                strips of one query as a .png, .pdf or .svg picture.
            source_fps: Frames per second of other recordings, if the files do not give it; by
                default that of the store.
            accelerator: Device of the encoder: cpu, cuda, mps or auto.
            allow_normalization: Allow a store with another normalization than the encoder's.
            overwrite: Replace an existing file.
            json: Print the result as JSON on the last line.
        """
        from pcm3._torch import allow_tf32, find_device  # noqa: PLC0415
        from pcm3.data.dataset import describe_form  # noqa: PLC0415
        from pcm3.data.store import Store  # noqa: PLC0415
        from pcm3.evaluation.features import dataset_for, load_for  # noqa: PLC0415
        from pcm3.inference.search import (  # noqa: PLC0415
            make_gallery,
            open_queries,
            search,
            window_for,
            write_matches,
        )

        check_new(out, overwrite, (*_FOUND, *STILLS))
        store = Store(data)
        pretrained, notes = load_for(run, store, allow_normalization)
        pretrained.encoder.to(find_device(accelerator))
        allow_tf32(False)
        with open_queries(query, pretrained, store, source_fps) as queries:
            window = window_for(store, queries.clips.lengths)
            gallery = make_gallery(run, pretrained, store, window)
            if out is not None and out.suffix in STILLS and len(queries.names) != 1:
                raise ValueError(f"expected one query to draw, got {len(queries.names)}")
            features, own = queries.features(), queries.own
            matches = search(gallery, features, queries.names, k, own, other_subjects)
            fps = store.meta["fps"]
            rows = [match.to_json(fps) for match in matches]
            if out is not None and out.suffix == ".csv":
                write_matches(out, matches, fps)
            elif out is not None and out.suffix == ".json":
                write_json(out, rows)
            elif out is not None:
                from pcm3.inference import pictures  # noqa: PLC0415

                if out.suffix == ".html":
                    pictures.write_search_page(queries, features, gallery, matches, out)
                else:
                    pictures.picture_matches(queries, store, matches, out)
        notes += [*describe_form(dataset_for(pretrained, store, [])), *queries.notes]
        notes = list(dict.fromkeys(notes))  # queries and store may be mapped alike
        for note in notes:
            tell(f"pcm3: note: {note}", file=sys.stderr)
        several = len(queries.names) > 1
        shown = [
            (
                *((match.query,) if several else ()),
                str(match.rank),
                match.recording,
                f"{match.start} to {match.end}",
                f"{match.similarity:.3f}",
                match.label,
            )
            for match in matches[:SHOWN]
        ]
        heads = (*("query",) * several, "", "recording", "frames", "similarity", "label")
        lines = ["no other recording to compare with"]
        if shown:
            lines = aligned([heads, *shown], len(matches) + 1)
        if out is not None:
            lines.append(str(out))
        metrics = {"queries": len(queries.names), "window": window}
        rest = {"matches": rows, "notes": notes, "out": None if out is None else str(out)}
        finish("search", metrics, json, *lines, **rest)

    parse(
        options,
        "search",
        arguments,
        "pcm3 search --run run --data store --query 3 --out similar.html",
        "pcm3 search --run run --data store --query walk.npy -k 10",
    )
