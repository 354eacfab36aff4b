"""An exported detector, its gate included, is scored as the one that it was made of."""

import numpy as np
import pytest
from attacked_project import make_project

from perception.apis import load_detector
from perception.cli import test as tool
from perception.models.export import GraphSpec, export_onnx

pytest.importorskip("onnxruntime", reason="onnxruntime not installed: not tested")
pytest.importorskip("onnx", reason="onnx not installed: nothing exported")


def test_onnxruntime_scores_a_gated_detector(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    project = make_project(tmp_path, "odd_one_out")
    detector = load_detector(project.config, project.checkpoint)
    assert detector.has_gate
    export_onnx(detector, tmp_path / "model.onnx", GraphSpec(size=(32, 64)))
    found = []
    for weights, backend in (
        (project.checkpoint, "torch"),
        (tmp_path / "model.onnx", "onnxruntime"),
    ):
        folder = tmp_path / backend
        tool.main(
            [*map(str, (project.config, weights)), "--backend", backend]
            + ["--dump-kitti", str(folder)]
        )
        files = sorted(folder.rglob("*.txt"))
        assert len(files) == 4
        lines = [
            line.split() for file in files for line in file.read_text().split("\n")
        ]
        found.append([line for line in lines if line])
    assert len(found[0]) == len(found[1]) > 4
    boxes, scores = (
        [np.array([[float(x) for x in line[part]] for line in one]) for one in found]
        for part in (slice(4, 8), slice(15, 16))
    )
    assert boxes[0] == pytest.approx(boxes[1], abs=0.05)
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)
