"""tools/monitor.py on a tiny set, as a user runs it."""

import csv
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from attacked_project import REPOSITORY, make_project
from rosbags.highlevel import AnyReader
from sklearn.metrics import roc_auc_score
from tiny_kitti import make_frame, write_kitti
from tool_runner import status_of

from perception.apis import (
    LiveMonitor,
    SensorMonitor,
    build_dataset,
    detect,
    load_detector,
)
from perception.cli import monitor as tool
from perception.cli.options import run_tool
from perception.core.checkpoints import save_weights, sha256
from perception.core.config import load_config
from perception.core.structures import DataError
from perception.datasets.kitti.files import write_depth, write_points
from perception.datasets.timeline import TIMELINE, Instant, write_timeline

FRAMES = ["000001", "000002", "000003", "000004"]
RATE = ("--false-alarm-rate", "0.1")


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A detector with a gate and with doubt."""
    return make_project(tmp_path_factory.mktemp("project"), "agreement")


@pytest.fixture(scope="module")
def clean(tmp_path_factory):
    """Nine frames to calibrate on; the rate 0.1 needs as many."""
    return write_kitti(tmp_path_factory.mktemp("clean") / "kitti", train=1, val=9)


@pytest.fixture
def drive(project, tmp_path):
    """The project's frames without labels and split files."""
    drive = tmp_path / "drive"
    shutil.copytree(project.data, drive)
    shutil.rmtree(drive / "training" / "label_2")
    shutil.rmtree(drive / "ImageSets")
    return drive


def run(project, out, *words):
    """The tool in this process; its CSV and summary."""
    argv = [project.config, project.checkpoint, "--out", out, *words]
    tool.main([str(word) for word in argv])
    with (out / "trust.csv").open() as file:
        rows = list(csv.DictReader(file))
    return rows, json.loads((out / "summary.json").read_text())


def gates_of(project, root):
    config = load_config(project.config, {"data_root": str(root)})
    samples = detect(
        load_detector(config, project.checkpoint), build_dataset(config, "test")
    )
    return [sample.gate.tolist() for sample in samples]


def test_end_to_end(project, clean, tmp_path, capsys):
    words = ("--calibration-root", clean, *RATE, "--smoothing", "0.5")
    rows, summary = run(project, tmp_path / "a", *words, "--batch-size", "3")
    said = capsys.readouterr().out
    assert "No alarm is no proof that no sensor is compromised" in said
    assert sorted(os.listdir(tmp_path / "a")) == [
        "monitor.json",
        "summary.json",
        "trust.csv",
        "trust.jsonl",
        "trust.png",
    ]

    sensors = ["camera", "lidar", "depth"]
    expected = SensorMonitor.calibrate(
        gates_of(project, clean), sensors=sensors, false_alarm_rate=0.1, smoothing=0.5
    )
    monitor = SensorMonitor.load(tmp_path / "a" / "monitor.json")
    assert monitor.threshold == pytest.approx(expected.threshold, abs=1e-4)
    assert (monitor.frames, monitor.smoothing) == (9, 0.5)
    gates = gates_of(project, project.data)
    states = monitor.follow(gates)
    assert [row["frame"] for row in rows] == FRAMES
    for row, gate, state in zip(rows, gates, states, strict=True):
        for name, value in zip([*sensors, "none"], gate, strict=True):
            assert float(row[f"gate_{name}"]) == pytest.approx(value, abs=1e-4)
        for name, value in state.trust.items():
            assert float(row[f"trust_{name}"]) == pytest.approx(value, abs=1e-4)
        assert float(row["score"]) == pytest.approx(state.score, abs=1e-3)
        assert row["alarm"] == (state.alarm or "")
        assert row["gate_alarm"] and not row["missing"] and not row["attacked"]

    assert summary["frames"] == 4
    assert summary["checkpoint_sha256"] == sha256(project.checkpoint)
    saved = tmp_path / "a" / "monitor.json"
    assert summary["monitor"] == json.loads(saved.read_text())
    assert "--smoothing 0.5 --batch-size 3" in summary["command"]
    alarms = [state for state in states if state.alarm]
    assert summary["alarm_share"] == len(alarms) / 4

    again, _ = run(project, tmp_path / "b", "--monitor", saved, "--num", "2")
    assert [row["frame"] for row in again] == FRAMES[:2]
    for name in ("trust_camera", "trust_lidar", "trust_depth"):
        new, old = float(again[1][name]), float(rows[1][name])
        assert new == pytest.approx(old, abs=1e-4)


def test_a_drive_without_labels_and_some_data(project, clean, drive, tmp_path, capsys):
    (drive / "training" / "depth_2" / "000002.png").unlink()
    words = ("--calibration-root", clean, *RATE, "--split", "all")
    words += ("--cfg-options", f"data_root={drive}")
    rows, summary = run(project, tmp_path / "out", *words)
    assert [row["frame"] for row in rows] == ["000000", *FRAMES]
    lacking = rows[2]
    assert (lacking["missing"], lacking["alarm"]) == ("depth", "depth")
    assert (lacking["trust_depth"], lacking["score"]) == ("0", "inf")
    assert lacking["gate_none"] == lacking["gate_alarm"] == ""
    assert lacking["trust_camera"] == rows[1]["trust_camera"]
    assert summary["sensors"]["depth"]["missing_frames"] == 1
    assert all(row["gate_none"] for row in rows if row is not lacking)


def test_threat_begins_in_the_middle(project, clean, tmp_path, capsys):
    words = ("--calibration-root", clean, *RATE, "--threat", "lidar_blackout_5")
    rows, summary = run(project, tmp_path / "out", *words)
    assert [row["attacked"] for row in rows] == ["", "", "lidar", "lidar"]
    assert summary["attack"]["name"] == "lidar_blackout_5"
    assert summary["sensors"]["lidar"]["attacked_frames"] == 2
    gates = gates_of(project, project.data)
    change = [
        abs(float(r["gate_none"]) - g[3]) for r, g in zip(rows, gates, strict=True)
    ]
    assert max(change[:2]) < 1e-4 < max(change[2:])
    assert "lidar attacked in 2 frames" in capsys.readouterr().out


def refused(project, tmp_path, capsys, *words):
    """The line on stderr with which the tool ends."""
    with pytest.raises(SystemExit) as stopped:
        run_tool(lambda: run(project, tmp_path / "out", *words))
    assert stopped.value.code == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "error: " in line
    assert not (tmp_path / "out").exists()
    return line


ERRORS = {
    "few frames": (
        ["--num", "2"],
        "9 clean frames allow no false-alarm rate below 0.1",
    ),
    "fewer frames": (
        [*RATE, "--calibration-num", "8"],
        "calibrate on at least 9 frames",
    ),
    "rate": (["--false-alarm-rate", "1"], "rate must be in (0, 1), got 1.0"),
    "smoothing": ([*RATE, "--smoothing", "1"], "smoothing must be in [0, 1), got 1.0"),
    "threat": ([*RATE, "--threat", "rain"], "no threat 'rain'"),
    "suite": ([*RATE, "--threat", "quick"], "--threat takes one attack, not quick"),
    "split": ([*RATE, "--calibration-split", "nowhere"], "nowhere.txt"),
    "twice": (["--monitor", "x"], "not allowed with argument --calibration-root"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_one_line(project, clean, tmp_path, capsys, case):
    words, message = ERRORS[case]
    line = refused(project, tmp_path, capsys, "--calibration-root", clean, *words)
    assert message in line


def test_frames_that_cannot_calibrate(project, clean, tmp_path, capsys):
    words = ("--calibration-root", project.data, "--false-alarm-rate", "0.2")
    line = refused(project, tmp_path, capsys, *words)
    assert line.endswith("calibrate on other frames than those to judge")
    partial = tmp_path / "partial"
    shutil.copytree(clean, partial)
    (partial / "training" / "depth_2" / "000002.png").unlink()
    line = refused(project, tmp_path, capsys, "--calibration-root", partial, *RATE)
    assert line.endswith(
        "frame 000002: no depth data; calibrate on frames that have every sensor"
    )


def test_threat_needs_labels(project, clean, drive, tmp_path, capsys):
    words = ("--calibration-root", clean, *RATE, "--threat", "lidar_noise")
    words += ("--split", "all", "--cfg-options", f"data_root={drive}")
    line = refused(project, tmp_path, capsys, *words)
    assert line.endswith("frame 000004: no labels, which --threat needs")


def test_detectors_without_gate(clean, tmp_path, capsys):
    for base in ("concat", "camera_only"):
        project = make_project(tmp_path / base, base)
        words = ("--calibration-root", clean, *RATE)
        line = refused(project, tmp_path, capsys, *words)
        assert "this detector has no gate that says whom to trust" in line


def test_monitors_that_do_not_fit(project, tmp_path, capsys):
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    line = refused(project, tmp_path, capsys, "--monitor", bad)
    assert "bad.json: not a sensor monitor" in line
    line = refused(project, tmp_path, capsys, "--monitor", bad, "--smoothing", "0")
    assert "--monitor is calibrated already and takes no --smoothing" in line
    gates = [[0.1, 0.1, 0.8]] * 9
    other = SensorMonitor.calibrate(
        gates, sensors=["camera", "radar"], false_alarm_rate=0.1
    )
    other.save(bad)
    line = refused(project, tmp_path, capsys, "--monitor", bad)
    assert "a monitor of camera, radar, but the detector has camera, lidar" in line
    line = refused(project, tmp_path, capsys)
    assert "--calibration-root --monitor is required" in line


def test_help_teaches():
    done = subprocess.run(
        [sys.executable, str(REPOSITORY / "tools" / "monitor.py"), "--help"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert done.returncode == 0, done.stderr
    for word in ("examples (", "trust.csv", "No alarm is no proof", "--smoothing 0"):
        assert word in done.stdout


def test_two_sensors_cannot_be_judged(project, clean, drive, tmp_path, capsys):
    """A drive without depth: an alarm in every frame would say nothing."""
    shutil.rmtree(drive / "training" / "depth_2")
    words = ("--calibration-root", clean, *RATE, "--split", "all")
    words += ("--cfg-options", f"data_root={drive}")
    line = refused(project, tmp_path, capsys, *words)
    assert "no frame has depth; of camera and lidar alone no gate can tell" in line
    assert not (tmp_path / "trust.csv").exists()


def test_a_gate_that_accuses_clean_frames_is_told(project, clean, tmp_path, capsys):
    words = ("--calibration-root", clean, *RATE)
    run(project, tmp_path / "quiet", *words)
    assert "warning: of 9 clean frames" not in capsys.readouterr().out
    weights = load_detector(project.config, project.checkpoint).state_dict()
    weights["aggregator.gate.mean"] -= 20
    loud = replace(project, checkpoint=tmp_path / "loud.safetensors")
    save_weights(loud.checkpoint, weights)
    run(loud, tmp_path / "loud", *words)
    said = capsys.readouterr().out
    assert "warning: of 9 clean frames the gate accuses" in said
    assert "tools/calibrate.py" in said


@pytest.fixture
def sequence(project, tmp_path):
    """Twelve frames of one drive without labels."""
    root = write_kitti(tmp_path / "sequence", train=12, val=0)
    for index in range(12):  # no two readings are the same
        frame, base = make_frame(index), root / "training"
        depth_m = frame.sensors["depth"] + 0.01 * (index + 1)
        points = frame.sensors["lidar"] * np.float32(1 + 0.001 * index)
        write_depth(base / "depth_2" / f"{frame.frame_id}.png", depth_m)
        write_points(base / "velodyne" / f"{frame.frame_id}.bin", points)
    shutil.rmtree(root / "training" / "label_2")
    names = [f"{number:06d}" for number in range(12)]
    instants = [Instant(name, "one", n * 10**8) for n, name in enumerate(names)]
    write_timeline(root / "training" / TIMELINE, instants)
    return root


def test_a_late_sensor_of_a_drive_without_labels(project, clean, sequence, tmp_path):
    words = ("--calibration-root", clean, *RATE, "--split", "all")
    words += ("--cfg-options", f"data_root={sequence}", "--threat", "lidar_late_2")
    rows, summary = run(project, tmp_path / "out", *words)
    assert [bool(row["attacked"]) for row in rows] == [False] * 6 + [True] * 6
    assert summary["sensors"]["lidar"]["attacked_frames"] == 6
    more = ("--monitor", tmp_path / "out/monitor.json", "--split", "all")
    more += ("--cfg-options", f"data_root={sequence}")
    bag = tmp_path / "alarms"
    whole, _ = run(project, tmp_path / "b", *more, "--diagnostics", bag)
    assert [row["alarm"] for row in rows[6:8]] == ["lidar", "lidar"]  # it falls back
    scores = [[float(row["score"]) for row in each] for each in (rows, whole)]
    assert scores[0][:6] == scores[1][:6]
    assert scores[0][6:] != scores[1][6:]
    text = (tmp_path / "b/trust.jsonl").read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    assert [line["time_ns"] for line in lines] == [n * 10**8 for n in range(12)]
    assert [line["alarm"] or "" for line in lines] == [row["alarm"] for row in whole]
    with AnyReader([bag]) as reader:  # by the definitions that the bag carries
        told = [
            (time_ns, reader.deserialize(data, connection.msgtype))
            for connection, time_ns, data in reader.messages()
        ]
    assert [time_ns for time_ns, _ in told] == [line["time_ns"] for line in lines]
    for (_, message), line in zip(told, lines, strict=True):
        levels = {one.name.split(": ")[1]: one.level for one in message.status}
        assert set(levels) == set(line["trust"])
        accused = [name for name, level in levels.items() if level == 2]
        assert line["stale"] == []
        assert accused == ([line["alarm"]] if line["alarm"] else [])


def test_every_failure_in_time(project, clean, sequence, tmp_path, capsys):
    words = [project.config, project.checkpoint, "--out", tmp_path / "out", *RATE]
    words += ["--calibration-root", clean, "--split", "all", "--in-time"]
    words += ["--smoothing", "0", "--cfg-options", f"data_root={sequence}"]
    tool.main([str(word) for word in words])
    assert sorted(os.listdir(tmp_path / "out")) == [
        "in_time.json",
        "in_time.md",
        "in_time.png",
        "monitor.json",
    ]
    report = json.loads((tmp_path / "out/in_time.json").read_text())
    assert report["clean"]["frames"] == 12
    assert report["clean"]["hours"] == pytest.approx(1.1 / 3600)
    assert len(report["failures"]) == 3 * 5 * 5
    assert all(one["frames"] == 6 for one in report["failures"])
    for one in report["failures"]:  # who shows what was shown before is found at once
        if one["kind"] in ("late", "replay", "frozen"):
            assert (one["soon"], one["delay"], one["auroc"]) == (1, 0, 1.0), one
    said = capsys.readouterr().out
    assert (tmp_path / "out/in_time.md").read_text() in said
    # What one failure does, once more by the monitor's own way.
    late = next(
        one
        for one in report["failures"]
        if (one["sensor"], one["kind"], one["severity"]) == ("lidar", "late", 2)
    )
    more = ("--monitor", tmp_path / "out/monitor.json", "--split", "all")
    more += ("--cfg-options", f"data_root={sequence}")
    failed, _ = run(project, tmp_path / "b", *more, "--threat", "lidar_late_2")
    whole, _ = run(project, tmp_path / "c", *more)
    scores = [float(row["score"]) for row in (*whole[6:], *failed[6:])]
    expected = roc_auc_score([0] * 6 + [1] * 6, scores)
    assert late["auroc"] == pytest.approx(expected, abs=0.03)


def test_frames_that_come_one_by_one_are_judged_likewise(
    project, clean, sequence, tmp_path
):
    words = ("--calibration-root", clean, *RATE, "--split", "all")
    words += ("--cfg-options", f"data_root={sequence}")
    rows, _ = run(project, tmp_path / "out", *words)
    config = load_config(project.config, {"data_root": str(sequence)})
    config.test_dataloader.dataset.frames.split = "all"
    frames = build_dataset(config, "test").frames
    monitor = tmp_path / "out/monitor.json"
    watch = LiveMonitor(config, project.checkpoint, monitor)
    states = [watch.update(frame) for frame in frames]
    scores = [float(row["score"]) for row in rows]
    assert [state.score for state in states] == pytest.approx(scores, rel=1e-4)
    again = watch.update(frames[11])  # all sensors show what they have just shown
    assert again.stale == ("camera", "lidar", "depth")
    sensors = {k: v for k, v in frames[0].sensors.items() if k != "lidar"}
    assert watch.update(replace(frames[0], sensors=sensors)).alarm == "lidar"
    other = replace_names(monitor, tmp_path / "other.json")
    with pytest.raises(DataError, match="a monitor of a, b, c"):
        LiveMonitor(config, project.checkpoint, other)


def replace_names(path, out):
    out.write_text(json.dumps(json.loads(path.read_text()) | {"sensors": list("abc")}))
    return out


def test_failures_in_time_need_drives(project, clean, tmp_path, capsys):
    words = ("--calibration-root", clean, *RATE, "--in-time", "--out", tmp_path / "o")
    assert status_of(tool.main, project.config, project.checkpoint, *words) == 2
    assert "need drives of at least 8 frames" in capsys.readouterr().err
