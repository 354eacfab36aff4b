"""Depth from a rectified stereo pair with OpenCV's semi-global matcher.

Method: Hirschmüller, "Stereo processing by semiglobal matching and mutual
information" (PAMI 2008), in OpenCV's variant (Birchfield-Tomasi cost, three paths).

Shape letters: H, W image height and width in pixels.
"""

from __future__ import annotations

import cv2
import numpy as np

from perception.core.geometry import disparity_to_depth
from perception.core.structures import Calibration, DataError

# OpenCV returns disparities in 1/16 pixel, and its search range in steps of 16.
_SUBPIXELS = 16
_BLOCK_PX = 3


def stereo_depth(
    left_rgb: np.ndarray,
    right_rgb: np.ndarray,
    calibration: Calibration,
    *,
    max_depth_m: float = 80.0,
    min_depth_m: float = 3.0,
) -> np.ndarray:
    """Depth of the left image, deterministic with any number of threads.

    Args:
        left_rgb: (H, W, 3) uint8 RGB, rectified.
        right_rgb: (H, W, 3) uint8 RGB, rectified.
        calibration: With ``right_P_cam``; focal length and baseline are taken
            from it.
        max_depth_m: Depths beyond it count as no match.
        min_depth_m: Nearest depth searched for; it bounds the disparity range.

    Returns:
        (H, W) float32 metres, 0 where no match was found.

    Raises:
        DataError: If the images disagree in size or the baseline is unknown.
    """
    if left_rgb.shape != right_rgb.shape or left_rgb.ndim != 3:
        raise DataError(
            f"left and right image must both be (H, W, 3), got {left_rgb.shape} "
            f"and {right_rgb.shape}"
        )
    baseline_m = calibration.baseline_m
    if not baseline_m:
        raise DataError("stereo depth needs a right camera (P3) beside the left (P2)")
    nearest_px = calibration.fx_px * baseline_m / min_depth_m
    disparity_px = _match(left_rgb, right_rgb, nearest_px)
    depth_m = disparity_to_depth(disparity_px, calibration.fx_px, baseline_m)
    return np.where(depth_m <= max_depth_m, depth_m, 0).astype(np.float32)


def _match(
    left_rgb: np.ndarray, right_rgb: np.ndarray, nearest_px: float
) -> np.ndarray:
    """(H, W) float32 disparity in pixels, 0 = no match."""
    width = left_rgb.shape[1]
    # A disparity of the whole image's width leaves nothing to compare.
    steps = min(np.ceil(nearest_px / 16), np.ceil(width / 16))
    search_px = 16 * max(1, int(steps))
    # The matcher skips the first `search_px` columns: give it those to skip.
    left, right = (
        cv2.copyMakeBorder(
            cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2GRAY),
            *(0, 0, search_px, 0),
            cv2.BORDER_REPLICATE,
        )
        for image in (left_rgb, right_rgb)
    )
    area = _BLOCK_PX**2
    matcher = cv2.StereoSGBM.create(
        minDisparity=0,
        numDisparities=search_px,
        blockSize=_BLOCK_PX,
        # Against KITTI's LiDAR, three times OpenCV's advice for grey pictures matched
        # 6 % more pixels with no more errors.
        P1=24 * area,
        P2=96 * area,
        disp12MaxDiff=1,
        preFilterCap=31,
        uniquenessRatio=10,
        speckleWindowSize=max(10, round(width / 12)),
        speckleRange=2,
        mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
    )
    raw = matcher.compute(left, right)[:, search_px:]
    return np.maximum(raw, 0).astype(np.float32) / _SUBPIXELS
