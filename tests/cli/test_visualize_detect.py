"""tools/visualize.py detect, end to end on tiny frames and random weights."""

import os
from types import SimpleNamespace

import cv2
import pytest
from attacked_project import REPOSITORY, make_project
from tiny_kitti import write_config
from tool_runner import status_of

from perception.apis import load_detector
from perception.cli import visualize as tool
from perception.core.checkpoints import save_weights
from perception.core.images import read_image
from perception.core.structures import DataError
from perception.visualization.detect_run import shared_attacks

ATTACKS = """
lidar = dict(type="MapThreat", sensor="lidar", eps=dict(depth_m=5.0), steps=1)
camera = dict(type="MapThreat", sensor="camera", eps=16.0, steps=1)
attacks = dict(
    lidar_pgd=dict(type="PGD", threat=lidar),
    camera_pgd=dict(type="PGD", threat=camera),
)
suites = dict(reverse=["lidar_pgd", "camera_pgd"])
"""
FAST = ("--steps", "2", "--width", "640", "--score-threshold", "0")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    return make_project(tmp_path_factory.mktemp("project with space"))


@pytest.fixture(name="draw")
def detect(project, tmp_path, capsys):
    """Run the tool in this process: status, files told on stdout, errors."""

    def draw(*words, config=project.config, checkpoint=project.checkpoint):
        argv = ["detect", config, checkpoint, "--out", tmp_path, *words]
        status = status_of(tool.main, *argv)
        out, err = capsys.readouterr()
        told = [line for line in out.splitlines() if line.startswith(str(tmp_path))]
        errors = [line for line in err.splitlines() if line.startswith("error:")]
        return status, [os.path.relpath(path, tmp_path) for path in told], errors

    return draw


def test_clean_frames_are_spread_over_the_split(draw, tmp_path):
    status, files, _ = draw("--num", 2, "--width", 640, "--video", "gif")
    assert status == 0
    assert files == ["000001.png", "000003.png", "clean.gif"]
    assert read_image(tmp_path / files[0]).shape[1] == 640


def test_attack_with_its_steps_as_video(draw, tmp_path):
    words = ("--threat", "lidar_pgd", "--frames", "000002", *FAST)
    status, files, _ = draw(*words, "--video", "mp4", "--video-of", "steps")
    assert status == 0
    name = "000002_lidar_pgd@steps=2"
    assert files == [f"{name}.png", f"{name}_steps.mp4"]
    video = cv2.VideoCapture(str(tmp_path / files[1]))
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) >= 2


def test_same_command_same_picture(draw, tmp_path):
    words = ("--threat", "camera_pgd", "--frames", "000001", "--eps", "8", *FAST)
    pictures = []
    for _ in range(2):
        _, (file,), _ = draw(*words)
        pictures.append((tmp_path / file).read_bytes())
    assert file == "000001_camera_pgd@eps=8,steps=2.png"
    assert pictures[0] == pictures[1]


@pytest.mark.parametrize("how", [(), ("--transfer",)], ids=["white-box", "transfer"])
def test_comparison(draw, project, tmp_path, how):
    other = ("--compare", project.config, project.checkpoint)
    words = ("--threat", "camera_pgd", "--num", 1, *FAST, *other, *how)
    status, files, _ = draw(*words)
    assert status == 0 and len(files) == 1
    assert read_image(tmp_path / files[0]).shape[1] == 640


@pytest.mark.parametrize("first", ["all sensors", "camera"])
def test_a_comparison_pairs_attacks_by_name(draw, project, tmp_path, first):
    """A suite has fewer attacks for a detector with fewer sensors."""
    config, weights = tmp_path / "camera.py", tmp_path / "camera.safetensors"
    write_config(config, project.data, REPOSITORY / "configs/synthetic/camera_only.py")
    save_weights(weights, load_detector(config).state_dict())
    attacks = tmp_path / "attacks.py"
    attacks.write_text(ATTACKS)
    ours, camera = (project.config, project.checkpoint), (config, weights)
    one, other = (ours, camera) if first == "all sensors" else (camera, ours)
    words = ("--threat", "reverse", "--num", 1, *FAST, "--attacks", attacks)
    words += ("--compare", *other)
    status, files, errors = draw(*words, config=one[0], checkpoint=one[1])
    assert (status, errors) == (0, [])
    assert files == ["000001_camera_pgd@steps=2.png"]


def test_only_attacks_that_all_detectors_have_are_compared():
    def prepared(*names):
        threats = [SimpleNamespace(name=name) for name in names]
        return [SimpleNamespace(perturbation=threat) for threat in threats]

    rounds, left_out = shared_attacks([prepared("a", "b"), prepared("b", "c")])
    assert [[one.name for one in same] for same in rounds] == [["b", "b"]]
    assert left_out == ["a", "c"]
    with pytest.raises(DataError, match="no attack fits every detector: a, b"):
        shared_attacks([prepared("a"), prepared("b")])


def test_recording(draw, tmp_path):
    reason = "rerun is not installed (pip install -e '.[viewer]'): not tested"
    pytest.importorskip("rerun", reason=reason)
    recording = tmp_path / "x.rrd"
    status, files, _ = draw("--num", 1, "--width", 640, "--rerun", recording)
    assert status == 0 and files == ["000001.png", "x.rrd"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--frames", "000099"), "000099"),
        (("--threat", "no_such"), "no_such"),
        (("--eps", "4"), "need --threat"),
        (("--threat", "camera_pgd", "--eps", "much"), "--eps takes"),
        (("--threat", "lidar_pgd", "--eps", "4"), "depth_m="),
        (("--transfer",), "--compare"),
        (("--video", "gif", "--video-of", "steps"), "--threat"),
        (("--width", "10"), "at least 320"),
        (("--split", "nowhere"), "nowhere"),
        (("--device", "abacus"), "abacus"),
        (("--cfg-options", "x"), "KEY=VALUE"),
        (("--attacks", "nothing.py", "--threat", "x"), "nothing.py"),
    ],
)
def test_bad_input_is_one_line(draw, words, message):
    status, files, errors = draw(*words)
    assert status == 2 and files == [] and len(errors) == 1
    assert message in errors[0]


def test_checkpoint_of_another_config(draw, project, tmp_path):
    other = tmp_path / "other.py"
    other.write_text(
        f"_base_ = {str(project.config)!r}\n"
        "model = dict(fusion=dict(_delete_=True, type='MeanFusion', in_channels=8,"
        " num_levels=3, out_channels=8))\n"
    )
    status, _, errors = draw("--num", 1, config=other)
    assert status == 2 and len(errors) == 1 and "weights of another" in errors[0]


def test_missing_weights_without_a_display(project, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("DISPLAY", raising=False)
    words = ("detect", project.config, "missing.pth", "--out", tmp_path)
    assert status_of(tool.main, *words) == 2
    assert capsys.readouterr().err == "error: missing.pth: no such checkpoint\n"
