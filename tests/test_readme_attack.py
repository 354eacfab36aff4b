"""The ten lines that attack a detector run, in data/README and in the docstring."""

import re
import textwrap

import pytest
import torch
from attacked_project import make_project
from data_readme import block

import perception.attacks

PATHS = re.compile(r"^config, checkpoint = .+$", re.MULTILINE)


def from_readme() -> str:
    return block("attack-ten-lines")


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
