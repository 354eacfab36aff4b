"""The house: who may import whom, and that no modules import each other in a circle.

The order is that of perception/__init__.py: a room imports from rooms below it only.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

FLOORS = (
    {"core"},
    {"datasets", "models"},
    {"attacks"},
    {"targets"},
    {"corruptions"},
    {"training"},  # its mixes hold corruptions
    {"evaluation"},
    {"visualization"},
    {"cli", "apis"},
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
# Within a floor, and of one package towards its sibling.
STRANGERS = (
    ("perception.models.fusion", "perception.models.consensus"),
    ("perception.models.consensus", "perception.models.fusion"),
)
ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(
        ".__init__"
    ): path
    for path in sorted((ROOT / "perception").rglob("*.py"))
}


def imports_of(name: str) -> Iterator[tuple[str, ast.stmt, bool]]:
    """Modules of ours that one imports, where, and whether at its top level."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            # `from package import module` imports the module.
            names = [
                whole
                if (whole := f"{node.module}.{alias.name}") in MODULES
                else node.module
                for alias in node.names
            ]
        else:
            continue
        for one in names:
            if one in MODULES:
                yield one, node, id(node) in top


def room_of(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


@pytest.mark.parametrize("name", [name for name in MODULES if room_of(name)])
def test_a_room_imports_from_rooms_below_it(name: str) -> None:
    for imported, node, _ in imports_of(name):
        mine, theirs = room_of(name), room_of(imported)
        if not theirs or mine == theirs:
            continue
        assert FLOOR[theirs] < FLOOR[mine], (
            f"{name}, line {node.lineno}: {mine} must not import {imported}"
        )


@pytest.mark.parametrize("here, there", STRANGERS)
def test_fusion_and_consensus_know_nothing_of_each_other(here: str, there: str) -> None:
    for name in MODULES:
        if name.startswith(here):
            bad = [one for one, _, _ in imports_of(name) if one.startswith(there)]
            assert not bad, f"{name} imports {bad}"


def test_no_circle() -> None:
    """A package's face stands for the modules that it hands on."""
    edges = {
        name: {one for one, _, _ in imports_of(name) if one != name} for name in MODULES
    }
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path[path.index(name) :], name])
        if name in done:
            return
        for one in sorted(edges[name]):
            visit(one, (*path, name))
        done.add(name)

    for name in MODULES:
        visit(name, ())


@pytest.mark.parametrize("name", MODULES)
def test_imports_stand_at_the_top(name: str) -> None:
    """But for the start-up time of the command line, and that is said beside it."""
    lines = MODULES[name].read_text(encoding="utf-8").splitlines()
    # The command line's package says it once for all tools.
    if room_of(name) == "cli":
        assert "start-up" in MODULES["perception.cli"].read_text(encoding="utf-8")
        return
    for imported, node, top in imports_of(name):
        if not top:
            said = "\n".join(lines[max(node.lineno - 4, 0) : node.lineno])
            assert "start-up" in said, (
                f"{name}, line {node.lineno}: {imported} is imported inside a function"
            )


def test_every_module_has_a_room() -> None:
    assert {room_of(name) for name in MODULES if room_of(name)} == set(FLOOR)


README = ROOT / "README.md"


def test_readme_names_one_frames_way_in_order() -> None:
    """They exist, as all files that README mentions do."""
    if not README.is_file():
        pytest.skip("there is no README.md: its list of files is not tested")
    text = README.read_text(encoding="utf-8")
    listed = text.partition("<!-- one-frame -->")[2].partition("<!-- /one-frame -->")[0]
    paths = re.findall(r"^\d+\. `([^`]+)`", listed, re.MULTILINE)
    assert len(paths) >= 8
    assert [path for path in paths if not (ROOT / path).is_file()] == []
    mentioned = {
        path
        for path in re.findall(r"`((?:perception|configs|tests)/[^`#]+\.py)`", text)
    }
    assert [path for path in mentioned if not (ROOT / path).is_file()] == []


def test_readme_links_lead_somewhere() -> None:
    """Files, and headings within them."""
    for page in (README, ROOT / "data/README.md", ROOT / "data/zoo/results.md"):
        text = page.read_text(encoding="utf-8")
        for link in re.findall(r"\]\(([^)\s]+)\)", text):
            file, _, heading = link.partition("#")
            if file.startswith("http"):
                continue
            target = (page.parent / file) if file else page
            assert target.exists(), f"{page.name}: {link}"
            if heading:
                anchors = {
                    re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).replace(" ", "-")
                    for line in target.read_text(encoding="utf-8").splitlines()
                    if line.startswith("#")
                }
                assert heading in anchors, f"{page.name}: {link}"
