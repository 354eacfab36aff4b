"""A few kills of the tools that are killed by the hundred by hand: kill_tools.py."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).with_name("kill_tools.py")


@pytest.mark.slow
def test_tools_that_are_killed_lose_and_leave_nothing(tmp_path):
    words = [sys.executable, str(SCRIPT), "--kills", "3", "--seed", "0"]
    ended = subprocess.run(
        [*words, "--tools", "depth", "attack", "--folder", str(tmp_path / "all")],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert ended.returncode == 0, (ended.stdout + ended.stderr)[-3000:]
    assert "0 problems" in ended.stdout
