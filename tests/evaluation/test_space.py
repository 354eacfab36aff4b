"""Boxes in metres in records, figures and tables: by hand."""

import json
from dataclasses import replace

import numpy as np
import pytest

from perception.core.structures import Objects
from perception.evaluation.detection.rules import Scoring
from perception.evaluation.robustness.figures import attack_result
from perception.evaluation.robustness.records import FrameRecord, Measured
from perception.evaluation.robustness.space import displacement, space_ap

NEAR, FAR = [0.0, 0.0, 60.0, 60.0], [100.0, 0.0, 150.0, 50.0]
SCORING = Scoring({"Car": 0.5})
NOTHING = Objects.from_boxes([], np.zeros((0, 4)), [])


def cars(*x_m: float, boxes_px=(NEAR, FAR), depths_m=(10.0, 20.0), scored=True):
    """Cars so far to the right, the first one near."""
    count = len(x_m)
    space = [[x, 1.6, depths_m[n], 1.5, 1.8, 4.0, 0.3] for n, x in enumerate(x_m)]
    objects = Objects.from_boxes(
        ["Car"] * count,
        np.array(boxes_px[:count]),
        np.full(count, 0.5) if scored else None,
        np.array(space, dtype=np.float32),  # as a detector yields them
    )
    unset = dict(truncation=np.zeros(count), occlusion=np.zeros(count, int))
    return objects if scored else replace(objects, **unset)


def record(clean, attacked, n=0) -> FrameRecord:
    return FrameRecord(
        frame_id=f"{n:06d}",
        index=n,
        truth=cars(0.0, 3.0, scored=False),
        clean=clean,
        attacked=attacked,
        gate_clean=None,
        gate_attacked=None,
        loss_clean=1.0,
        loss_attacked=2.0,
        value=1.0,
        change={"camera": {"red": 4.0}},
        seconds=0.25,
    )


def test_json_gives_back_boxes_in_metres():
    one = record(cars(0.1, 3.2), NOTHING)
    read = FrameRecord.from_json(json.loads(json.dumps(one.to_json())))
    np.testing.assert_allclose(read.clean.boxes_3d, one.clean.boxes_3d, rtol=1e-6)
    np.testing.assert_allclose(read.clean.alpha, one.clean.alpha, rtol=1e-6)
    assert read.to_json() == one.to_json()
    assert "boxes_3d" not in one.to_json()["attacked"]


def test_how_far_the_nearest_object_is_moved():
    """2 m, then 4 m, from where it was said to be; once lost; what is far is left."""
    clean = cars(0.5, 3.0)
    records = [
        record(clean, cars(2.5, 9.0)),
        record(clean, cars(0.5, 3.0, depths_m=(14.0, 20.0))),
        record(clean, cars(3.0, boxes_px=(FAR,), depths_m=(20.0,))),
        record(NOTHING, clean),  # was not found before
    ]
    moved = displacement(records, SCORING)
    assert (moved.frames, moved.lost) == (2, 1)
    assert (moved.mean_m, moved.most_m) == (pytest.approx(3.0), pytest.approx(4.0))


def test_image_boxes_alone_have_no_figures_in_metres():
    flat = Objects.from_boxes(["Car"], [NEAR], [0.9])
    assert displacement([record(flat, flat)], SCORING) is None
    assert space_ap([cars(0.0, scored=False)], [flat], SCORING) is None


def test_figures_of_an_attack_that_moves_everything_by_three_metres():
    clean, moved = cars(0.0, 3.0), cars(3.0, 6.0)
    records = [record(clean, moved, n) for n in range(41)]
    description = {"type": "PGD", "threat": {"goal": "displace"}}
    found = attack_result(
        Measured("x", ("camera",), description, records), ["camera"], SCORING
    )
    before, after = found.ap.clean.space, found.ap.attacked.space
    assert (before.bev, before.volume) == (100, 100)
    assert set(before.centers.values()) == {100}
    assert before.translation_m == pytest.approx(0)
    assert (after.bev, after.volume) == (0, 0)
    # The near car, said to be where the far one is seen from above, is 10 m too near.
    assert list(after.centers.values())[:3] == [0, 0, 0]
    assert after.centers["4 m"] == 100
    assert (before.interval, after.interval) == ((100, 100), (0, 0))
    assert found.ap.attacked.headline.mean == 100  # image boxes stay
    assert found.displacement.mean_m == pytest.approx(3.0)
    assert found.displacement.frames == 41
