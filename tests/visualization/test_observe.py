"""What pictures take over from a detector's prediction."""

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from perception.targets.multimodal import read_prediction
from perception.visualization.observe import view_of

INPUTS = {"camera": torch.zeros(1, 3, 32, 64)}


def predicted(**fields):
    """A sample with one car in an image of 30 x 60 pixels."""
    sample = DetDataSample(metainfo={"img_shape": (30, 60)})
    sample.pred_instances = InstanceData(
        bboxes=torch.tensor([[1.0, 2, 3, 4]]),
        scores=torch.tensor([0.5]),
        labels=torch.tensor([0]),
    )
    for name, value in fields.items():
        sample.set_field(value, name, dtype=torch.Tensor)
    return sample


@pytest.mark.parametrize(
    ("fields", "gate", "alarm"),
    [
        ({}, None, None),
        ({"gate": torch.tensor([0.25, 0.75])}, [0.25, 0.75], None),
        (
            {"gate": torch.tensor([0.25, 0.75]), "alarm": torch.tensor(-1.5)},
            [0.25, 0.75],
            -1.5,
        ),
    ],
    ids=["no gate", "gate", "gate with alarms"],
)
def test_gate_and_alarm_of_a_prediction(fields, gate, alarm):
    sample = predicted(**fields)
    view = view_of({}, INPUTS, sample, read_prediction(sample, ("Car",)), None)
    assert view.alarm == alarm
    assert (view.gate is None) == (gate is None)
    if gate is not None:
        np.testing.assert_array_equal(view.gate, gate)
    assert view.inputs["camera"].shape == (3, 30, 60)
    assert list(view.detections.names) == ["Car"]
