"""tools/report.py, end to end."""

import subprocess
import sys

from report_makers import make_pairs, robust_results, write_json, write_results
from tool_runner import status_of

from perception.cli import report as tool


def test_page_with_pictures_as_a_user_makes_it(repo_root, tmp_path):
    write_results(tmp_path / "robustness.json", robust_results())
    make_pairs(tmp_path / "seen", 3)
    words = ["robustness.json", "--out", "sub/page.html", "--gallery", "seen"]
    words += ["--most-pictures", 2, "--title", "Mine"]
    done = subprocess.run(
        [sys.executable, repo_root / "tools" / "report.py", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sub/page.html (")
    page = (tmp_path / "sub" / "page.html").read_text(encoding="utf-8")
    assert "<title>Mine</title>" in page and "2 of 3 frames are shown" in page


def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    old = {"format": "perception attack results", "version": 1, "command": "make it"}
    write_json(tmp_path / "x.json", old)
    for words, message in (
        (("missing.json",), "missing.json: cannot read results: No such file"),
        (("x.json",), "x.json: expected version 2"),
    ):
        assert status_of(tool.main, *words) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and f"error: {message}" in error
    assert not (tmp_path / "report.html").exists()


def test_help_teaches(capsys):
    assert status_of(tool.main, "--help") == 0
    text = capsys.readouterr().out
    assert "examples:" in text and "visualize.py detect" in text
