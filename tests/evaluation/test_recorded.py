"""What shards record of a frame is what the test's evaluators get of it."""

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from perception.core.structures import Objects
from perception.evaluation.detection.recorded import _detected, _plain, _sample


@pytest.mark.parametrize("in_space", [True, False])
def test_boxes_in_metres_are_recorded(in_space):
    sample = DetDataSample(
        metainfo=dict(frame_id="000007", ori_shape=(96, 320), gate_names=())
    )
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([[1.0, 2.0, 30.0, 40.0]]),
        scores=torch.tensor([0.5]),
        labels=torch.tensor([2]),
    )
    if in_space:
        boxes_3d = torch.tensor([[1.0, 2, 20, 1.5, 1.6, 4, 0.5]])
        sample.pred_instances.boxes_3d = boxes_3d
    line = dict(_plain(sample))
    again = _sample(_detected(line), Objects.from_boxes([], [])).pred_instances
    assert ("boxes_3d" in again) == in_space
    if in_space:
        assert torch.equal(again.boxes_3d, boxes_3d)
    del line["boxes_3d"]  # of an older version
    assert "boxes_3d" not in _sample(_detected(line), None).pred_instances
