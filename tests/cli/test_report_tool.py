"""tools/report.py, end to end."""

import subprocess
import sys

import pytest
from report_makers import make_pairs, robust_results, write_json, write_results


@pytest.fixture
def run(repo_root, tmp_path):
    """Run the tool as a user does; the finished process."""

    def run_tool(*words):
        command = [sys.executable, repo_root / "tools" / "report.py", *words]
        return subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            check=False,
            cwd=tmp_path,
        )

    return run_tool


def test_page_with_pictures(run, tmp_path):
    write_results(tmp_path / "robustness.json", robust_results())
    make_pairs(tmp_path / "seen", 3)
    words = ("--gallery", "seen", "--most-pictures", 2, "--title", "Mine")
    done = run("robustness.json", "--out", "sub/page.html", *words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("sub/page.html (")
    page = (tmp_path / "sub" / "page.html").read_text(encoding="utf-8")
    assert "<title>Mine</title>" in page and "2 of 3 frames are shown" in page


def test_bad_input_is_one_line(run, tmp_path):
    old = {"format": "perception attack results", "version": 1, "command": "make it"}
    write_json(tmp_path / "x.json", old)
    for words, message in (
        (("missing.json",), "missing.json: cannot read results: No such file"),
        (("x.json",), "x.json: expected version 2"),
    ):
        done = run(*words)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1 and f"error: {message}" in done.stderr
    assert not (tmp_path / "report.html").exists()


def test_help_teaches(run):
    text = run("--help").stdout
    assert "examples:" in text and "visualize.py detect" in text
