"""The ten lines that attack a detector run, in the README and in the docstring."""

import re
import textwrap
from pathlib import Path

import pytest
import torch
from attacked_project import make_project

import perception.attacks

README = Path(__file__).resolve().parent.parent / "README.md"
PATHS = re.compile(r"^config, checkpoint = .+$", re.MULTILINE)


def from_readme() -> str:
    if not README.is_file():
        pytest.skip("there is no README.md yet: its ten lines are not tested")
    marked = re.search(
        r"<!-- attack-ten-lines -->\s*```python\n(.*?)```\s*<!-- /attack-ten-lines -->",
        README.read_text(encoding="utf-8"),
        re.DOTALL,
    )
    if marked is None:
        pytest.skip("README.md has no attack-ten-lines block yet: not tested")
    return marked[1]


def from_docstring() -> str:
    text = perception.attacks.__doc__.split("ten lines:\n", 1)[1]
    return textwrap.dedent(text)


@pytest.mark.parametrize("snippet_of", [from_readme, from_docstring])
def test_ten_lines_attack_a_detector(snippet_of, tmp_path, capsys):
    snippet = snippet_of()
    assert len([line for line in snippet.splitlines() if line.strip()]) <= 12
    project = make_project(tmp_path)
    paths = f"config, checkpoint = {str(project.config)!r}, {str(project.checkpoint)!r}"
    changed, count = PATHS.subn(lambda _: paths, snippet)
    assert count == 1, "the ten lines must say which config and checkpoint they use"
    names: dict = {}
    exec(changed, names)
    clean, attacked = names["batch"].inputs, names["result"].inputs
    change = (attacked["camera"] - clean["camera"]).abs()
    assert 0 < change.max() <= 16
    assert all(torch.equal(attacked[n], clean[n]) for n in clean if n != "camera")
    assert len(capsys.readouterr().out.splitlines()) >= 4
