"""The example that serves an exported detector says what the detector says."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_kitti import write_config, write_kitti

from perception.apis import build_dataset, detect, load_detector
from perception.models.export import GraphSpec, export_onnx

pytest.importorskip("onnxruntime", reason="onnxruntime not installed: not tested")
pytest.importorskip("onnx", reason="onnx not installed: nothing exported")
ROOT = Path(__file__).resolve().parents[1]


def test_it_serves_what_the_detector_detects(tmp_path):
    root = write_kitti(tmp_path / "kitti", train=1, val=1)
    base = ROOT / "configs" / "synthetic" / "odd_one_out_robust.py"
    config = write_config(tmp_path / "config.py", root, base)
    weights = ROOT / "data" / "zoo" / "odd_one_out_robust.safetensors"
    detector = load_detector(config, weights)
    detector.bbox_head.conv_cls.bias.data += 3.0  # it is sure of what it never saw
    (sample,) = detect(detector, build_dataset(config, "val"))
    export_onnx(
        detector,
        tmp_path / "model.onnx",
        GraphSpec(size=(32, 64), points=True, boxes="nms"),
    )
    example = ROOT / "data" / "examples" / "serve_onnx.py"
    command = [example, tmp_path / "model.onnx", root / "training", "000001"]
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, check=True
    )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines[-1][:2] == ["000001", "gate"] and len(lines[-1]) == 2 + 4
    said = {(int(k), s): np.array(box, float) for _, k, s, *box in lines[:-1]}
    found = sample.pred_instances.numpy()
    sure = found.scores >= 0.3
    assert sure.any() and len(said) == sure.sum()
    for label, score, box in zip(
        found.labels[sure], found.scores[sure], found.bboxes[sure], strict=True
    ):
        assert said[label, f"{score:.3f}"] == pytest.approx(box, abs=0.06)
