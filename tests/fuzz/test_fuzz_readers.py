"""Damaged files of every kind: one line or a value; by hand: ``fuzz_readers.py``."""

import fuzz_readers


def test_damaged_files_are_refused_or_read(tmp_path):
    findings, counts = fuzz_readers.fuzz(800, 1, folder=tmp_path, limit_s=30)
    assert findings == {}
    outcomes = {what for _, what in counts}
    assert outcomes == {"read", "refused"}, "the harness sees both"
