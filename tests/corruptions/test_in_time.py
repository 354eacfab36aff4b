"""Failures in time: which reading a sensor shows, and that it stays in its drive."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample

from perception.attacks import AttackBatch
from perception.core.structures import Channel, SensorSpec
from perception.corruptions import NoEffectError, TimeFailure
from perception.corruptions.in_time import DELAYS
from perception.datasets.timeline import Predecessor

SIZE = (8, 16)
SPEC = SensorSpec("eye", "image", (Channel("grey", "grey levels", 0, 255),))
PATTERN = np.arange(SIZE[0] * SIZE[1]).reshape(1, *SIZE) % 5


class Drives:
    """Two drives: frames 0 … 19 and 20 … 39; each frame has a grey level of its own."""

    def __init__(self, lengths=(20, 20)):
        starts = np.cumsum((0, *lengths))
        self.firsts, self.count = set(starts.tolist()), int(starts[-1])
        self.frames = self

    def __len__(self):
        return self.count

    def previous(self, number):
        if number in self.firsts:
            return None
        return Predecessor(number - 1, 0.1, None)

    def __getitem__(self, number):
        return {"inputs": {"eye": torch.tensor(5.0 * number + PATTERN)}}


def batch_of(numbers, drives):
    raw = [drives[number]["inputs"]["eye"].float() for number in numbers]
    samples = [DetDataSample(metainfo={"img_shape": SIZE}) for _ in numbers]
    return AttackBatch(
        {"eye": torch.stack(raw)}, {"eye": raw}, samples, {"eye": SPEC}, list(numbers)
    )


def failure(kind, severity, *, drives=None, **more):
    replay = Drives() if drives is None else drives
    return TimeFailure(
        name="t", sensor="eye", kind=kind, severity=severity, replay=replay, **more
    )


def shown(kind, severity, numbers, **more):
    one = failure(kind, severity, **more)
    return [one.shown(number) for number in numbers]


def test_a_late_sensor_shows_earlier_frames_of_its_drive():
    assert shown("late", 2, range(10, 14)) == [8, 9, 10, 11]
    assert shown("late", 3, (0, 2, 4, 21, 30)) == [0, 0, 0, 20, 26]
    assert shown("late", 2, range(9, 13), begin=11) == [9, 10, 9, 10]


def test_a_replaying_sensor_repeats_what_came_before_the_failure():
    # Severity 4: the four frames before number 10, again and again.
    expected = [9, 6, 7, 8, 9, 6, 7]
    assert shown("replay", 4, range(9, 16), begin=10) == expected


def test_a_frozen_sensor_gets_rarer_readings_and_in_the_end_none():
    assert shown("frozen", 1, range(9, 15), begin=10) == [9, 9, 11, 11, 13, 13]
    assert shown("frozen", 2, range(9, 15), begin=10) == [9, 9, 9, 9, 13, 13]
    assert shown("frozen", 5, (9, 10, 15, 19), begin=10) == [9, 9, 9, 9]
    # In a drive that begins later it never had another reading.
    assert shown("frozen", 5, (20, 25), begin=10) == [20, 20]


def test_a_jittering_sensor_shows_the_newest_that_has_arrived():
    found = shown("jitter", 3, range(4, 20))
    ages = [number - one for number, one in zip(range(4, 20), found, strict=True)]
    assert set(ages) <= set(range(5)) and len(set(ages)) >= 3
    assert all(b >= a for a, b in pairwise(found))
    assert found == shown("jitter", 3, range(4, 20))
    assert found != shown("jitter", 3, range(4, 20), seed=1)


@pytest.mark.parametrize("kind", DELAYS)
def test_nothing_but_an_earlier_reading_of_the_drive_is_shown(kind):
    for severity in range(1, 6):
        for number, one in enumerate(shown(kind, severity, range(40), begin=5)):
            assert (0 if number < 20 else 20) <= one <= number
            if number < 5:
                assert one == number


def test_the_input_is_the_reading_that_is_shown():
    drives = Drives()
    batch = batch_of((9, 10, 15), drives)
    one = failure("late", 2, drives=drives, begin=10)
    failed = one.corrupted({"eye": SPEC}, batch)["eye"]
    expected = batch_of((9, 8, 13), drives).inputs["eye"]
    assert torch.equal(failed, expected)
    assert [one.acts_on(n) for n in (9, 10, 15)] == [False, True, True]


def test_a_drift_grows_in_one_direction():
    drives = Drives()
    batch = batch_of(range(8, 20), drives)
    drift = failure("drift", 5, drives=drives, begin=10)
    clean, failed = batch.inputs["eye"], drift.render(batch)
    assert torch.equal(failed[:2], clean[:2])
    effect = TimeFailure.kinds["drift"]["image"]
    levels = [drift.level(effect, number) for number in (9, 10, 11, 14)]
    np.testing.assert_allclose(levels, [0, 0.2, 0.4, 1.0])
    assert drift.drawn_as(10) == drift.drawn_as(19) == 0
    assert not torch.equal(failed[-1], clean[-1])


def test_a_reading_that_repeats_itself_by_nature_is_no_failure():
    drives = Drives()
    drives.__class__ = type("Still", (Drives,), {"__getitem__": lambda s, n: ITEM})
    batch = batch_of((12,), drives)
    with pytest.raises(NoEffectError, match="late of severity 2 changes nothing"):
        failure("late", 2, drives=drives).corrupted({"eye": SPEC}, batch)


ITEM = {"inputs": {"eye": torch.tensor(PATTERN) + 1.0}}


def test_frames_that_do_not_follow_each_other_are_an_error():
    drives = Drives(lengths=(1,) * 6)
    with pytest.raises(ValueError, match="frame 3 is in no drive"):
        failure("late", 1, drives=drives).shown(3)
    with pytest.raises(ValueError, match="need the data set"):
        TimeFailure(name="t", sensor="eye").shown(3)
    with pytest.raises(ValueError, match="unknown kind 'blackout'; known: late, "):
        failure("blackout", 1)


def test_standard_attacks_name_them(repo_root):
    from perception.evaluation.robustness.attack_file import AttackFile

    file = AttackFile(repo_root / "configs/_base_/attacks/standard.py")
    assert len(file.names(["in_time"])) == 3 * 5 * 5
    built = file.build("lidar_frozen_5", replay=Drives())
    assert built.perturbation.kind == "frozen"
