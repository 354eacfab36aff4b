"""The MAITE protocol both ways; MAITE's own tools run our models."""

import numpy as np
import pytest
import torch
from tiny_target import collated, detector_config, trained_detector

from perception.core.structures import DataError
from perception.targets import DetectorTarget, MaiteModel, MaiteTarget

NAMES = ("Car", "Pedestrian", "Cyclist")


@pytest.fixture(scope="module")
def camera_target():
    return DetectorTarget(trained_detector(detector_config(None, camera=3), steps=30))


def test_there_and_back_again(camera_target):
    """A target as a MAITE model as a target says what the first one says."""
    model = MaiteModel(camera_target)
    assert model.metadata["index2label"] == dict(enumerate(NAMES))
    again = MaiteTarget(model)
    assert again.classes == NAMES
    batch = again.batch(collated([0, 1]))
    for one, other in zip(
        camera_target.predict(batch.inputs, batch.samples),
        again.predict(batch.inputs, batch.samples),
        strict=True,
    ):
        assert len(one.detections) > 0
        assert one.detections.names.tolist() == other.detections.names.tolist()
        assert np.allclose(
            one.detections.boxes_px, other.detections.boxes_px, atol=1e-4
        )
        assert np.allclose(one.detections.scores, other.detections.scores)


def test_a_model_with_scores_of_every_class():
    class Theirs:
        def __init__(self):
            names = {0: "car", 1: "person"}
            self.metadata = {"id": "theirs", "index2label": names}

        def __call__(self, batch):
            (picture,) = batch
            assert picture.shape == (3, 32, 64) and picture.max() > 1
            scores = np.array([[0.1, 0.6], [0.7, 0.2]])
            boxes = np.array([[0, 0, 9, 9], [5, 5, 20, 20.0]])
            labels = scores.argmax(axis=1)
            return [type("Found", (), dict(boxes=boxes, scores=scores, labels=labels))]

    target = MaiteTarget(Theirs(), classes={"Car": ["car"], "Pedestrian": ["person"]})
    batch = target.batch(collated([0]))
    (said,) = target.predict(batch.inputs, batch.samples)
    assert said.detections.names.tolist() == ["Pedestrian", "Car"]
    assert said.detections.scores.tolist() == [0.6, 0.7]


def test_maites_own_tools_run_our_model(camera_target):
    tasks = pytest.importorskip(
        "maite.tasks", reason="maite is not installed: not tested"
    )
    from maite.protocols import object_detection as od

    model = MaiteModel(camera_target)
    assert isinstance(model, od.Model)
    data = collated([0, 1])
    pictures = [picture.numpy() for picture in data["inputs"]["camera"]]
    truth = [sample.gt_instances for sample in data["data_samples"]]

    class Frames:
        def __init__(self):
            self.metadata = {"id": "tiny", "index2label": dict(enumerate(NAMES))}

        def __len__(self):
            return 2

        def __getitem__(self, n):
            if n >= 2:
                raise IndexError(n)
            one = truth[n]
            fields = dict(boxes=one.bboxes, labels=one.labels, scores=torch.ones(2))
            return pictures[n], type("Truth", (), fields)(), {"id": str(n)}

    predictions, _ = tasks.predict(model=model, dataset=Frames(), batch_size=2)
    found = [one for batch in predictions for one in batch]
    assert len(found) == 2
    assert all(len(one.boxes) == len(one.labels) > 0 for one in found)


def test_several_sensors_and_nameless_classes_are_refused(tiny_target):
    with pytest.raises(DataError, match="sees one picture"):
        MaiteModel(tiny_target)
    with pytest.raises(DataError, match="no index2label"):
        MaiteTarget(type("Model", (), {"metadata": {"id": "x"}})())
