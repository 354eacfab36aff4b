import logging
import pickle

import numpy as np
import pytest
import torch
from evaluation_makers import objects_of
from mmdet.registry import METRICS
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData

from perception.core.structures import DataError, Objects
from perception.datasets.kitti.files import read_objects
from perception.evaluation.detection.kitti_metric import KittiMetric

BOX = [0.0, 0.0, 60.0, 60.0]
SHIFTED = [15.0, 0.0, 75.0, 60.0]  # overlap 0.6 with BOX
CLASSES = ("Cyclist", "Car")


def sample(frame_id: str, objects: Objects, boxes_px, scores, labels) -> DetDataSample:
    """What a detector returns for one frame."""
    instances = InstanceData(
        bboxes=torch.tensor(boxes_px).reshape(-1, 4),
        scores=torch.tensor(scores),
        labels=torch.tensor(labels, dtype=torch.long),
    )
    data_sample = DetDataSample(pred_instances=instances)
    data_sample.set_metainfo({"frame_id": frame_id, "objects": objects})
    return data_sample


def run(metric: KittiMetric, samples: list[DetDataSample]) -> dict[str, float]:
    evaluator = Evaluator(metric)
    evaluator.dataset_meta = {"classes": CLASSES}
    for data_sample in samples:
        evaluator.process(data_samples=[data_sample])
    return evaluator.evaluate(len(samples))


@pytest.fixture
def cars() -> list[DetDataSample]:
    """41 frames with a car each, found with an overlap of 0.6."""
    truth = objects_of("Car DontCare", [BOX, [300, 0, 400, 60]])
    return [sample(f"{i:06d}", truth, [SHIFTED], [0.9], [1]) for i in range(41)]


def test_own_overlaps_beside_those_of_kitti(cars):
    metric = METRICS.build(
        {"type": "KittiMetric", "overlaps": {"Car": 0.5, "Cyclist": 0.5}}
    )
    figures = run(metric, cars)
    assert figures["kitti/mAP"] == 100
    assert figures["kitti/Car_2d_easy_R40"] == 100
    assert figures["kitti/mAP_official"] == 0
    assert figures["kitti/Car_2d_easy_R11_official"] == 0
    assert np.isnan(figures["kitti/Cyclist_2d_easy_R40"])
    assert all(type(value) is float for value in figures.values())


def test_kittis_overlaps_are_the_default(cars):
    figures = run(KittiMetric(), cars)
    assert figures["kitti/mAP"] == figures["kitti/mAP_official"] == 0
    assert len(figures) == 2 * (1 + 2 * 3 * 2)


def test_the_log_shows_a_table_and_what_is_missing(cars):
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())
    logger = MMLogger.get_current_instance()
    logger.addHandler(handler)
    try:
        run(KittiMetric(), cars)
    finally:
        logger.removeHandler(handler)
    text = "\n".join(records)
    assert "41 frames: mAP 0.00 (moderate, R40, 95 % over frames: 0.0" in text
    assert "n/a: no object to find" in text
    assert "\nclass    metric  IoU >" in text
    assert "\nCar      2d       0.70" in text


def test_detections_are_written_as_kitti_results(cars, tmp_path):
    empty = sample("000041", cars[0].objects, [], [], [])
    run(KittiMetric(dump_dir=str(tmp_path / "dump")), [*cars, empty])
    written = read_objects(tmp_path / "dump" / "000040.txt", scores=True)
    assert written.names.tolist() == ["Car"]
    assert written.boxes_px.tolist() == [SHIFTED]
    assert written.scores.tolist() == pytest.approx([0.9])
    assert (tmp_path / "dump" / "000041.txt").read_bytes() == b""
    assert len(list((tmp_path / "dump").iterdir())) == 42


def test_without_any_detection_the_figures_are_zero(cars):
    silent = [sample(c.frame_id, c.objects, [], [], []) for c in cars]
    figures = run(KittiMetric(), silent)
    assert figures["kitti/mAP"] == 0
    assert np.isnan(figures["kitti/Cyclist_2d_easy_R40"])


def test_without_any_object_the_mean_is_nan():
    nothing = Objects.from_boxes([], np.zeros((0, 4)))
    figures = run(KittiMetric(), [sample("0", nothing, [BOX], [0.5], [0])])
    assert np.isnan(figures["kitti/mAP"])


def test_difficulties_of_ones_own(cars):
    metric = KittiMetric(
        overlaps={"Car": 0.5}, difficulties=[("all", 0, 3, 1.0)], headline="all"
    )
    figures = run(metric, cars)
    assert figures["kitti/Car_2d_all_R40"] == figures["kitti/mAP"] == 100


def test_what_ranks_exchange_is_small_and_pickles(cars):
    metric = KittiMetric()
    metric.dataset_meta = {"classes": CLASSES}
    metric.process(None, [car.to_dict() for car in cars])
    assert len(metric.results) == 41
    assert len(pickle.dumps(metric.results[:1])) < 4000
    assert pickle.loads(pickle.dumps(metric.results))[3][0] == "000003"


def test_wrong_arguments(cars):
    with pytest.raises(ValueError, match="headline must be one of"):
        KittiMetric(headline="simple")
    with pytest.raises(ValueError, match=r"overlaps are given for \['Elk'\]"):
        run(KittiMetric(overlaps={"Elk": 0.5}), cars)
    with pytest.raises(ValueError, match="dataset_meta"):
        KittiMetric().process(None, [cars[0].to_dict()])


def test_frames_without_labels_are_written_only(cars, tmp_path):
    """KITTI's test set."""
    for car in cars:
        car.set_metainfo({"objects": None})
    assert run(KittiMetric(dump_dir=str(tmp_path)), cars) == {}
    assert len(list(tmp_path.iterdir())) == 41
    with pytest.raises(DataError, match="frame 000000: no labels, which AP needs"):
        run(KittiMetric(), cars)
    cars[0].set_metainfo({"objects": objects_of("Car", [BOX])})
    with pytest.raises(DataError, match="frame 000001: no labels"):
        run(KittiMetric(dump_dir=str(tmp_path)), cars)


def test_case_of_names_does_not_matter_and_a_misspelt_one_is_told(cars, caplog):
    for car in cars:
        car.set_metainfo({"objects": objects_of("CAR Cyclst", [BOX, BOX])})
    metric = KittiMetric(overlaps={"Car": 0.5, "Cyclist": 0.5})
    with caplog.at_level(logging.INFO):
        logger = MMLogger.get_current_instance()
        logger.addHandler(caplog.handler)
        try:
            figures = run(metric, cars)
        finally:
            logger.removeHandler(caplog.handler)
    assert figures["kitti/Car_2d_easy_R40"] == 100
    assert "no label is called Cyclist; did you mean Cyclst?; labels are" in caplog.text


def test_a_gate_that_accuses_clean_frames_is_told(cars, caplog):
    for number, car in enumerate(cars):
        car.set_metainfo({"gate_names": ("camera", "lidar", "depth")})
        car.gate = torch.tensor([0.0, 0.9, 0.0, 0.1]).roll(0 if number < 5 else 2)
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    try:
        run(KittiMetric(), cars)
        assert "of 41 clean frames the gate accuses lidar in 5: what" in caplog.text
        caplog.clear()
        run(KittiMetric(), cars[3:])  # two of 38
        assert "accuses" not in caplog.text
    finally:
        logger.removeHandler(caplog.handler)
