"""Late fusion: what enough sensors see is kept."""

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from tiny_target import collated, detector_config

from perception.core.parts import LeaveOut
from perception.core.structures import DataError
from perception.models.export import ExportedGraph, GraphSpec
from perception.models.late_fusion import voted


def found(*detections: tuple) -> InstanceData:
    """Of (x1, score, label): boxes 10 pixels wide and high that begin at x1, 0."""
    rows = torch.tensor(detections, dtype=torch.float32).reshape(-1, 3)
    x = rows[:, 0]
    result = InstanceData()
    result.bboxes = torch.stack([x, 0 * x, x + 10, 0 * x + 10], dim=1)
    result.scores, result.labels = rows[:, 1], rows[:, 2].long()
    return result


def test_two_of_three_keep_the_second_score_and_the_median_box():
    sensors = [
        found((0, 0.9, 0), (50, 0.8, 0)),  # nobody else sees the second
        found((1, 0.3, 0)),
        found((2, 0.6, 0), (50, 0.7, 1)),  # another class is no second word
    ]
    kept = voted(sensors, votes=2, iou_threshold=0.5)
    assert kept.bboxes.tolist() == [[1, 0, 11, 10]]
    assert kept.scores.tolist() == pytest.approx([0.6]) and kept.labels.tolist() == [0]
    strict = voted(sensors, votes=3, iou_threshold=0.5)
    assert strict.scores.tolist() == pytest.approx([0.3])
    alone = voted(sensors, votes=1, iou_threshold=0.5)
    assert alone.scores.tolist() == pytest.approx([0.9, 0.8, 0.7])


def test_each_detection_has_one_voice_and_overlap_counts():
    # IoU of boxes 4 apart: 6 / 14 = 0.43; 3 apart: 7 / 13 = 0.54.
    sensors = [found((0, 0.9, 0), (1, 0.8, 0)), found((0, 0.7, 0)), found((40, 1, 0))]
    kept = voted(sensors, votes=2, iou_threshold=0.5)
    assert kept.scores.tolist() == pytest.approx([0.7])  # not a second time by 0.8
    for apart, count in ((4, 0), (3, 1)):
        both = [found((0, 0.9, 0)), found((apart, 0.9, 0)), found()]
        assert len(voted(both, votes=2, iou_threshold=0.5)) == count


def test_no_sensor_raises_a_score_above_a_benign_one():
    benign = [found((0, 0.4, 0)), found((0, 0.2, 0))]
    liar = found(*[(0, 1.0, 0)] * 5, (30, 1.0, 1))
    kept = voted([*benign, liar], votes=2, iou_threshold=0.5)
    assert kept.scores.max() == pytest.approx(0.4) and set(kept.labels.tolist()) == {0}


def test_nothing_found_is_nothing_kept():
    kept = voted([found(), found(), found()], votes=2, iou_threshold=0.5)
    assert kept.bboxes.shape == (0, 4) and len(kept.labels) == 0


@pytest.fixture(scope="module")
def config() -> dict:
    init_default_scope("mmdet")
    config = detector_config()
    config |= dict(
        type="LateFusionDetector",
        fusion={**config["fusion"], "type": None},
        aggregator=dict(type="MedianAggregator"),
        branch_head=config["bbox_head"],
    )
    for name in ("gate", "loss_weight"):
        config["fusion"].pop(name, None)
    return config


def test_learns_from_what_each_sensor_detects(config):
    detector = MODELS.build(config)
    detector.init_weights()
    data = detector.data_preprocessor(collated([0, 1]), training=True)
    losses = detector.train().loss(data["inputs"], data["data_samples"])
    assert set(losses) == {
        "branch_loss_cls",
        "branch_loss_bbox",
        "branch_loss_centerness",
    }
    sum(losses.values()).backward()
    idle = [
        n for n, p in detector.named_parameters() if p.requires_grad and p.grad is None
    ]
    assert idle == []  # several processes would wait for them
    detector.eval()
    told = detector.predict(data["inputs"], data["data_samples"])
    assert len(told) == 2
    (first,) = list(detector.sensors)[:1]
    detector.predict(data["inputs"], data["data_samples"], leave_out=LeaveOut(first))


def test_refuses_what_it_cannot_do(config):
    with pytest.raises(ValueError, match="votes must be 1 to 3"):
        MODELS.build(config | {"votes": 4})
    fused = config["fusion"] | {"type": "ConcatFusion"}
    with pytest.raises(ValueError, match="fuses no features"):
        MODELS.build(config | {"fusion": fused})
    detector = MODELS.build(config)
    with pytest.raises(DataError, match="vote of late fusion"):
        ExportedGraph(detector, GraphSpec(size=(64, 64)))
