"""The 25 lines that wrap and attack somebody's own detector run as they stand."""

import re
import sys

import pytest
from attacked_project import make_project
from data_readme import block

from perception.cli import check_target

DETECTOR = "from torch_detectors import GridDetector as Detector\n"


def test_they_run(tmp_path, monkeypatch, capsys):
    code = block("attack-your-detector")
    assert sum(bool(line.strip()) for line in code.splitlines()) <= 25
    config = make_project(tmp_path, "camera_only").config
    code = code.replace("configs/synthetic/camera_only.py", str(config))
    assert str(config) in code
    # The frames of this test are 64 x 32.
    code, count = re.subn(r"size=\(192, 640\)", "size=(64, 96)", code)
    assert count == 1
    (tmp_path / "my_target.py").write_text(code)
    (tmp_path / "my_detector.py").write_text(DETECTOR)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("my_target", "my_detector"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    exec(compile(code, "my_target.py", "exec"), {"__name__": "__main__"})
    assert capsys.readouterr().out.count("detection losses under attack") == 2
    words = ["--target", "my_target:build", "--data", str(config), "--num", "2"]
    with pytest.raises(SystemExit):
        check_target.main([*words, "--no-audit"])
    assert "PASS  gradient is true on camera" in capsys.readouterr().out
