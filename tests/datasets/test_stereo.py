"""Stereo depth on pairs whose disparity is known."""

import cv2
import numpy as np
import pytest

from perception.core.structures import Calibration, DataError
from perception.datasets.stereo import stereo_depth

FX_PX, BASELINE_M = 200.0, 0.5


def calibration(right=True):
    left_P = np.array([[FX_PX, 0, 80, 0], [0, FX_PX, 30, 0], [0, 0, 1, 0]])
    right_P = left_P.copy()
    right_P[0, 3] = -FX_PX * BASELINE_M
    return Calibration(left_P, right_P_cam=right_P if right else None)


def textured_pair(height=60, width=160, disparity_px=10):
    rng = np.random.default_rng(0)
    world = rng.integers(0, 256, (height, width + disparity_px, 3), dtype=np.uint8)
    return world[:, :width], world[:, disparity_px:]


def test_a_constant_disparity_gives_its_depth():
    # 200 px * 0.5 m / 10 px = 10 m
    depth_m = stereo_depth(*textured_pair(), calibration())
    assert depth_m.shape == (60, 160)
    assert depth_m.dtype == np.float32
    matched = depth_m > 0
    assert matched[:, 12:].mean() > 0.9
    np.testing.assert_allclose(np.median(depth_m[matched]), 10, rtol=0.01)


def test_depths_beyond_the_limit_count_as_no_match():
    depth_m = stereo_depth(*textured_pair(), calibration(), max_depth_m=9.0)
    assert depth_m.max() <= 9.0
    assert (depth_m > 0).mean() < 0.1


def test_a_picture_without_texture_has_no_depth():
    grey = np.full((60, 160, 3), 128, dtype=np.uint8)
    assert not stereo_depth(grey, grey, calibration()).any()


@pytest.mark.parametrize("size", [(32, 64), (16, 16), (1, 1), (5, 300), (200, 3)])
def test_tiny_pictures_do_not_crash(size):
    rng = np.random.default_rng(1)
    left, right = rng.integers(0, 256, (2, *size, 3), dtype=np.uint8)
    depth_m = stereo_depth(left, right, calibration())
    assert depth_m.shape == size
    assert np.isfinite(depth_m).all()


def test_the_number_of_threads_changes_nothing():
    pair, before = textured_pair(200, 400, 13), cv2.getNumThreads()
    depths = []
    try:
        for threads in (1, 2, 5):
            cv2.setNumThreads(threads)
            depths.append(stereo_depth(*pair, calibration()))
    finally:
        cv2.setNumThreads(before)
    assert all(np.array_equal(depths[0], other) for other in depths[1:])


def test_the_inputs_are_left_alone():
    left, right = textured_pair()
    copies = left.copy(), right.copy()
    stereo_depth(left, right, calibration())
    assert np.array_equal(left, copies[0])
    assert np.array_equal(right, copies[1])


def test_sizes_that_disagree():
    left, right = textured_pair()
    with pytest.raises(DataError, match=r"\(60, 160, 3\) and \(60, 150, 3\)"):
        stereo_depth(left, right[:, :150], calibration())


def test_no_right_camera():
    with pytest.raises(DataError, match="P3"):
        stereo_depth(*textured_pair(), calibration(right=False))
