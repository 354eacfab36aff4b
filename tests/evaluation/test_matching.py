import numpy as np
import pytest
from evaluation_makers import CAR, EASY, objects_of, random_frame, slow_frame

from perception.evaluation.detection.matching import match_frame
from perception.evaluation.detection.rules import Difficulty

BOX = [0, 0, 60, 60]
MOST_OF_BOX = [0, 0, 60, 50]
FAR = [500, 0, 560, 60]
SMALL = [0, 0, 60, 39]


def states(truth, found, threshold=0.0):
    match = match_frame(truth, found, CAR, EASY, threshold)
    return (
        " ".join(match.truth),
        " ".join(match.detections),
        match.taken_by.tolist(),
    )


@pytest.mark.parametrize(
    ("truth", "found", "expected"),
    [
        pytest.param(
            objects_of("Car", [BOX]),
            objects_of("Car Car", [MOST_OF_BOX, BOX], [0.9, 0.1]),
            ("found", "wrong right", [1]),
            id="the best overlap wins, not the score",
        ),
        pytest.param(
            objects_of("Car", [FAR]),
            objects_of("Car", [BOX], [0.9]),
            ("missed", "wrong", [-1]),
            id="missed",
        ),
        pytest.param(
            objects_of("Van", [BOX]),
            objects_of("Car", [BOX], [0.9]),
            ("ignored", "ignored", [0]),
            id="neighbour",
        ),
        pytest.param(
            objects_of("Tram", [BOX]),
            objects_of("Car Tram", [BOX, BOX], [0.9, 0.9]),
            ("ignored", "wrong ignored", [-1]),
            id="other class",
        ),
        pytest.param(
            objects_of("Car", [BOX], occlusion=[1]),
            objects_of("Car", [BOX], [0.9]),
            ("ignored", "ignored", [0]),
            id="occluded",
        ),
        pytest.param(
            objects_of("Car", [BOX], truncation=[0.2]),
            objects_of("Car", [FAR], [0.9]),
            ("ignored", "wrong", [-1]),
            id="truncated",
        ),
        pytest.param(
            objects_of("DontCare", [[0, 0, 200, 200]]),
            objects_of("Car Car", [BOX, [160, 0, 220, 60]], [0.9, 0.8]),
            ("ignored", "ignored wrong", [-1]),
            id="in a region to disregard: over the detection's own area",
        ),
        pytest.param(
            objects_of("Car", [[0, 0, 60, 41]]),
            objects_of("Car", [SMALL], [0.9]),
            ("ignored", "ignored", [0]),
            id="taken by a small detection",
        ),
        pytest.param(
            objects_of("Car", [[0, 0, 60, 41]]),
            objects_of("Car Car", [SMALL, [0, 0, 60, 55]], [0.9, 0.8]),
            ("found", "ignored right", [1]),
            id="a small detection only if there is no other",
        ),
        pytest.param(
            objects_of("Car", [BOX]),
            objects_of("Car", [BOX], [-0.1]),
            ("missed", "rejected", [-1]),
            id="below the threshold",
        ),
        pytest.param(
            objects_of("Car Car", [BOX, [0, 5, 60, 65]]),
            objects_of("Car", [BOX], [0.5]),
            ("found missed", "right", [0, -1]),
            id="nobody is taken twice",
        ),
    ],
)
def test_one_frame_by_hand(truth, found, expected):
    assert states(truth, found) == expected


def test_empty_frames():
    nothing = objects_of("", np.zeros((0, 4)), [])
    assert states(nothing, nothing) == ("", "", [])
    assert states(objects_of("Car", [BOX]), nothing) == ("missed", "", [-1])
    assert states(nothing, objects_of("Car", [BOX], [1])) == ("", "wrong", [])


@pytest.mark.parametrize("seed", range(25))
@pytest.mark.parametrize("metric", ["2d", "bev", "3d"])
def test_agrees_with_a_walk_through_the_frame(seed, metric):
    rng = np.random.default_rng(seed)
    truth = random_frame(rng, is_detection=False)
    found = random_frame(rng, is_detection=True)
    match = match_frame(truth, found, CAR, EASY, 0.4, metric=metric)
    hits, wrong = slow_frame(truth, found, CAR, EASY, metric, 0.4)
    right = np.flatnonzero(match.truth == "found")
    assert list(zip(right, match.taken_by[right], strict=True)) == hits
    assert np.flatnonzero(match.detections == "wrong").tolist() == wrong


def test_bands_of_distance():
    near, far = Difficulty("near", 0, 3, 1, (0, 20)), Difficulty("all", 0, 3, 1)
    depth_m = np.array([-1000.0, 0.0, 19.9, 20.0, 75.0])
    assert near.in_band(depth_m).tolist() == [False, True, True, False, False]
    assert far.in_band(depth_m).all()
    with pytest.raises(ValueError, match="depth_m must be"):
        Difficulty("none", 0, 3, 1, (20, 20))
