"""tools/demo.py: what its last step needs, the steps before it leave."""

import pytest

from perception.cli import demo, report
from perception.core.structures import DataError


def test_report_is_made_of_what_was_attacked_and_drawn(repo_root, monkeypatch):
    words = ["--out", "elsewhere"]
    *before, last = demo.steps(demo.parse_args(words))
    assert last.command[0] == "tools/report.py"
    args = report.parse_args(last.command[1:])
    results = {str(step.result): step.command[0] for step in before}
    tools = [results[file] for file in args.results]
    assert tools == ["tools/robustness.py", "tools/attack.py"]
    assert results[args.gallery[0]] == "tools/visualize.py"
    assert str(last.result) == args.out == "elsewhere/report.html"


def test_the_last_checkpoint_is_reported(repo_root, monkeypatch):
    """Not the one that did best on the frames of the report."""
    words = ["--epochs", "3", "--out", "elsewhere"]
    steps = demo.steps(demo.parse_args(words))
    last = "elsewhere/train/epoch_3.pth"
    reported = [step.command[0] for step in steps if last in step.command]
    assert reported == ["tools/test.py", "tools/attack.py", "tools/visualize.py"]


def test_shipped_detectors_are_there(repo_root, monkeypatch):
    for file in demo.shipped():
        assert (repo_root / file).is_file(), file


def test_results_of_other_arguments_are_refused(repo_root, tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "steps", lambda args: [])

    def run(*words):
        demo.main(["--out", str(tmp_path), *words])

    run("--epochs", "3")
    run("--epochs", "3")
    with pytest.raises(DataError, match=r"'epochs': 3.* choose another folder"):
        run("--epochs", "4")
    (tmp_path / "demo.json").unlink()
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match=r"without demo\.json"):
        run("--epochs", "3")


def test_attacks_go_on_instead_of_being_taken_as_they_are(repo_root, monkeypatch):
    words = []
    steps = demo.steps(demo.parse_args(words))
    for tool in ("tools/attack.py", "tools/robustness.py"):
        (step,) = [step for step in steps if step.command[0] == tool]
        assert "--resume" in step.command and step.done is None
