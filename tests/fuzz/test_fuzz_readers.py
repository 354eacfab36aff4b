"""Damaged files of every kind: one line or a value; by hand: ``fuzz_readers.py``."""

import os

import fuzz_readers
from readers import readers


def test_damaged_files_are_refused_or_read(tmp_path):
    findings, counts = fuzz_readers.fuzz(2000, 1, folder=tmp_path, limit_s=30)
    assert findings == {}
    outcomes = {what for _, what in counts}
    assert outcomes == {"read", "refused"}, "the harness sees both"


def test_no_reader_waits_for_a_pipe_or_takes_a_folder_for_a_file(tmp_path):
    outcomes = {}
    for one in readers(tmp_path):
        content = one.file.read_bytes()
        for make, away in ((os.mkfifo, os.unlink), (os.mkdir, os.rmdir)):
            one.file.unlink()
            make(one.file)
            outcomes[one.name, make.__name__] = fuzz_readers.outcome_of(one, 10)
            away(one.file)
            one.file.write_bytes(content)
    wrong = {k: v for k, v in outcomes.items() if v[0] not in ("read", "refused")}
    assert wrong == {}
    read = {name for (name, _), what in outcomes.items() if what[0] == "read"}
    # Without it the newest checkpoint is taken, and that is said.
    assert read == {"last_checkpoint"}
