"""Results on file as older versions wrote them, and what a report makes of them."""

from __future__ import annotations

import base64
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

EVIL = "<script>alert(1)</script>"


CLASSES = ["wave", EVIL, "sit & stand $x_1$"]


def result(task: str, metrics: dict[str, Any], run: str = "a", **changes: Any) -> dict[str, Any]:
    about = {"run": run, "protocol": "xsub", "test_sequences_seen": 0}
    content = {
        "command": f"evaluate {task}",
        "store": "data",
        "protocol": "xsub",
        "settings": {},
        "test_sequences": 9,
        "class_names": CLASSES,
        "metrics": metrics,
        "weights": [1.0],
        "runs": [about],
        "details": {},
    }
    return content | changes


def write_run(path: Path, *results: dict[str, Any], seed: int | None = None, **config: Any) -> Path:
    (path / "results").mkdir(parents=True)
    if seed is not None:
        seen = {"store": f"data-{seed}", "protocol": "xsub", "sequences": 9, "frames": 99}
        settings = {"method": "pcm3", "train": {"epochs": 2, "seed": seed}, "seen": [seen]}
        (path / "config.json").write_text(json.dumps(settings | config))
    for number, content in enumerate(results):
        (path / "results" / f"{number}.json").write_text(json.dumps(content))
    return path


def table_of(text: str, title: str = "# Results") -> list[list[str]]:
    """The table below a title."""
    _, _, below = text.partition(f"{title}\n")
    lines = [line for line in below.partition("\n#")[0].splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


class Page(HTMLParser):
    """Tags and their attributes; fails where an end does not fit its start."""

    VOID = ("meta", "img", "br", "wbr")

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def images(self) -> list[str]:
        start = "data:image/svg+xml;base64,"
        sources = [attributes["src"] or "" for tag, attributes in self.tags if tag == "img"]
        assert all(source.startswith(start) for source in sources)
        return [base64.b64decode(source[len(start) :]).decode() for source in sources]


def check_page(text: str) -> Page:
    """It parses, runs nothing, and asks nobody for anything."""
    page = Page(text)
    names = [tag for tag, _ in page.tags]
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(names)
    for _, attributes in page.tags:
        assert not [name for name in attributes if name.startswith("on") or name == "href"]
    assert "url(" not in text
    assert "@import" not in text
    for image in page.images():
        for element in ElementTree.fromstring(image).iter():
            assert not str(element.tag).endswith("script")
            for name, value in element.attrib.items():
                if name.endswith("href"):
                    assert value.startswith(("#", "data:image/png"))
    return page
