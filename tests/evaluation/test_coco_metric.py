import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from perception.core.structures import Objects
from perception.evaluation.detection.coco_metric import FrameCocoMetric

CLASSES = ("car", "truck")


def objects(occlusion=(0, 0, 0)):
    labelled = Objects.from_boxes(
        np.array(["car", "truck", "animal"], dtype=object),
        np.array([[0, 0, 40, 40], [50, 0, 90, 40], [0, 50, 40, 90.0]]),
    )
    labelled.occlusion[:] = occlusion
    return labelled


def sample(frame_id, labelled, boxes, labels, scores):
    instances = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.long),
        scores=torch.tensor(scores, dtype=torch.float32),
    )
    return {
        "pred_instances": instances,
        "img_id": frame_id,
        "ori_shape": (100, 100),
        "objects": labelled,
    }


def score(*samples, **options):
    metric = FrameCocoMetric(**options)
    metric.dataset_meta = {"classes": CLASSES}
    metric.process({}, list(samples))
    return metric.evaluate(len(samples))


def test_perfect_boxes_and_a_class_that_is_missed():
    boxes = [[0, 0, 40, 40], [50, 0, 90, 40]]
    figures = score(
        sample("a", objects(), boxes, [0, 1], [0.9, 0.8]),
        sample("b", objects(), boxes[:1], [0], [0.9]),
    )
    assert figures["coco/car_precision"] == pytest.approx(1.0)
    # One of two trucks: precision 1 up to recall 0.5, 51 of COCO's 101 points.
    assert figures["coco/truck_precision"] == pytest.approx(51 / 101, abs=1e-3)
    assert figures["coco/bbox_mAP_50"] == pytest.approx((1 + 51 / 101) / 2, abs=1e-3)


def test_hard_objects_may_be_found_or_not():
    boxes = [[0, 0, 40, 40], [50, 0, 90, 40]]
    hard = objects(occlusion=(0, 3, 0))
    easy = objects()
    for found in (1, 2):
        figures = score(
            sample("a", easy, boxes, [0, 1], [0.5, 0.5]),
            sample("b", hard, boxes[:found], [0, 1][:found], [0.9, 0.9][:found]),
        )
        assert figures["coco/truck_precision"] == pytest.approx(1.0)
