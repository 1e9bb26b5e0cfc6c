"""Stores as they were once written."""

import json
from pathlib import Path


def edit_meta(store: Path, *without: str, **changes: object) -> None:
    """Change what a store says about itself; it then has no checksums, as stores once had not."""
    meta = json.loads((store / "meta.json").read_text(encoding="utf-8"))
    dropped = {"checksum", "checksums", *without}
    kept = {key: value for key, value in meta.items() if key not in dropped}
    (store / "meta.json").write_text(json.dumps({**kept, **changes}), encoding="utf-8")
