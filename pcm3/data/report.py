"""Descriptions of a store and its sequences, and of what was left out of it."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, TypedDict

from pcm3.data.normalize import ISC_FRAMES
from pcm3.data.splits import part_sizes
from pcm3.data.store import Store
from pcm3.data.tally import Dropped, Jumps, Presence, Spans, WithoutCenter
from pcm3.io.files import regular
from pcm3.io.json import read_json
from pcm3.io.reading import fail
from pcm3.skeleton import SKELETONS
from pcm3.terminal import printable

_BAR = 40
_BAD_SHOWN = 5
_CLASSES_SHOWN = 12
_NAMES_SHOWN = 8
_WORDS_SHOWN = 40


class _Jumps(Jumps):
    limit: str


class _Known(TypedDict, total=False):
    normalization: str
    held: str
    already_isc: int
    dtype: str
    fps: float | None
    notes: dict[str, int]
    label_notes: list[str]
    warnings: list[str]
    unit_is: str
    resampled: dict[str, int]
    persons: list[Presence]
    others_there: Spans
    cut: Spans
    jumps: _Jumps
    without_center: WithoutCenter
    rounding: float


class _Preparation(_Known):
    source: str
    format: str
    units: int
    frames_read: int
    read: int
    kept: int
    dropped: list[Dropped]
    bad: list[str]
    left_out: int
    left_out_why: str
    bodies: dict[str, int]


def read_report(store: Store) -> dict[str, Any] | None:
    """Read the report that ``prepare`` wrote into a store; None if there is none.

    Raises:
        SkeletonFormatError: If ``report.json`` is not such a report.
    """
    file = store.path / "report.json"
    if not regular(file).exists():
        return None
    report: dict[str, Any] = read_json(file, _Preparation)
    if not all(re.fullmatch("[0-9]{1,9}", number) for number in report["bodies"]):
        fail(file, f"expected numbers of bodies, got {report['bodies']}")
    return report


def describe(store: Store) -> str:
    """Describe a store and its preparation in lines of ``printable`` text."""
    summary, report = store.summary(), read_report(store)
    lines = [str(store.path), *_contents(summary), *_protocols(store), *_joint_order(store)]
    lines += _histogram(summary["length_histogram"])
    lines += _preparation(report, summary["unit"]) if report else []
    return "\n".join(map(printable, lines))


def find_sequence(store: Store, which: str) -> int:
    """Find a sequence by its number, counted from 0, or else by its name.

    A name may be given without its suffix, such as ``walk`` for ``walk.npy``.

    Raises:
        ValueError: If no sequence or several sequences match.
    """
    if which.isdecimal() and int(which) < len(store):
        return int(which)
    whole = [index for index, name in enumerate(store.names) if name == which]
    stems = [index for index, name in enumerate(store.names) if name.rpartition(".")[0] == which]
    matches = whole or (stems if which else [])
    if len(matches) == 1:
        return matches[0]
    if matches:
        some = ", ".join(map(str, matches[:5])) + (" ..." if len(matches) > 5 else "")
        raise ValueError(
            f"{store.path}: {len(matches)} sequences are named {which!r}: {some}; give a number"
        )
    near = get_close_matches(which, store.names, n=1) or [*store.names[:1], ""]
    named = f" or a name such as {near[0]!r}" if near[0] else ""
    raise ValueError(
        f"expected an index in [0, {len(store)}) of {store.path}{named}, got {which!r}"
    )


def sequence_summary(store: Store, index: int) -> dict[str, Any]:
    """Summarise one sequence of a store; JSON-able.

    Args:
        store: The store.
        index: Index of the sequence, in [0, N).

    Returns:
        ``index``, ``name``, ``label`` (-1 for none), ``class`` (the name or None), ``frames``,
        ``seconds`` (None if the frame rate is unknown), ``persons`` (number of persons who are
        ever seen), ``duplicate_of`` (or None), ``columns`` (integers, or words and None for missing
        ones), and ``segments``, for untrimmed recordings a list of ``[start, end, class]``,
        otherwise None.

    Raises:
        ValueError: If the index is out of range.
    """
    if not 0 <= index < len(store):
        raise ValueError(f"expected an index in [0, {len(store)}) of {store.path}, got {index}")
    label, frames = int(store.labels[index]), int(store.lengths[index])
    columns = {name: store.values(name)[index].item() for name in store.columns}
    columns |= {name: None for name in store.words if columns[name] == ""}
    original = columns.pop("duplicate_of")
    segments = store.segments
    return {
        "index": index,
        "name": store.names[index],
        "label": label,
        "class": store.class_names[label] if label >= 0 else None,
        "frames": frames,
        "seconds": frames / store.meta["fps"] if store.meta["fps"] else None,
        "persons": int((store.stored(index) != 0).any(axis=(0, 2, 3)).sum()),
        "duplicate_of": original if original >= 0 else None,
        "columns": columns,
        "segments": None
        if segments is None
        else [
            [int(start), int(end), store.class_names[action]]
            for at, start, end, action in segments
            if at == index
        ],
    }


def describe_sequence(store: Store, index: int) -> str:
    """Describe one sequence, as ``sequence_summary`` does, in lines of printable text."""
    summary = sequence_summary(store, index)
    counts = [_count(summary["frames"], "frame")]
    counts += [f"{summary['seconds']:.2f} s"] if summary["seconds"] else []
    counts.append(_count(summary["persons"], "person"))
    lines = [", ".join(counts)]
    if summary["class"] is not None:
        lines.append(f"class {summary['label']}: {summary['class']}")
    if columns := summary["columns"]:
        missing = (None, -1)
        cells = [f"{name} {'-' if value in missing else value}" for name, value in columns.items()]
        lines.append(", ".join(cells))
    if summary["duplicate_of"] is not None:
        lines.append(f"bit-identical to sequence {summary['duplicate_of']}")
    lines += [f"frames {a:,} to {b:,}: {action}" for a, b, action in summary["segments"] or ()]
    if store.origin is not None:
        lines.append(f"each frame is relative to {store.origin}: in pictures the body floats")
    lines = [f"{store.path}, sequence {index}: {summary['name']}", *(f"  {x}" for x in lines)]
    return "\n".join(map(printable, lines))


def _contents(summary: dict[str, Any]) -> list[str]:
    counts = [_count(summary["sequences"], "sequence"), _count(summary["frames"], "frame")]
    counts += [
        _count(summary[words], word)
        for word, words in (("class", "classes"), ("subject", "subjects"), ("view", "views"))
        if summary[words]
    ]
    columns = [
        f"{name} ({_count(count, 'value')}{_listed(summary['words'].get(name, ()))})"
        for name, count in summary["columns"].items()
    ]
    kind = [f"skeleton {summary['skeleton']}", _count(summary["joints"], "joint")]
    kind += [_count(summary["channels"], "coordinate"), _count(summary["persons"], "person")]
    stored = [f"normalization {summary['normalization']}"]
    reading = {"place": "bodies by place", "tracked": "bodies tracked by id"}
    stored += [reading.get(summary["bodies"], summary["bodies"])] if summary["bodies"] else []
    stored += [summary["unit"]]
    stored += [f"{summary['fps']:g} frames per second"] if summary["fps"] else []
    stored += [f"{summary['dtype']}, {summary['megabytes']:,.1f} MB"]
    lines = [", ".join(counts), ", ".join(kind), *_body(summary), *_mapped(summary)]
    lines.append(", ".join(stored))
    lines += [f"columns: {', '.join(columns)}"] if columns else []
    labels = [f"{name} {count:,}" for name, count in summary["labelled"].items()]
    more = len(labels) - _CLASSES_SHOWN
    labels = [*labels[:_CLASSES_SHOWN], *([f"and {more:,} classes more"] if more > 0 else [])]
    labels += [f"no label {summary['unlabelled']:,}"] if summary["unlabelled"] else []
    lines += [f"labels: {', '.join(labels)}"] if summary["segments"] is None and labels else []
    lines += [f"source: {summary['source']}"] if summary["source"] else []
    if summary["persons"] > 1:
        people = summary["people"].items()
        lines.append(
            "persons: " + ", ".join(f"{n} in {_count(count, 'sequence')}" for n, count in people)
        )
    if summary["segments"] is not None:
        lines.append(f"untrimmed, {_count(summary['segments'], 'segment')}")
    if summary["duplicates"]:
        lines.append(f"bit-identical to an earlier sequence: {summary['duplicates']:,}")
    return [f"  {line}" for line in lines]


def _protocols(store: Store) -> list[str]:
    """Describe the parts of published protocols, or else of ``xsub`` and ``xview``."""
    lines = []
    for name, sizes in part_sizes(store).items():
        kind = "published protocol" if name in store.protocols else "protocol"
        parts = "the training or the test part is empty"
        if sizes:
            train, test = sizes
            parts = f"{_count(train, 'training sequence')}, {_count(test, 'test sequence')}"
        lines.append(f"  {kind} {name}: {parts}")
    return lines


def _joint_order(store: Store) -> list[str]:
    """List the joints, unless they are those of the built-in layout of this name in its order."""
    name, joints = store.skeleton.name, store.skeleton.joints
    built_in = SKELETONS.get(name)
    if built_in is not None and built_in.joints == joints:
        return []
    other = f", not that of the built-in layout {name}" if built_in else ""
    return [f"  joint order{other}: {', '.join(joints)}"]


def _listed(words: Sequence[str]) -> str:
    """List the words of a column; empty for a column of integers."""
    more = len(words) - _WORDS_SHOWN
    shown = [*words[:_WORDS_SHOWN], *([f"and {more:,} more"] if more > 0 else [])]
    return f": {', '.join(shown)}" if shown else ""


def _body(summary: dict[str, Any]) -> list[str]:
    """Describe parts, centre and mirrored pairs of the skeleton, one per line."""
    lines = [f"  {part}: {_some(joints)}" for part, joints in summary["parts"].items()]
    lines.append(f"  centre: {summary['center']}")
    if pairs := ["/".join(pair) for pair in summary["mirror"]]:
        lines.append(f"  {_count(len(pairs), 'mirrored pair')}: {_some(pairs)}")
        if not summary["sides_named"]:
            lines.append("  no joint name gives a side: unless given, left comes first")
    if summary["alone"]:
        lines.append(f"  without a counterpart: {_some(summary['alone'])}")
    return lines


def _mapped(summary: dict[str, Any]) -> list[str]:
    """Describe what the joints were mapped from, if they were, and each joint that is derived."""
    if (mapping := summary.get("mapping")) is None:
        return []
    exact, derived = mapping["exact"], mapping["derived"]
    lines = [
        f"mapped from {mapping['source']}: {_count(len(exact), 'joint')} exact, "
        f"{len(derived)} derived{':' * bool(derived)}"
    ]
    for joint, weights in derived.items():
        shares = [f"{weight:g} {name}" for name, weight in weights.items()]
        alone = f"{joint}: {next(iter(weights), '')} stands in for it"
        lines.append(f"  {alone}" if len(weights) == 1 else f"  {joint}: {' + '.join(shares)}")
    return lines


def _some(names: Sequence[str], total: int | None = None) -> str:
    """List names, which may be the first of a total, and how many there are more."""
    shown = names[:_NAMES_SHOWN]
    more = (len(names) if total is None else total) - len(shown)
    return ", ".join(shown) + (f" and {more:,} more" if more > 0 else "")


def _histogram(histogram: dict[str, list[int]]) -> list[str]:
    edges, counts = histogram["edges"], histogram["counts"]
    width = len(str(edges[-1]))
    rows = [
        f"    {low:>{width}} to {high - 1:>{width}}  {'#' * -(-_BAR * n // max(counts))} {n:,}"
        for low, high, n in zip(edges, edges[1:], counts, strict=False)
    ]
    return ["  frames in a sequence:", *rows]


def _preparation(report: dict[str, Any], unit: str) -> list[str]:
    bad, dropped = report["bad"], report["dropped"]
    kind = report.get("unit_is", "part")  # old reports lack it
    counts = [_count(report["units"], kind), _count(report["read"], "sequence")]
    skipped = _count(len(bad), f"bad {'sequence' if kind == 'part of a file' else kind}")
    lines = [
        f"read from {report['source']} ({report['format']}): {' with '.join(counts)}; "
        f"{report['kept']:,} kept, {len(dropped):,} dropped; {skipped} skipped"
    ]
    for reason, count in Counter(entry["reason"] for entry in dropped).most_common():
        names = [entry["name"] for entry in dropped if entry["reason"] == reason]
        lines.append(f"  dropped {count:,}: {reason}: {_some(names)}")
    lines += [f"  {line}" for line in _held(report)]
    lines += [f"  bad: {message}" for message in bad[:_BAD_SHOWN]]
    if len(bad) > _BAD_SHOWN:
        lines.append(f"  and {len(bad) - _BAD_SHOWN:,} more in report.json")
    if report["left_out"]:
        lines.append(f"  {_count(report['left_out'], 'file')} left out: {report['left_out_why']}")
    lines += [f"  {text}{_times(count)}" for text, count in report.get("notes", {}).items()]
    lines += [f"  {line}" for line in _frames_and_persons(report, unit)]
    bodies = sorted((int(number), count) for number, count in report["bodies"].items())
    seen = ", ".join(f"{number} in {_count(count, 'sequence')}" for number, count in bodies)
    lines.append(f"bodies in the files: {seen}; {_count(report['frames_read'], 'frame')}")
    warnings = [*report.get("label_notes", ()), *report.get("warnings", ())]
    lines += [f"warning: {text}" for text in warnings]
    return [f"  {line}" for line in lines]


def _held(report: dict[str, Any]) -> list[str]:
    """Describe recordings that were normalised before they were read, if any."""
    recipe, held = report.get("normalization"), report.get("held", "none")  # old reports lack it
    lines = []
    if held != "none":
        done = "not applied again" if recipe == held else f"{recipe} was applied to that"
        lines.append(f"normalised by {held} before: {done}")
    if count := report.get("already_isc", 0):
        done = "not applied again" if recipe == "isc" else f"{recipe} was applied to that"
        lines.append(f"normalised by isc before, by their coordinates: {count:,}; {done}")
    return lines


def _times(count: int) -> str:
    return f": {count:,} times" if count > 1 else ""


def _frames_and_persons(report: dict[str, Any], unit: str) -> list[str]:
    """Describe resampling, rounding, missing persons and jumps; old reports may lack them."""
    lines = [
        f"resampled {count:,} from {rate} to {report.get('fps') or 0:g} frames per second"
        for rate, count in report.get("resampled", {}).items()
    ]
    cut = report.get("cut", {"frames": 0})
    if cut["frames"]:
        lines.append(
            f"{report.get('normalization')} left out {_count(cut['frames'], 'frame')} of "
            f"{_count(cut['sequences'], 'sequence')}: those after the first {ISC_FRAMES}"
        )
    if rounding := report.get("rounding"):
        lines.append(f"{report.get('dtype')} rounds coordinates, by {rounding:.2g} {unit} at most")
    for number, person in enumerate(report.get("persons", ()), 1):
        if person["empty"]:
            lines.append(
                f"person {number}, kept in {_count(person['sequences'], 'sequence')}, is missing "
                f"in {person['empty']:,} of {_count(person['frames'], 'frame')}"
            )
    others = report.get("others_there", {"frames": 0})
    if others["frames"]:
        lines.append(
            f"{_count(others['frames'], 'frame')} of {_count(others['sequences'], 'sequence')} "
            "have nobody, though the files have somebody who was not kept: --associate gives a "
            "person with several ids one slot, --persons keeps more persons"
        )
    lost = report.get("without_center", {"sequences": 0})
    if lost["sequences"]:
        shows, is_ = ("shows", "is") if lost["sequences"] == 1 else ("show", "are")
        lines.append(
            f"{_count(lost['sequences'], 'sequence')} never {shows} the centre joint, and {is_} "
            f"centred on the mean of the joints instead: {_some(lost['some'], lost['sequences'])}"
        )
    jumps = report.get("jumps", {"steps": 0})
    if jumps["steps"]:
        worst = ", ".join(f"{name} ({steps:,})" for name, steps in jumps["worst"])
        several = any(int(number) > 1 for number in report["bodies"])
        advice = "; --associate sorts out persons who swap places" if several else ""
        lines.append(
            f"bodies jump (more than {jumps['limit']}) {_count(jumps['steps'], 'time')} in "
            f"{_count(jumps['sequences'], 'sequence')}, most in {worst}{advice}"
        )
    return lines


def _count(number: int, word: str) -> str:
    if number != 1:
        first, *rest = word.split(" of a ")
        word = " of ".join(
            f"{each}{'es' if each.endswith('s') else 's'}" for each in (first, *rest)
        )
    return f"{number:,} {word}"
