"""AP by centre distance, by hand; and that labels as results are perfect everywhere."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from evaluation_makers import CAR, MODERATE, PEDESTRIAN, objects_of
from mmdet.structures import DetDataSample
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData

from perception.core.structures import Objects
from perception.datasets.kitti.files import read_objects
from perception.evaluation.detection.center_ap import (
    LIMITS_M,
    center_table,
    evaluate_centers,
    mean_center_ap,
)
from perception.evaluation.detection.kitti_metric import KittiMetric

BOX = [[0.0, 0.0, 60.0, 60.0]]
HERE = [[1.0, 1.6, 20.0, 1.5, 1.8, 4.0, 0.3]]


def car(space=HERE, score=None, name="Car") -> Objects:
    scores = None if score is None else [score]
    unset = dict(truncation=np.zeros(1), occlusion=np.zeros(1, int))
    found = Objects.from_boxes([name], BOX, scores, np.array(space))
    return replace(found, **unset)


def moved(*, x=0.0, z=0.0, longer=1.0, turn=0.0, score=0.5) -> Objects:
    space = np.array(HERE) + [[x, 0, z, 0, 0, 0, turn]]
    space[:, 5] *= longer
    return car(space, score)


def score(found, truth=None):
    truth = [car()] * len(found) if truth is None else truth
    return evaluate_centers(truth, found, classes=[CAR], difficulty=MODERATE)["Car"]


@pytest.mark.parametrize("off_m, reached", [(0.4, 4), (0.9, 3), (1.9, 2), (3.0, 1)])
def test_limits_by_hand(off_m, reached):
    """Within so many of the limits 0.5, 1, 2, 4 m all 41 cars are found."""
    result = score([moved(x=0.6 * off_m, z=0.8 * off_m)] * 41)
    expected = [0.0] * (4 - reached) + [100.0] * reached
    assert [cell.r40 for cell in result.ap.values()] == expected
    assert tuple(result.ap) == LIMITS_M


def test_errors_by_hand():
    """0.5 m off, a quarter longer and 0.2 rad further; a half turn is pi off."""
    result = score([moved(x=0.3, z=-0.4, longer=1.25, turn=0.2)] * 41)
    assert result.translation_m == pytest.approx(0.5)
    assert result.scale == pytest.approx(1 - 1 / 1.25)
    assert result.orientation_rad == pytest.approx(0.2)
    assert score([moved(turn=np.pi)] * 41).orientation_rad == pytest.approx(np.pi)
    assert score([moved(turn=6.2)] * 41).orientation_rad == pytest.approx(
        2 * np.pi - 6.2
    )


def test_errors_are_means_of_means_from_a_tenth_of_the_recall_on():
    """Of 20 cars three are found, 0, 1 and 2 m off: means 0.5 and 1.0 count."""
    found = [moved(x=x, score=s) for x, s in ((0, 0.9), (1.0, 0.8), (1.99, 0.7))]
    nothing = car(score=0.5).select(np.zeros(1, bool))
    result = score(found + [nothing] * 17)
    assert result.translation_m == pytest.approx((0.5 + 2.99 / 3) / 2)
    assert np.isnan(score([nothing] * 20).translation_m)


def test_the_surest_detection_takes_an_object_and_the_other_is_wrong():
    both = objects_of(
        "Car Car",
        BOX * 2,
        [0.9, 0.8],
        location_m=[[1.0, 1.6, 21.0], [1.0, 1.6, 20.0]],
        dimensions_m=[[1.5, 1.8, 4.0]] * 2,
        rotation_y=[0.3, 0.3],
    )
    assert score([both] * 41).translation_m == pytest.approx(1.0)


def test_what_need_not_be_found_is_neither_right_nor_wrong():
    van = score([moved()] * 41, [car(name="Van")] * 41)
    assert all(cell.objects == 0 for cell in van.ap.values())
    hidden = [replace(car(), occlusion=np.full(1, 3))] * 41
    assert score([moved()] * 41, hidden).ap[2.0].objects == 0
    result = evaluate_centers(
        [car()] * 41, [moved()] * 41, classes=[CAR, PEDESTRIAN], difficulty=MODERATE
    )
    assert mean_center_ap(result, 2.0) == 100  # there are no pedestrians
    table = center_table(result)
    assert "n/a" in table and "100.00" in table


def test_detections_that_are_not_known_in_space_find_nothing():
    flat = Objects.from_boxes(["Car"], BOX, [0.9])
    assert score([flat, *[moved()] * 40]).ap[4.0].r40 < 100
    unknown = [Objects.from_boxes(["Car"], BOX)] * 41
    assert score([flat] * 41, unknown).ap[4.0].r40 == 0


def street(seed: int) -> Objects:
    """A frame of one car, pedestrian and cyclist each, wherever they are."""
    rng = np.random.default_rng(seed)
    corner = rng.uniform(0, 300, (3, 2))
    space = np.column_stack(
        [rng.uniform(-9, 9, 3), np.full(3, 1.6), rng.uniform(5, 40, 3)]
        + [rng.uniform(0.5, 4, 3) for _ in range(3)]
        + [rng.uniform(-3, 3, 3)]
    )
    names = ["Car", "Pedestrian", "Cyclist"]
    found = Objects.from_boxes(names, np.hstack([corner, corner + 70]), None, space)
    return replace(found, truncation=np.zeros(3), occlusion=np.zeros(3, int))


def as_detections(objects: Objects, number: int) -> DetDataSample:
    instances = InstanceData(
        bboxes=torch.from_numpy(objects.boxes_px),
        scores=torch.full((3,), 0.9),
        labels=torch.arange(3),
        boxes_3d=torch.from_numpy(objects.boxes_3d),
    )
    sample = DetDataSample(pred_instances=instances)
    sample.set_metainfo({"frame_id": f"{number:06d}", "objects": objects})
    return sample


@pytest.mark.parametrize("overlaps", ["kitti", dict(Car=0.5, Cyclist=0.5)])
def test_ground_truth_as_result_gives_100_everywhere(overlaps, tmp_path):
    evaluator = Evaluator(KittiMetric(overlaps=overlaps, dump_dir=str(tmp_path)))
    evaluator.dataset_meta = {"classes": ("Car", "Pedestrian", "Cyclist")}
    truth = [street(seed) for seed in range(41)]
    samples = [as_detections(one, number) for number, one in enumerate(truth)]
    evaluator.process(data_samples=samples)
    figures = evaluator.evaluate(41)
    errors = ("_translation_m", "_scale", "_orientation_rad")
    off = {name: figures.pop(name) for name in list(figures) if name.endswith(errors)}
    assert len(off) == 3 * (3 if overlaps == "kitti" else 2)
    assert max(off.values()) < 1e-6
    assert set(figures.values()) == {100.0}
    for name in ("mAP", "mAP_bev", "mAP_3d_official", "mAP_2m", "Car_0.5m_R40"):
        assert f"kitti/{name}" in figures
    for metric in ("2d", "aos", "bev", "3d"):
        for level in ("easy", "moderate", "hard"):
            for recall in ("R11", "R40"):
                assert f"kitti/Car_{metric}_{level}_{recall}" in figures
    # All 16 columns are written, to two decimals.
    written = read_objects(tmp_path / "000007.txt", scores=True)
    np.testing.assert_allclose(written.boxes_3d, truth[7].boxes_3d, atol=0.006)
    alpha = truth[7].rotation_y - np.arctan2(*truth[7].location_m[:, [0, 2]].T)
    np.testing.assert_allclose(np.cos(written.alpha - alpha), 1, atol=1e-4)
