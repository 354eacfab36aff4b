"""Drives with labels: the frames of the bags' drives, one after the other."""

import numpy as np

from perception.datasets.kitti.reader import KittiFrames
from perception.datasets.synthetic import bag as recorded
from perception.datasets.synthetic.drives import generate_drives


def test_drives_are_the_bags_and_know_their_way(tmp_path):
    how = dict(drives=1, seconds=1, rate=2, seed=3, size="96x32", progress=False)
    root = generate_drives(tmp_path / "a", **how)
    frames = KittiFrames(root, "drive")
    assert list(frames.frame_ids) == ["0000-000000", "0000-000001"]
    made = list(recorded.moments(recorded.Recipe(3, 96, 32, 1, 2, "mcap"), 0))
    for frame, moment in zip(frames, made, strict=True):
        np.testing.assert_array_equal(frame.sensors["camera"], moment.frame.left_rgb)
        np.testing.assert_array_equal(frame.sensors["lidar"], moment.frame.points)
        assert list(frame.objects.names) == list(moment.frame.objects.names)
    before = frames.previous(1)
    assert (frames.previous(0), before.number, before.seconds) == (None, 0, 0.5)
    # The bag's odometry says the same way: base to camera is fixed.
    bases = [moment.world_T_base @ recorded.BASE_T_CAM for moment in made]
    expected = np.linalg.inv(bases[1]) @ bases[0]
    np.testing.assert_allclose(before.now_T_before, expected, atol=1e-9)
    stamp = (root / "training/label_2/0000-000000.txt").stat().st_mtime_ns
    generate_drives(root, **how)  # nothing is made twice
    assert (root / "training/label_2/0000-000000.txt").stat().st_mtime_ns == stamp
