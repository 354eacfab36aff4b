"""Detectors as ONNX files say what they say in PyTorch."""

import numpy as np
import pytest
import torch
from mmdet.registry import MODELS
from mmengine.registry import init_default_scope
from tiny_target import CHANNELS, collated, detector_config

from perception.core.structures import DataError
from perception.models.export import ExportedGraph, GraphSpec, draw_frames, export_onnx
from perception.models.rasterize import draw_points

ort = pytest.importorskip("onnxruntime", reason="onnxruntime not installed: not tested")
pytest.importorskip("onnx", reason="onnx not installed: nothing exported")

SIZE = (32, 64)
ODD = dict(
    type="OddOneOutFusion", in_channels=CHANNELS, num_levels=2, out_channels=CHANNELS
)
VARIANTS = {
    "concat": dict(fusion=dict(ODD, type="ConcatFusion")),
    "mean": dict(fusion=dict(ODD, type="MeanFusion")),
    "lel": dict(fusion=dict(ODD, type="LatentEnsembleFusion")),
    "global gate": dict(fusion=ODD),
    "hard gate": dict(fusion=dict(ODD, threshold=0.3)),
    "gate per location": dict(fusion=dict(ODD, gate="spatial")),
    "median": dict(fusion=ODD, aggregator=dict(type="MedianAggregator")),
    "agreement": dict(
        fusion=dict(ODD, gate=None),
        aggregator=dict(type="MedianAggregator", gate=dict(), margin=1.0),
    ),
    "consensus": dict(
        fusion=dict(ODD, gate=None), aggregator=dict(type="ConsensusAggregator")
    ),
    "one sensor": dict(fusion=None),
}
METRIC = dict(
    detector_config()["bbox_head"],
    type="FCOS3DHead",
    mean_sizes_m=[[1.5, 2.0, 4.0], [1.8, 0.6, 1.0], [1.8, 0.6, 1.7]],
)


def built(**changes):
    """A detector with initial weights, in eval mode; its gate suspects somebody."""
    init_default_scope("mmdet")
    config = detector_config() | changes
    if config["fusion"] is None:
        config["branches"] = {"camera": config["branches"]["camera"]}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        detector = MODELS.build(config)
        detector.init_weights()
    if detector.aggregator is not None and detector.aggregator.gate is not None:
        detector.aggregator.gate.mean -= 4.0
    return detector.eval()


def maps_of(detector, frames):
    packed = detector.data_preprocessor(collated(frames), False)
    return [packed["inputs"][name] for name in detector.sensors]


def check(graph, path, tensors):
    """The file's outputs, each within 1e-3 of PyTorch's."""
    session = ort.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    arrays = {n: x.numpy() for n, x in zip(graph.inputs, tensors, strict=True)}
    with torch.no_grad():
        expected = graph(*tensors)
    given = session.run(graph.outputs, arrays)
    for name, want, got in zip(graph.outputs, expected, given, strict=True):
        assert got.shape == tuple(want.shape), name
        np.testing.assert_allclose(got, want.numpy(), atol=1e-3, rtol=1e-3)
    return dict(zip(graph.outputs, given, strict=True)), session


@pytest.mark.parametrize("name", VARIANTS)
def test_every_neck_and_aggregator_with_any_number_of_frames(tmp_path, name):
    detector, spec = built(**VARIANTS[name]), GraphSpec(size=SIZE)
    export_onnx(detector, tmp_path / "a.onnx", spec)
    assert not detector.training and [one.name for one in tmp_path.iterdir()] == [
        "a.onnx"
    ]
    graph = ExportedGraph(detector, spec)
    for frames in ([0], [1, 2, 3]):
        found, _ = check(graph, tmp_path / "a.onnx", maps_of(detector, frames))
        assert ("gate" in found) == detector.has_gate
        if "gate" in found:
            assert found["gate"].shape == (len(frames), 4)


@pytest.mark.parametrize("points", [False, True])
def test_boxes_in_metres_with_measured_depths(tmp_path, points):
    """All numbers of the head, from maps and from points drawn in the graph."""
    heads = dict(bbox_head=METRIC, branch_head=METRIC)
    detector = built(**VARIANTS["consensus"], **heads)
    assert detector.bbox_head.depth_maps == 2
    spec = GraphSpec(size=SIZE, boxes="raw", points=points)
    export_onnx(detector, tmp_path / "a.onnx", spec)
    graph = ExportedGraph(detector, spec)
    tensors = graph.examples()
    found, _ = check(graph, tmp_path / "a.onnx", tensors)
    assert {"kind3_level0", "kind4_level1"} <= set(found)
    if not points:
        check(graph, tmp_path / "a.onnx", [x[:1] for x in tensors])


def test_boxes_are_those_that_the_head_finds(tmp_path, tiny_detector):
    """Before suppression, in pixels of the input; ONNX's own leaves the same ones."""
    spec = GraphSpec(size=SIZE, boxes="nms")
    export_onnx(tiny_detector, tmp_path / "a.onnx", spec)
    graph = ExportedGraph(tiny_detector, spec)
    data = collated([0, 1])
    packed = tiny_detector.data_preprocessor(data, False)
    tensors = [packed["inputs"][name] for name in tiny_detector.sensors]
    found, session = check(graph, tmp_path / "a.onnx", tensors)
    arrays = {n: x.numpy() for n, x in zip(graph.inputs, tensors, strict=True)}
    (selected,) = session.run(["selected"], arrays)
    for n, sample in enumerate(tiny_detector.test_step(data)):
        own = selected[selected[:, 0] == n]
        scores = found["scores"][n, own[:, 2], own[:, 1]]
        best = np.argsort(-scores, kind="stable")[
            : tiny_detector.bbox_head.test_cfg.max_per_img
        ]
        expected = sample.pred_instances
        assert len(expected) > 0
        boxes = found["boxes"][n, own[best, 2]][: len(expected)]
        np.testing.assert_allclose(boxes, expected.bboxes, atol=1e-2)
        np.testing.assert_allclose(
            scores[best][: len(expected)], expected.scores, atol=1e-4
        )
        assert own[best, 1][: len(expected)].tolist() == expected.labels.tolist()


def test_points_drawn_in_the_graph_are_those_drawn_outside(tmp_path, tiny_detector):
    source = torch.Generator().manual_seed(1)
    spec = tiny_detector.sensors["lidar"]
    height, width = SIZE
    projection = torch.tensor(
        [[40.0, 0, 32, 0], [0, 40.0, 16, 0], [0, 0, 1, 0]], dtype=torch.float32
    )
    clouds = []
    for count in (300, 0, 70):
        xyz = torch.randn(count, 3, generator=source) * torch.tensor([6.0, 3.0, 20.0])
        clouds.append(torch.cat([xyz, torch.rand(count, 1, generator=source)], dim=1))
    clouds[0][7] = clouds[0][3]  # equally near: the first one counts
    clouds[0][7, 3] = 0.5
    numbered = torch.cat(
        [
            torch.cat([torch.full((len(c), 1), float(n)), c], dim=1)
            for n, c in enumerate(clouds)
        ]
    )
    projections = projection.repeat(3, 1, 1)
    drawn = draw_frames(numbered, projections, spec, SIZE)
    expected = torch.stack([draw_points(c, spec, projection, SIZE) for c in clouds])
    assert torch.equal(drawn, expected)
    assert (expected != 0).any()
    assert drawn.shape == (3, len(spec.channels), height, width)
    graph_spec = GraphSpec(size=SIZE, points=True)
    export_onnx(tiny_detector, tmp_path / "a.onnx", graph_spec)
    graph = ExportedGraph(tiny_detector, graph_spec)
    assert graph.inputs == ["camera", "lidar", "depth", "lidar_projection"]
    camera = torch.rand(3, 3, *SIZE, generator=source) * 255
    depth = torch.rand(3, 1, *SIZE, generator=source) * 80
    check(graph, tmp_path / "a.onnx", [camera, numbered, depth, projections])


def test_what_cannot_be_exported(tmp_path, tiny_detector):
    with pytest.raises(DataError, match="multiple of 8"):
        export_onnx(tiny_detector, tmp_path / "a.onnx", GraphSpec(size=(30, 64)))
    assert not list(tmp_path.iterdir())
