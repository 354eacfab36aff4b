"""Every command that README and data/README name is one that its tool takes."""

import argparse
import importlib
import re
import shlex
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "data/README.md", "data/zoo/results.md", "data/zoo/action.md")


class ParsedError(Exception):
    """Raised in place of what a tool would do now."""


def commands():
    """(page, words) of each line of a code block, and of code in the text."""
    for page in PAGES:
        text = (REPOSITORY / page).read_text(encoding="utf-8").replace("\\\n", " ")
        # Code within a text may be broken by its lines.
        inline = r"(?<!`)`[^`]+`(?!`)"
        text = re.sub(inline, lambda code: code[0].replace("\n", " "), text)
        found = re.findall(
            r"(?:^|`|; |&& )\s*python (tools/\w+\.py[^\n`;&]*)", text, re.M
        )
        for line in found:
            yield page, shlex.split(line, comments=True)


FOUND = list(commands())


def test_there_are_some():
    assert len(FOUND) > 30
    named = {words[0] for page, words in FOUND if page == "README.md"}
    assert {"tools/train.py", "tools/attack.py", "tools/create_data.py"} <= named


@pytest.mark.parametrize(
    ("page", "words"), FOUND, ids=[f"{p}: {' '.join(w)[:60]}" for p, w in FOUND]
)
def test_the_tool_takes_it(page, words, monkeypatch):
    parse = argparse.ArgumentParser.parse_known_args

    def parse_only(self, args=None, namespace=None):
        parsed = parse(self, args, namespace)
        if self.prog.count(" ") == 0:  # not a sub-command's
            assert not parsed[1], f"unknown arguments {parsed[1]}"
            raise ParsedError
        return parsed

    monkeypatch.setattr(argparse.ArgumentParser, "parse_known_args", parse_only)
    monkeypatch.setattr("sys.argv", ["tool.py", *words[1:]])
    tool, *arguments = words
    assert (REPOSITORY / tool).is_file()
    for word in arguments:
        if word.startswith(("configs/", "data/zoo/")) and "NAME" not in word:
            assert (REPOSITORY / word).is_file(), f"{page} names {word}"
    main = importlib.import_module(f"perception.cli.{Path(tool).stem}").main
    with pytest.raises(ParsedError):
        main(arguments)
