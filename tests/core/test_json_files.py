"""Reading JSON: a value, or one line that says what is wrong with which file."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from perception.core.files import (
    _remove_leftovers,
    read_json,
    replacing,
    write_json,
)
from perception.core.structures import DataError


def test_what_is_written_is_read(tmp_path):
    value = {"name": "Zürich", "list": [1, 2.5, None, True]}
    write_json(tmp_path / "it.json", value)
    assert read_json(tmp_path / "it.json") == value


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(None, "No such file", id="missing"),
        pytest.param(b"", "not JSON", id="empty"),
        pytest.param(b'{"a": ', "not JSON", id="cut off"),
        pytest.param(b'"\xff"', "not JSON .*utf-8", id="no UTF-8"),
        pytest.param("{}".encode("utf-16"), "not JSON", id="UTF-16"),
        pytest.param(b"[" * 10 * sys.getrecursionlimit(), "nested too deep", id="deep"),
    ],
)
def test_a_bad_file_is_named(tmp_path, content, reason):
    path = tmp_path / "it.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"it\.json: cannot read a patch: {reason}"):
        read_json(path, what="a patch")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(DataError, match="cannot read JSON: Is a directory"):
        read_json(tmp_path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(DataError, match="not a regular file"):
        read_json(tmp_path / "pipe.json", what="anything")


def test_temporary_names_cannot_be_foretold(tmp_path):
    names = set()
    for _ in range(2):
        with replacing(tmp_path / "a.json") as temporary:
            assert temporary.is_file() and not temporary.is_symlink()
            names.add(temporary.name)
    assert len(names) == 2 and os.listdir(tmp_path) == ["a.json"]


def test_what_a_killed_process_left_is_removed_by_the_next_one(tmp_path):
    script = (
        "import os, sys\n"
        "from perception.core.files import replacing\n"
        "with replacing(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half')\n"
        "    {end}\n"
    )
    kept = tmp_path / ".mine.tmp.json"
    kept.touch()
    words = [sys.executable, "-c", script.format(end="os._exit(9)")]
    subprocess.run([*words, str(tmp_path / "a.json")], check=False)
    assert len(left := set(tmp_path.iterdir()) - {kept}) == 1
    wait = script.format(end="print(temporary, flush=True); sys.stdin.read()")
    with subprocess.Popen(
        [sys.executable, "-c", wait, str(tmp_path / "b.json")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        being_written = Path(writer.stdout.readline().strip())
        assert set(tmp_path.iterdir()) == {kept, being_written} and left
        # Another file in the folder, and another process at work on its own.
        subprocess.run([*words, str(tmp_path / "c.json")], check=False)
        assert being_written.read_text() == "half"
        writer.communicate()
    assert (tmp_path / "b.json").read_text() == "half"
    _remove_leftovers.cache_clear()
    write_json(tmp_path / "d.json", 1)
    assert {path.name for path in tmp_path.iterdir()} == {kept.name, "b.json", "d.json"}
