"""tools/demo.py: what its last step needs, the steps before it leave."""

import sys


def test_report_is_made_of_what_was_attacked_and_drawn(repo_root, monkeypatch):
    monkeypatch.syspath_prepend(str(repo_root / "tools"))
    import demo
    import report

    monkeypatch.setattr(sys, "argv", ["demo.py", "--out", "elsewhere"])
    *before, last = demo.steps(demo.parse_args())
    assert last.command[0] == "tools/report.py"
    args = report.parse_args(last.command[1:])
    results = {str(step.result): step.command[0] for step in before}
    tools = [results[file] for file in args.results]
    assert tools == ["tools/robustness.py", "tools/attack.py"]
    assert results[args.gallery[0]] == "tools/visualize.py"
    assert str(last.result) == args.out == "elsewhere/report.html"


def test_shipped_detectors_are_there(repo_root, monkeypatch):
    monkeypatch.syspath_prepend(str(repo_root / "tools"))
    import demo

    for file in demo.shipped():
        assert (repo_root / file).is_file(), file
