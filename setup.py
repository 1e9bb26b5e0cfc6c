"""The long description: README without pictures, captions and links, whose files an index lacks."""

import re
from pathlib import Path

from setuptools import setup

readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
readme = re.sub(r"!\[[^]]*\]\((?!https?://)[^)]*\)\n+(\*[^*]+\*\n+)?", "", readme)
setup(
    long_description=re.sub(r"\[([^]]*)\]\((?!https?://)[^)]*\)", r"\1", readme),
    long_description_content_type="text/markdown",
)
