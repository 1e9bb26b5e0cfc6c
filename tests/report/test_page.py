"""The page of a report: it needs nothing else, and no word of a result becomes markup."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from html import escape
from itertools import cycle
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from written_results import EVIL, Page, check_page, result, table_of, write_run

from pcm3.cli import main
from pcm3.evaluation.tasks.registry import TASKS
from pcm3.report.entries import read_entries
from pcm3.report.page import make_page, write_report
from pcm3.report.pictures import draw_pictures
from pcm3.report.table import markdown
from pcm3.viz.figures import PALETTE


def test_names_are_escaped(tmp_path: Path) -> None:
    counts = [[2, 1, 0], [0, 3, 0], [1, 0, 2]]
    content = result(
        "linear",
        {"top1": 7 / 9, "per_class": [2 / 3, 1.0, 2 / 3]},
        store=f"{EVIL}|*",
        protocol="</style>",
        details={"confusion": counts},
    )
    path = write_run(tmp_path / "a<b>&\"'", content)
    results = read_entries([path])
    page = check_page(make_page(results))
    assert EVIL in page.text  # in words
    assert "a<b>&\"'" in page.text
    assert "</style>, " not in make_page(results)
    row = table_of(markdown(results))[2]
    assert row[0] == r"&lt;script&gt;alert(1)&lt;/script&gt;\|\*"
    written = ["".join(ElementTree.fromstring(image).itertext()) for image in page.images()]
    assert all(EVIL in text for text in written)
    assert all("sit & stand $x_1$" in text for text in written)  # no formula


def test_the_page_is_the_same_again(tmp_path: Path) -> None:
    metrics = {"top1": 0.5, "per_class": [0.5, 0.25, None]}
    path = write_run(tmp_path / "a", result("linear", metrics))
    page = make_page(read_entries([path]))
    assert "<img" in page
    assert page == make_page(read_entries([path]))


def test_the_page_tells_settings_and_all_figures(tmp_path: Path) -> None:
    metrics = {"top1": 0.5, "vote": 0.25, "map": 0.125, "recall_at_1": 0.75}
    path = write_run(tmp_path / "a", result("knn", metrics, settings={"k": 7, "seed": 0}))
    page = check_page(make_page(read_entries([path])))
    for text in ("k 7", "top1", "50.0%", "recall_at_1", "75.0%"):
        assert text in page.text
    assert "seed 0" not in page.text


def test_a_run_has_its_colour_in_every_store(tmp_path: Path) -> None:
    figures = {"spatial_top1": 0.5}
    occluded = [result("occlusion", figures, store=store) for store in ("one", "two")]
    paths = [write_run(tmp_path / "a", occluded[0]), write_run(tmp_path / "b", *occluded)]
    _, both, alone = check_page(make_page(read_entries(paths))).images()
    first, second = (color.lower() for color in PALETTE[1:3])
    assert first in both
    assert second in both
    assert first not in alone
    assert second in alone


def test_names_of_tables_stay_in_view(tmp_path: Path) -> None:
    text = make_page(read_entries([write_run(tmp_path / "a", result("linear", {"top1": 0.5}))]))
    (names,) = re.findall(r"([^}]*) \{ position: sticky; left: 0;", text)
    assert ".figures :is(th, td):nth-child(-n+2)" in names
    assert ".runs th:first-child" in names
    assert re.findall('<table class="(.*?)">', text) == ["runs", "figures"]


def test_names_break_at_slashes_alone(tmp_path: Path) -> None:
    metrics = {"top1": 0.5, "per_class": [0.5, 0.25, None]}
    path = write_run(tmp_path / "seed-0", result("linear", metrics))
    text = make_page(read_entries([path]))
    assert "<span>seed-0/</span><span>results/</span><span>0.json.</span>" in text
    assert '<th scope="col"><span>seed-0</span></th>' in text


def test_command(seeds: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "some where"
    assert main(["report", *map(str, seeds), "--out", str(out), "--json"]) == 0
    said = capsys.readouterr().out
    told = json.loads(said.splitlines()[-1])
    assert told["command"] == "report"
    assert told["out"] == str(out)
    assert told["metrics"]["pcm3"]["data xsub linear top1"] == pytest.approx(0.78)
    assert told["metrics"]["mamp-0"] == {"data xsub linear top1": 0.5}
    assert sorted(file.name for file in out.iterdir()) == [
        *("report.csv", "report.html", "report.json", "report.md", "report.tex"),
    ]
    headlines, others = (out / "report.md").read_text().split("\n## ", 1)
    assert headlines in said
    assert others not in said
    check_page((out / "report.html").read_text())


def test_command_without_results(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.joinpath("run").mkdir()
    assert main(["report", str(tmp_path / "run"), "--out", str(tmp_path / "out")]) == 2
    assert "expected a run folder with results, got none" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def plain(evaluated: list[Path]) -> Page:
    """The page of one run."""
    return check_page(make_page(read_entries(evaluated[:1])))


def test_the_whole_page(evaluated: list[Path]) -> None:
    read = read_entries(evaluated)
    drawn = [*draw_pictures(read.entries)]
    page = check_page(make_page(read))
    assert len(page.images()) == sum(len(each.figures) for each in drawn)
    for each in drawn:
        assert each.caption in page.text
        assert "From run-0/results/" in each.caption
    opened = sum(tag == "details" and "open" in attributes for tag, attributes in page.tags)
    assert opened == 11  # each kind once


@pytest.mark.parametrize("task", TASKS)
def test_results_without_details_have_a_table_all_the_same(task: str, tmp_path: Path) -> None:
    name = TASKS[task].headline[0]
    content = result(task, {name: 0.5}, class_names=[])
    path = write_run(tmp_path / "a", content)
    page = check_page(make_page(read_entries([path])))
    assert name in page.text
    shown = 1 if task == "occlusion" and name in ("top1", "spatial_top1") else 0
    assert len(page.images()) == shown


def test_letters_that_the_font_lacks_and_control_characters(tmp_path: Path) -> None:
    names = ["挥手", "a\x00b\nc", "x" * 99]
    content = result(
        "linear",
        {"top1": 0.5, "per_class": [1.0, None, 0.5]},
        class_names=names,
        details={"confusion": [[1, 0, 0], [0, 1, 0], [1, 0, 1]]},
    )
    path = write_run(tmp_path / "a", content)
    page = check_page(make_page(read_entries([path])))
    confusion = "".join(ElementTree.fromstring(page.images()[1]).itertext())
    assert "挥手" in confusion
    assert "ab c" in confusion
    assert "x" * 27 + "…" in confusion


def test_what_tasks_say_is_said_once(tmp_path: Path) -> None:
    said = ["2 of 9 test sequences", "worse than <nothing>"]
    paths = [
        write_run(tmp_path / name, result("linear", {"top1": 0.5}, name, notes=said), seed=number)
        for number, name in enumerate(("a-0", "a-1"))
    ]
    results = read_entries(paths)
    page = check_page(make_page(results))
    for note in said:
        assert page.text.count(f"linear: {note}") == 1
        assert markdown(results).count(f"linear: {escape(note)}") == 1


HOSTILE = (
    *(EVIL, '"><img src=x onerror=alert(1)>', "'><svg/onload=alert(1)>", "</style><b>", "-->"),
    *("</title></body></html><iframe src=//x>", "]]></text><script/>", "&lt;script&gt;", "&#60;b>"),
    *("<!--", "<?xml", "\u202etxt.exe\u2066", "a\x00\x08\x1b[31mb", "\ud800<b>", "{body}"),
    *("$\\frac{$", "<math><mtext></form>", 'x" style="color:red" y="', "javascript:alert(1)"),
    *("\u2028<b>", "<a href=//x>" * 200),
)


_KEPT = ("command", "bones", "center", "kind")


def hostile(value: Any, texts: Iterator[str], key: str = "") -> Any:
    """The same with all words replaced, but for those that say which task it is."""
    if isinstance(value, dict):
        return {name: hostile(each, texts, name) for name, each in value.items()}
    if isinstance(value, list):
        return [hostile(each, texts, key) for each in value]
    return next(texts) if isinstance(value, str) and key not in _KEPT else value


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(at, marks=pytest.mark.slow) for at in range(1, len(HOSTILE)))]
)
def test_no_word_of_a_result_becomes_markup(
    evaluated: list[Path], plain: Page, tmp_path: Path, first: int
) -> None:
    """Every word is replaced by the next of those that are hostile, whatever it names."""
    texts = cycle([*HOSTILE[first:], *HOSTILE[:first]])
    name = "".join(letter for letter in HOSTILE[first] if letter not in "/\x00\ud800")[:80]
    run = tmp_path / f"{name}x"
    (run / "results").mkdir(parents=True)
    config = {"method": next(texts), "train": {"seed": 0}, "protocol": next(texts)}
    (run / "config.json").write_text(json.dumps(config))
    store, protocol = next(texts), next(texts)
    for file in (evaluated[0] / "results").glob("*.json"):
        content = hostile(json.loads(file.read_text()), texts)
        content |= {"store": store, "protocol": protocol, "notes": [next(texts)]}
        content["settings"] |= {next(texts): next(texts), "other": list(HOSTILE)}
        content["metrics"] |= {next(texts): 0.5, f"top1_at_{next(texts)}": 0.25}
        (run / "results" / file.name).write_text(json.dumps(content))
    report = write_report([run], tmp_path / "out")
    page = check_page(report.page.read_text(encoding="utf-8"))
    assert {tag for tag, _ in page.tags} <= {tag for tag, _ in plain.tags}
    allowed = {(tag, name) for tag, given in plain.tags for name in given}
    assert {(tag, name) for tag, given in page.tags for name in given} <= allowed
    classes = {(tag, given.get("class")) for tag, given in plain.tags}
    assert {(tag, given.get("class")) for tag, given in page.tags} <= classes
    assert len(page.images()) > 10
    for image in page.images():
        kinds = {str(element.tag) for element in ElementTree.fromstring(image).iter()}
        assert all(kind.startswith("{") for kind in kinds)
        assert not {kind.rpartition("}")[2] for kind in kinds} & {"script", "foreignObject", "b"}
    for text in HOSTILE:
        if "\x00" not in text and "\ud800" not in text:
            assert " ".join(text.split()) in " ".join(page.text.split())  # told as it is
    table = report.table.read_text(encoding="utf-8")
    assert not re.search("<[a-z!/?]", table)
    assert json.loads(report.data.read_text(encoding="utf-8"))["results"]
