"""A training whose labels teach nothing ends before it begins."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from tiny_kitti import make_frame, write_kitti

from perception.core.structures import DataError
from perception.datasets.frame_dataset import FrameDataset
from perception.datasets.kitti.reader import KittiFrames
from perception.training.labels import LabelHook, check_labels


def dataset(frames=None, classes=("Car", "Pedestrian"), **more) -> FrameDataset:
    frames = [make_frame(0), make_frame(1)] if frames is None else frames
    return FrameDataset(frames=frames, classes=classes, pipeline=[], **more)


@pytest.mark.parametrize("classes", [("Car", "Pedestrian"), ("car", "PEDESTRIAN")])
def test_names_are_compared_without_regard_to_case(classes):
    assert check_labels(dataset(classes=classes)) == []


def test_what_is_trained_as_a_class_counts():
    assert check_labels(dataset(classes=("Van",), also_train_as={"car": "Van"})) == []


def test_a_misspelt_class_is_told():
    (line,) = check_labels(dataset(classes=("Car", "Pedestrain")))
    assert line == (
        "no object is called Pedestrain; did you mean Pedestrian?; labels are called "
        "Car, Pedestrian"
    )


def test_no_known_class_at_all_is_an_error():
    with pytest.raises(DataError, match=r"nothing to learn in 2 .*; labels are called"):
        check_labels(dataset(classes=("Boat",)))
    frame = make_frame(0)
    empty = replace(frame, objects=frame.objects.select(np.zeros(2, bool)))
    with pytest.raises(DataError, match="no frame has objects"):
        check_labels(dataset([empty]))


def test_training_and_validation_need_labels():
    bare = [replace(make_frame(3), objects=None)]
    with pytest.raises(DataError, match="frame 0: no labels, which training"):
        check_labels(dataset(bare))
    runner = SimpleNamespace(
        train_dataloader=SimpleNamespace(dataset=dataset()),
        val_dataloader=SimpleNamespace(dataset=dataset(bare)),
        val_loop=object(),
    )
    with pytest.raises(DataError, match="validation frames have no labels"):
        LabelHook().before_run(runner)


def test_frames_sorted_by_class_are_looked_at_from_end_to_end():
    """Not the first hundred: labels that come with all sensors are read of a few."""
    car, person = make_frame(0), make_frame(0)
    car = replace(car, objects=car.objects.select(np.array([True, False])))
    person = replace(person, objects=person.objects.select(np.array([False, True])))
    assert check_labels(dataset([car] * 300 + [person] * 300)) == []


def test_only_label_files_are_read(tmp_path):
    """Of KITTI's layout; thousands of pictures would take minutes."""
    root = write_kitti(tmp_path / "kitti")
    frames = KittiFrames(root, "train")
    for folder in ("image_2", "velodyne"):
        for path in (root / "training" / folder).iterdir():
            path.write_bytes(b"")
    assert len(check_labels(dataset(frames, classes=("Car", "Tram")))) == 1
