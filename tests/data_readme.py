"""The code that data/README.md shows."""

import re
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "data/README.md"


def block(name: str) -> str:
    """The Python between ``<!-- name -->`` and ``<!-- /name -->``."""
    found = re.search(
        rf"<!-- {name} -->\s*```python\n(.*?)```\s*<!-- /{name} -->",
        README.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    assert found, f"data/README.md has no block {name}"
    return found[1]
