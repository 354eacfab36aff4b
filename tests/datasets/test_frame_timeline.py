"""Which frame came before which."""

import numpy as np
import pytest

from perception.core.structures import DataError
from perception.datasets.timeline import (
    Instant,
    predecessors,
    read_timeline,
    write_timeline,
)


def shifted(z_m):
    pose = np.eye(4)
    pose[2, 3] = z_m
    return pose


INSTANTS = [
    Instant("b", "one", 200, shifted(3.1)),
    Instant("a", "one", 100, shifted(1.0 / 3)),
    Instant("c", "two", 150),
    Instant("d", "two", 250),
    Instant("e", "one", 300),
]


def test_a_file_reads_back_as_written(tmp_path):
    write_timeline(tmp_path / "t.csv", INSTANTS)
    for read, made in zip(read_timeline(tmp_path / "t.csv"), INSTANTS, strict=True):
        same = (read.frame_id, read.sequence, read.time_ns)
        assert same == (made.frame_id, made.sequence, made.time_ns)
        if made.world_T_cam is None:
            assert read.world_T_cam is None
        else:
            np.testing.assert_array_equal(read.world_T_cam, made.world_T_cam)


def test_the_latest_earlier_frame_of_the_same_drive():
    found = predecessors(INSTANTS, ["a", "c", "b", "d", "e"])
    assert {n: one.number for n, one in found.items()} == {2: 0, 3: 1, 4: 2}
    assert found[2].seconds == pytest.approx(1e-7)
    # Driving ahead (z), what was there is nearer now.
    assert found[2].now_T_before[2, 3] == pytest.approx(1.0 / 3 - 3.1)
    assert found[3].now_T_before is None
    assert found[4].now_T_before is None
    assert {n: one.number for n, one in predecessors(INSTANTS, ["a", "e"]).items()} == {
        1: 0
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not a timeline"),
        ("frame,sequence,time_ns,world_T_cam\na,s,x,\n", "line 2: expected"),
        ("frame,sequence,time_ns,world_T_cam\na,s\n", "line 2: expected"),
        ("frame,sequence,time_ns,world_T_cam\na,s,1,1 2\n", "12 finite numbers"),
        ("frame,sequence,time_ns,world_T_cam\n../a,s,1,\n", "one name"),
        ("frame,sequence,time_ns,world_T_cam\na,s,1,\na,s,2,\n", "a is there twice"),
    ],
)
def test_a_damaged_file(tmp_path, text, said):
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(DataError, match=said):
        read_timeline(tmp_path / "t.csv")
