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
    assert {results[folder] for folder in args.gallery} == {"tools/visualize.py"}
    assert str(last.result) == args.out == "elsewhere/report.html"


def test_quick_is_the_first_part_and_trains_nothing():
    args = demo.parse_args(["--quick", "--out", "elsewhere"])
    quick = demo.steps(args)
    args.quick = False
    assert demo.steps(args)[: len(quick)] == quick
    tools = [step.command[0] for step in quick]
    assert tools == [
        "tools/create_data.py",
        "tools/visualize.py",  # something to see, second of all
        "tools/robustness.py",
        "tools/report.py",
    ]


def test_comparisons_are_on_enough_frames_to_tell_detectors_apart():
    """With fewer objects than R40 has steps, AP is low even for a perfect detector."""
    for step in demo.steps(demo.parse_args([])):
        if step.command[0] in ("tools/robustness.py", "tools/attack.py"):
            assert int(step.command[step.command.index("--num") + 1]) >= 24


def test_first_comparison_is_not_done_again_once_there_are_more_attacks(tmp_path):
    """The tool refuses words that leave out an attack of its folder."""
    steps = demo.steps(demo.parse_args(["--out", str(tmp_path)]))
    first, last = [s for s in steps if s.command[0] == "tools/robustness.py"]
    assert first.done == last.result
    assert last.done is None


def test_results_to_look_at_are_named_at_once(tmp_path, monkeypatch, capsys):
    (tmp_path / "a.png").touch()
    monkeypatch.setattr(demo, "REPO", tmp_path)
    demo.run(demo.Step("draw", ["-c", ""], tmp_path, look=True))
    demo.run(demo.Step("write", ["-c", ""], tmp_path / "page.html", look=True))
    looks = [x for x in capsys.readouterr().out.splitlines() if "LOOK" in x]
    assert looks == [
        f"   LOOK: {tmp_path / 'a.png'}", f"   LOOK: {tmp_path / 'page.html'}"
    ]  # fmt: skip


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
    (tmp_path / "look").mkdir()
    with pytest.raises(DataError, match=r"without demo\.json"):
        run("--epochs", "3")


def test_attacks_go_on_instead_of_being_taken_as_they_are(repo_root, monkeypatch):
    words = []
    steps = demo.steps(demo.parse_args(words))
    for tool in ("tools/attack.py", "tools/robustness.py"):
        *_, step = [step for step in steps if step.command[0] == tool]
        assert "--resume" in step.command and step.done is None
