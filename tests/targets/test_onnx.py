"""ONNX models by onnxruntime: hand-made ones, and two that others trained."""

import numpy as np
import pytest
from mmengine.registry import init_default_scope
from tiny_target import collated

from perception.attacks import build_attack
from perception.attacks.target import DoesNotApplyError, HasLosses, Target
from perception.core.structures import DataError, Objects
from perception.datasets.frame_dataset import FrameDataset
from perception.datasets.kitti.reader import KittiFrames
from perception.datasets.loading import build_loader
from perception.evaluation.detection.kitti_ap import evaluate, mean_ap
from perception.evaluation.detection.rules import (
    KITTI_DIFFICULTIES,
    rules_with_overlaps,
)
from perception.targets import OnnxTarget, PictureFormat
from perception.targets.onnx_outputs import fastest_det, ready, yolox

pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: not tested")


@pytest.fixture
def model(tmp_path):
    """Finds one car whose score is the mean of the first channel."""
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: not tested")
    from onnx import TensorProto, helper, numpy_helper

    fixed = {
        "box": np.array([[8.0, 3.0, 32.0, 30.0]], np.float32),
        "label": np.array([1], np.int64),
        "first": np.array([0], np.int64),
    }
    nodes = [
        helper.make_node("Gather", ["image", "first"], ["red"], axis=1),
        helper.make_node("ReduceMean", ["red"], ["score4"], keepdims=1),
        helper.make_node("Flatten", ["score4"], ["score"]),
        helper.make_node("Identity", ["box"], ["boxes"]),
        helper.make_node("Identity", ["label"], ["labels"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "one car",
        [value("image", TensorProto.FLOAT, [1, 3, 32, 64])],
        [
            value("boxes", TensorProto.FLOAT, [1, 4]),
            value("score", TensorProto.FLOAT, [1, 1]),
            value("labels", TensorProto.INT64, [1]),
        ],
        [numpy_helper.from_array(array, name) for name, array in fixed.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    made.ir_version = 9
    onnx.save(made, tmp_path / "car.onnx")
    return tmp_path / "car.onnx"


def target_of(path, **settings):
    picture = PictureFormat(std=255.0, size=(32, 64), fill=0.0)
    settings = {"labels": ("person", "car"), "picture": picture} | settings
    return OnnxTarget(
        path, classes={"Car": ["car"], "Pedestrian": ["person"]}, **settings
    )


def test_predicts_and_nothing_else(model):
    target = target_of(model)
    batch = target.batch(collated([0, 1]))
    assert isinstance(target, Target) and not isinstance(target, HasLosses)
    said = target.predict(batch.inputs, batch.samples)
    red = float(batch.inputs["camera"][0, 0].mean() / 255)
    assert said[0].detections.names.tolist() == ["Car"]
    assert said[0].detections.boxes_px.tolist() == [[8, 3, 32, 30]]
    assert said[0].detections.scores[0] == pytest.approx(red, rel=1e-5)
    threat = dict(type="MapThreat", sensor="camera", eps=16.0, steps=3)
    with pytest.raises(DoesNotApplyError, match="no losses"):
        build_attack("white", dict(type="PGD", threat=threat))(target, batch)


def test_black_box_search_by_predictions_alone(model):
    """All that it is told is a score that grows with red: a blacker picture hides."""
    target = target_of(model)
    batch = target.batch(collated([0, 1]))
    cars = Objects.from_boxes(np.array(["Car"]), np.array([[8.0, 3, 32, 30]]))
    for sample in batch.samples:
        sample.set_metainfo({"objects": cars})
    for name in ("SquareAttack", "RandomNoise"):
        threat = dict(
            type="MapThreat", sensor="camera", eps=16.0, steps=100, goal="predictions"
        )
        result = build_attack(name, dict(type=name, threat=threat))(target, batch)
        assert result.detection_loss is None
        scores = [
            [one.detections.scores[0] for one in target.predict(x, batch.samples)]
            for x in (batch.inputs, result.inputs)
        ]
        assert (np.array(scores[1]) < scores[0]).all(), name


def test_wrong_files_sizes_and_functions_are_refused(model, tmp_path):
    target = target_of(model, picture=PictureFormat())
    batch = target.batch(collated([0]))
    batch.samples[0].set_metainfo({"img_shape": (32, 32)})
    with pytest.raises(
        DataError, match=r"wants \[1, 3, 32, 64\], shown \[1, 3, 32, 32\]"
    ):
        target.predict(batch.inputs, batch.samples)
    (tmp_path / "no.onnx").write_bytes(b"no model")
    with pytest.raises(DataError, match=r"no\.onnx: not a usable ONNX model"):
        target_of(tmp_path / "no.onnx")
    with pytest.raises(DataError, match=r"missing\.onnx: no such"):
        target_of(tmp_path / "missing.onnx")
    with pytest.raises(DataError, match="nowhere:f: cannot be imported"):
        target_of(model, decode="nowhere:f")


def test_outputs_are_read():
    table = np.zeros((1, 4 * 4 + 2 * 2 + 1, 7), np.float32)
    table[0, 5] = [0.5, 0.25, np.log(2), 0.0, 0.8, 0.1, 0.5]  # row 1, column 1
    boxes, scores, labels = yolox([table], (32, 32))
    assert np.allclose(boxes[5], [12 - 8, 10 - 4, 12 + 8, 10 + 4])
    assert scores[5] == pytest.approx(0.4) and labels[5] == 1
    maps = np.zeros((1, 7, 2, 2), np.float32)
    maps[0, :, 1, 0] = [1.0, np.arctanh(0.5), 0.0, 0.0, 0.0, 0.1, 0.7]
    boxes, scores, labels = fastest_det([maps], (20, 40))
    # cell (row 1, column 0) of 2 x 2: center 10, 10; half of 40 x 20 wide and high
    assert np.allclose(boxes[2], [10 - 10, 10 - 5, 10 + 10, 10 + 5], atol=1e-4)
    assert scores[2] == pytest.approx(0.7**0.4) and labels[2] == 1
    boxes, scores, labels = ready(
        [np.array([[[1, 2, 3, 4, 0.5]]]), np.array([[2]])], (1, 1)
    )
    assert (boxes.tolist(), scores.tolist(), labels.tolist()) == (
        [[1, 2, 3, 4]],
        [0.5],
        [2],
    )


COCO = ("car", "truck", "bus")
OTHERS = {
    "yolox_nano": (
        "yolox",
        PictureFormat(order="bgr", size=(416, 416), fill=114.0, antialias=True),
        63.9,
    ),
    "FastestDet": (
        "fastest_det",
        PictureFormat(
            order="bgr", std=255.0, size=(352, 352), keep_ratio=False, antialias=True
        ),
        62.7,
    ),
}


@pytest.mark.parametrize("name", OTHERS)
def test_detectors_that_others_trained_on_real_frames(name, kitti_root):
    """Vehicle AP comes out as the file's README says, within a point."""
    outside = kitti_root.parent / "outside_detectors"
    if not outside.is_dir():
        pytest.skip(f"no detectors in {outside}: not tested")
    decode, picture, expected = OTHERS[name]
    target = OnnxTarget(
        outside / f"{name}.onnx",
        decode=f"perception.targets.onnx_outputs:{decode}",
        nms_overlap=0.45,
        labels=(outside / "coco.names").read_text().split("\n")[:80],
        classes={"Vehicle": COCO},
        picture=picture,
    )
    init_default_scope("mmdet")
    frames = FrameDataset(
        frames=KittiFrames(kitti_root, "val", sensors=("camera",)),
        classes=("Car",),
        pipeline=[dict(type="PackFrame")],
    )
    truth, found = [], []
    for data in build_loader(frames, batch_size=1):
        batch = target.batch(data)
        (sample,) = batch.samples
        names = np.array(
            [
                "Vehicle" if n in ("Car", "Van", "Truck") else n
                for n in sample.objects.names
            ],
            dtype=object,
        )
        vars_of = vars(sample.objects) | {"names": names}
        truth.append(type(sample.objects)(**vars_of))
        found.append(target.predict(batch.inputs, batch.samples)[0].detections)
    result = evaluate(
        truth,
        found,
        classes=rules_with_overlaps({"Vehicle": 0.5}),
        metrics=("2d",),
        difficulties=KITTI_DIFFICULTIES,
    )
    assert mean_ap(result, "2d", "hard") == pytest.approx(expected, abs=1.0)
