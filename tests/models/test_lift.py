"""Image boxes lifted by the depth inside them, by hand."""

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from tiny_detectors import FCOS, SPECS, make_batch, make_detector, make_sample

from perception.core.structures import SensorSpec
from perception.models.lift import BoxLift

MEANS = ((1.5, 2.0, 4.0), (1.8, 0.6, 1.0))
CAMERA = np.array([[100.0, 0, 31.5, 0], [0, 100, 15.5, 0], [0, 0, 1, 0]])
SENSORS = {
    n: SensorSpec.from_config(n, SPECS[n]) for n in ("thermal", "radar", "sonar")
}


def lifted(boxes, depths, *, scale=1.0):
    """Two detections; ``depths`` are set in the middle of a 32 x 64 px map."""
    found = InstanceData(
        bboxes=torch.tensor(boxes).reshape(-1, 4) / scale,
        labels=torch.arange(len(boxes)),
    )
    inputs = {"thermal": torch.full((1, 32, 64), 300.0)}
    inputs |= {"radar": torch.zeros(2, 32, 64), "sonar": torch.zeros(1, 32, 64)}
    for (sensor, row, column), metres in depths.items():
        inputs[sensor][0, row, column] = metres
    meta = dict(image_P_cam=CAMERA, scale_factor=(scale, scale))
    return BoxLift(mean_sizes_m=MEANS).boxes_3d(
        found, inputs, SENSORS, meta, rescaled=scale != 1
    )


BOXES = [[22.0, 8.0, 42.0, 24.0], [0.0, 0.0, 8.0, 18.0]]
INSIDE = {("radar", 14, 30): 12.0, ("radar", 15, 33): 30.0, ("sonar", 17, 34): 18.0}


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_a_box_by_hand(scale):
    """18 m is the median of 12, 18 and 30; the centre is 2 m behind, half the length.

    At 20 m it is where the axis passes: y = 0, the bottom 0.75 m below.
    """
    box = lifted(BOXES, INSIDE, scale=scale)[0]
    expected = [0, 0.75, 20, 1.5, 2, 4, -np.pi / 2]
    np.testing.assert_allclose(box, expected, atol=1e-5)


def test_what_is_at_the_edge_of_a_box_is_not_of_the_object():
    box = lifted(BOXES, INSIDE | {("sonar", 9, 23): 1.0, ("sonar", 9, 24): 1.0})[0]
    assert box[2] == pytest.approx(20)


def test_without_depth_the_height_says_how_far():
    """1.8 m that are 18 px high at 100 px of focal length are 10 m away."""
    box = lifted(BOXES, INSIDE)[1]
    assert box[2] == pytest.approx(10)
    assert lifted(BOXES, {})[0, 2] == pytest.approx(100 * 1.5 / 16)


def test_no_detections():
    assert lifted(torch.zeros(0, 4).tolist(), {}).shape == (0, 7)


def test_a_detector_that_lifts():
    detector = make_detector(lift=dict(mean_sizes_m=MEANS)).eval()
    samples = [make_sample(image_P_cam=CAMERA)]
    data = detector.data_preprocessor(make_batch(samples))
    (one,) = detector.predict(data["inputs"], data["data_samples"])
    assert one.pred_instances.boxes_3d.shape == (5, 7)
    heights_m = one.pred_instances.boxes_3d[:, 3]
    assert torch.isin(heights_m, torch.tensor([1.5, 1.8])).all()


def test_bad_sizes():
    with pytest.raises(ValueError, match="height, width and length"):
        BoxLift(mean_sizes_m=[[1.0, 2.0]])


def test_what_is_in_metres_already_is_not_lifted():
    head = dict(FCOS, type="FCOS3DHead", mean_sizes_m=MEANS)
    with pytest.raises(ValueError, match="boxes in metres"):
        make_detector(head=head, lift=dict(mean_sizes_m=MEANS))
