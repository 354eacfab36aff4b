"""The code that README.md and data/README.md show."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "data/README.md")


def block(name: str) -> str:
    """The Python between ``<!-- name -->`` and ``<!-- /name -->``."""
    text = "".join((ROOT / page).read_text(encoding="utf-8") for page in PAGES)
    marked = rf"<!-- {name} -->\s*```python\n(.*?)```\s*<!-- /{name} -->"
    (found,) = re.findall(marked, text, re.DOTALL)
    return found
