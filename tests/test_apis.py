"""What notebooks import: loading a detector, and detecting in chosen frames."""

import logging

import pytest
import torch
from mmengine.logging import MMLogger
from tiny_kitti import write_config, write_kitti

from perception.apis import build_dataset, build_loader, detect, load_detector
from perception.core.structures import DataError


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Four frames to train, 000000 …, and three to detect in, 000004 …"""
    return write_kitti(tmp_path_factory.mktemp("kitti"), val=3)


@pytest.fixture(scope="module")
def config(data, repo_root):
    base = repo_root / "configs/synthetic/concat.py"
    return write_config(data / "concat.py", data, base)


def test_closed_log_files_do_not_matter(tmp_path, config):
    logger = MMLogger.get_current_instance()
    handler = logging.FileHandler(tmp_path / "run.log", mode="w")
    logger.addHandler(handler)
    handler.close()
    try:
        assert not load_detector(config).training
        assert handler not in logger.handlers
    finally:
        logger.removeHandler(handler)


def test_initial_weights_are_not_listed_one_by_one(config, capfd):
    level = MMLogger.get_current_instance().level
    load_detector(config)
    assert not any(capfd.readouterr())
    assert MMLogger.get_current_instance().level == level


def test_frames_are_detected_in_the_order_asked_for(config):
    torch.manual_seed(0)
    detector, frames = load_detector(config), build_dataset(config)
    detector.bbox_head.test_cfg["score_thr"] = 0.0  # the weights are initial ones
    every = detect(detector, frames)
    assert [sample.frame_id for sample in every] == ["000004", "000005", "000006"]
    some = detect(detector, frames, (i for i in (2, 0)))
    assert [sample.frame_id for sample in some] == ["000006", "000004"]
    for one, other in zip(some, (every[2], every[0]), strict=True):
        scores = one.pred_instances.scores
        assert len(scores) and not scores.requires_grad
        torch.testing.assert_close(scores, other.pred_instances.scores)
    assert detect(detector, frames, []) == []


@pytest.mark.parametrize("indices, bad", [([0, 3], 3), ([-1], -1), (range(5), 3)])
def test_there_is_no_frame_beyond_the_last(config, indices, bad):
    with pytest.raises(IndexError, match=rf"frames are numbered 0 … 2, got {bad}"):
        build_loader(build_dataset(config), indices)


def test_weights_of_another_detector_are_named(tmp_path, data, config, repo_root):
    base = repo_root / "configs/synthetic/camera_only.py"
    other = write_config(tmp_path / "camera.py", data, base)
    file = tmp_path / "concat.pth"
    torch.save({"state_dict": load_detector(config).state_dict()}, file)
    assert load_detector(config, file)
    expected = r"concat\.pth: weights of another detector than .*camera\.py describes"
    with pytest.raises(DataError, match=expected):
        load_detector(other, file)


def test_boxes_in_metres_are_detected(tmp_path, data, repo_root):
    base = repo_root / "configs/synthetic/concat_3d.py"
    config = write_config(tmp_path / "concat_3d.py", data, base)
    torch.manual_seed(0)
    detector, frames = load_detector(config), build_dataset(config)
    detector.bbox_head.test_cfg["score_thr"] = 0.0
    (sample,) = detect(detector, frames, [0])
    found = sample.pred_instances
    assert found.boxes_3d.shape == (len(found), 7) and len(found)
    # Seen through the calibration of the original image, centres are in their frame.
    x, _, z = found.boxes_3d[:, :3].T
    assert (z > 0).all() and found.boxes_3d[:, 3:6].min() > 0
    assert (40 * x / z).abs().max() < 64
