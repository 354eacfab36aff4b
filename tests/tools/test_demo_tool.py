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
    assert results[args.results[0]] == "tools/attack.py"
    assert results[args.gallery[0]] == "tools/visualize.py"
    assert str(last.result) == args.out == "elsewhere/report.html"
