"""Certified recall over frames: counts, and the tool."""

import json
import runpy
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_kitti import write_config, write_kitti

from perception.apis import load_detector
from perception.core.checkpoints import sha256
from perception.core.structures import Objects
from perception.datasets.kitti.files import read_objects, write_objects
from perception.evaluation.certificate.attackers import Attackers, one_object_each
from perception.evaluation.certificate.corner import (
    worst_case_ap,
    worst_detections,
)
from perception.evaluation.certificate.outlines import outlines
from perception.evaluation.certificate.run import certified_frames, certify
from perception.evaluation.detection.rules import Scoring
from perception.evaluation.robustness.spec import DetectorRun, DetectorSpec, Running
from perception.evaluation.robustness.subject import load_subject
from perception.models.output import DetectorOutput

REPOSITORY = Path(__file__).parents[2]
OVERLAPS = dict(Car=0.5, Pedestrian=0.5, Cyclist=0.5)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> tuple[Path, Path]:
    """A config with its frames, and a checkpoint that detects at every location."""
    folder = tmp_path_factory.mktemp("certified")
    base = REPOSITORY / "configs" / "synthetic" / "median.py"
    config = write_config(folder / "median.py", write_kitti(folder / "kitti"), base)
    detector = load_detector(config)
    torch.save(detector.state_dict(), folder / "weights.pth")
    return config, folder / "weights.pth"


def test_counts_add_up_and_no_certified_object_is_hidden(made):
    config, checkpoint = made
    spec = DetectorSpec(config=str(config), checkpoint=str(checkpoint))
    scoring = Scoring(OVERLAPS, score_threshold=0.001)
    subject = replace(load_subject(DetectorRun(detector=spec)), scoring=scoring)
    figures = certify(subject, Running(), attackers=Attackers(2))
    assert figures["objects"] == 4
    for count in figures["sensors"].values():
        assert count["violations"] == 0
        assert 0 <= count["certified"] <= count["survived"] <= 4
        assert 0 <= count["ghost_free"] <= count["not_fooled"]
        assert list(count["at"]) == ["0.3", "0.4", "0.5", "0.6", "0.7", "0.8"]
        free = [one["ghost_free"] for one in count["at"].values()]
        assert count["ghost_free"] <= free[0] and free == sorted(free)
    one = replace(subject, indices=[0])
    plain = certify(one, Running(), attackers=Attackers(0))
    assert plain["sensors"]["camera"]["violations"] is None
    with pytest.raises(ValueError, match="no overlap for Pedestrian, Cyclist"):
        other = replace(one, scoring=Scoring({"Car": 0.5}))
        certify(other, Running(), attackers=Attackers(0))


def test_metres_are_counted_and_nothing_moves_further(tmp_path):
    """Objects whose labels are in space, of a detector with boxes in metres."""
    data = write_kitti(tmp_path / "kitti")
    for index in (4, 5):
        file = data / "training" / "label_2" / f"{index:06d}.txt"
        where = [[-2.0, 1.5, 10, 1.5, 1.6, 3.9, 0.1], [4, 1.5, 15, 1.7, 0.6, 0.8, 1]]
        known = read_objects(file)
        objects = Objects.from_boxes(known.names, known.boxes_px, None, where)
        write_objects(file, replace(objects, truncation=np.zeros(2)))
    base = REPOSITORY / "configs" / "synthetic" / "consensus_3d.py"
    config = write_config(tmp_path / "consensus_3d.py", data, base)
    torch.manual_seed(0)
    weights = load_detector(config).state_dict()
    for head in ("bbox_head", "branch_head"):  # sure of large boxes everywhere
        weights[f"{head}.conv_cls.bias"].fill_(2.0)
        weights[f"{head}.conv_reg.bias"].fill_(2.0)
    torch.save(weights, tmp_path / "weights.pth")
    spec = DetectorSpec(
        config=str(config),
        checkpoint=str(tmp_path / "weights.pth"),
        cfg_options={"model.test_cfg.max_per_img": 1000},
    )
    subject = load_subject(DetectorRun(detector=spec))
    low = dict.fromkeys(OVERLAPS, 0.001)
    subject = replace(subject, scoring=Scoring(low, score_threshold=0.001))
    figures = certify(subject, Running(), attackers=Attackers(1))
    assert figures["objects"] == 4 and list(figures["within"]) == ["2", "4"]
    for count in figures["sensors"].values():
        assert count["violations"] == 0
        within = count["within"]
        for kind in ("certified", "attacked"):
            near, far = (within[kind][limit]["objects"] for limit in ("2", "4"))
            assert 0 <= near <= far <= 4
        assert within["certified"]["4"]["objects"] <= count["certified"]
    (frames,) = certified_frames(subject, Running(), Attackers(0))
    (first, second) = (frame["sensors"]["lidar"] for frame in frames)
    assert first["metres_attacked"] == [] and len(second["metres"]) == 2
    sure = [s > 0.001 for one in (first, second) for s in one["scores"]]
    known = [x is not None for one in (first, second) for x in one["metres"]]
    assert sure == known and any(sure)  # the certificate says something
    batch = next(iter(subject.batches(Running(), subject.indices[:1])))
    asked = (subject.detector, batch, subject.scoring)
    assert len(outlines(*asked, ("lidar",))) == sum(sure[:2])
    assert len(outlines(*asked)) <= len(outlines(*asked, ("lidar",)))  # any one of them
    assert outlines(*asked, ("lidar", "camera")) == ()


def test_each_object_is_attacked_by_itself(made):
    config, checkpoint = made
    spec = DetectorSpec(config=str(config), checkpoint=str(checkpoint))
    subject = load_subject(DetectorRun(detector=spec))
    (batch, *_) = subject.batches(Running(batch_size=2))
    alone = one_object_each(batch, 1)
    whole = batch.samples[1].gt_instances
    assert len(alone) == len(whole) == 2 and alone.ids == [batch.ids[1]] * 2
    for g, copy in enumerate(alone.samples):
        assert torch.equal(copy.gt_instances.bboxes, whole.bboxes[g : g + 1])
        assert copy.frame_id == batch.samples[1].frame_id
    assert len(batch.samples[1].gt_instances) == 2  # the frame keeps all of them
    for name, value in alone.inputs.items():
        assert torch.equal(value[0], batch.inputs[name][1])
    hiding = list(Attackers(1, 16 / 255).on(subject.target, batch))
    assert [one.alone for one in hiding] == [True, True, False] * 2 * 3
    for one in hiding:
        other = next(n for n in one.inputs if n != one.sensor)
        assert torch.equal(one.inputs[other], one.batch.inputs[other])
    with pytest.raises(ValueError, match="share of the range"):
        Attackers(1, 0.0)


def test_worst_case_within_bounds(made, monkeypatch):
    config, checkpoint = made
    spec = DetectorSpec(config=str(config), checkpoint=str(checkpoint))
    subject = load_subject(DetectorRun(detector=spec))
    (batch, *_) = subject.batches(Running(batch_size=2))
    worst = worst_detections(subject.target, batch)
    assert list(worst) == ["camera", "lidar", "depth"]
    figures = worst_case_ap(subject, Running())
    assert all(0 <= one["mean_ap"] <= 100 for one in figures.values())
    # Bounds without width leave the detector's own answer.
    same = lambda output, name: (output.outputs, output.outputs)  # noqa: E731
    monkeypatch.setattr(DetectorOutput, "bounds", same)
    clean = subject.target.predict(batch.inputs, batch.samples)
    for frames in worst_detections(subject.target, batch).values():
        for mine, one in zip(frames, clean, strict=True):
            np.testing.assert_allclose(
                mine.boxes_px, one.detections.boxes_px, rtol=1e-5
            )
            assert mine.names.tolist() == one.detections.names.tolist()


def test_tool(made, tmp_path, monkeypatch, capsys):
    tool, file = REPOSITORY / "tools" / "certify.py", tmp_path / "c.json"
    arguments = [*made, "--num", 1, "--check", 1, "--json", file, "--worst-case"]
    arguments += ["--cfg-options", "model.aggregator.margin=0"]
    monkeypatch.setattr(sys, "argv", [str(tool), *map(str, arguments)])
    runpy.run_path(str(tool), run_name="__main__")
    out, err = capsys.readouterr()
    assert "1 frames, 2 objects" in out and "any change of depth" in out
    assert "any change of lidar: mean AP about" in out
    assert "4/4" in err  # time left: the clean frame, then the attacks on each sensor
    figures = json.loads(file.read_text())
    assert figures["frames"] == 1 and figures["frame_ids"] == ["000004"]
    assert figures["checkpoint_sha256"] == sha256(made[1])
    assert figures["cfg_options"] == {"model.aggregator.margin": 0}
    assert figures["data_root"] == str(made[0].parent / "kitti")
    assert f"--check 1 --json {file}" in figures["command"]
    assert figures["versions"]["torch"]


def test_tool_takes_another_split(made, tmp_path, monkeypatch, capsys):
    tool, file = REPOSITORY / "tools" / "certify.py", tmp_path / "c.json"
    words = [*made, "--split", "train", "--batch-size", 3, "--json", file]
    monkeypatch.setattr(sys, "argv", [str(tool), *map(str, words)])
    runpy.run_path(str(tool), run_name="__main__")
    assert "4 frames, 8 objects, score > 0.3" in capsys.readouterr().out
    assert json.loads(file.read_text())["split"] == "train"


def test_tool_needs_labels(made, tmp_path, monkeypatch, capsys):
    data = shutil.copytree(made[0].parent / "kitti", tmp_path / "kitti")
    shutil.rmtree(data / "training" / "label_2")
    tool = REPOSITORY / "tools" / "certify.py"
    words = [*made, "--cfg-options", f"data_root={data}"]
    monkeypatch.setattr(sys, "argv", [str(tool), *map(str, words)])
    with pytest.raises(SystemExit, match="2"):
        runpy.run_path(str(tool), run_name="__main__")
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: frame 000004: no labels")


def test_tool_takes_an_address(made, tmp_path, monkeypatch):
    tool, file = REPOSITORY / "tools" / "certify.py", tmp_path / "c.json"
    words = [str(tool), str(made[0]), "https://example.org/weights.pth"]
    words += ["--num", "1", "--json", str(file)]
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(
        torch.hub, "download_url_to_file", lambda url, to: shutil.copy(made[1], to)
    )
    monkeypatch.setattr(sys, "argv", words)
    runpy.run_path(str(tool), run_name="__main__")
    assert json.loads(file.read_text())["checkpoint_sha256"] == sha256(made[1])


def test_tool_refuses_other_fusions(made, tmp_path, monkeypatch, capsys):
    config = write_config(
        tmp_path / "concat.py",
        made[0].parent / "kitti",
        REPOSITORY / "configs" / "synthetic" / "concat.py",
    )
    torch.save(load_detector(config).state_dict(), tmp_path / "w.pth")
    tool = REPOSITORY / "tools" / "certify.py"
    monkeypatch.setattr(sys, "argv", [str(tool), str(config), str(tmp_path / "w.pth")])
    with pytest.raises(SystemExit) as end:
        runpy.run_path(str(tool), run_name="__main__")
    assert end.value.code == 2
    assert "certificates are for an aggregator" in capsys.readouterr().err
