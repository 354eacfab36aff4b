"""Two sensors and the past, frame by frame: as a target, attacked, and as a tool."""

import json
import math
from dataclasses import replace

import pytest
import torch
from attacked_project import make_project
from tool_runner import status_of

from perception.attacks import build_attack
from perception.cli import attack, test
from perception.cli import drives as tool
from perception.core.config import load_config
from perception.core.structures import DataError
from perception.datasets.loading import build_dataset, build_loader
from perception.datasets.timeline import TIMELINE, Instant, write_timeline
from perception.evaluation.drives import DrivesResult, in_markdown
from perception.models.history_detector import PAST
from perception.models.loading import load_detector
from perception.targets.history import HistoryTarget
from perception.targets.loading import load_target

FRAMES = 5


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The frames of one drive, and random weights of a detector with a history."""
    folder = tmp_path_factory.mktemp("p")
    made = make_project(folder, "consensus_robust")
    text = made.config.read_text()
    file = folder / "history.py"
    file.write_text(text.replace("consensus_robust.py", "camera_lidar_history.py"))
    made = replace(made, config=file)
    names = [f"{number:06d}" for number in range(FRAMES)]
    instants = [Instant(name, "one", n * 10**8) for n, name in enumerate(names)]
    write_timeline(made.data / "training" / TIMELINE, instants)
    return made


def following(project):
    config = load_config(project.config, {})
    config.test_dataloader.dataset.frames.split = "all"
    target = load_target(config, project.checkpoint)
    target.detector.aggregator.gate.mean.fill_(9.0)  # nobody contradicts so much
    dataset = build_dataset(config, "test")
    target.follow(dataset)

    def batch(*ids):
        (data,) = build_loader(dataset, ids, batch_size=len(ids))
        return target.batch(data, ids)

    return target, batch


def test_a_frame_brings_the_same_past_along_in_any_batch(project):
    target, batch = following(project)
    later = batch(3, 1)
    assert list(target.sensors) == ["camera", "lidar", PAST] == list(later.inputs)
    fresh, other = following(project)
    one, three = other(1), other(3)
    assert torch.equal(
        later.inputs[PAST], torch.cat([three.inputs[PAST], one.inputs[PAST]])
    )
    assert later.inputs[PAST].isfinite().all()
    assert later.inputs[PAST][:, -1].unique().item() == pytest.approx(0.1)  # its age
    first = batch(0)
    assert first.inputs[PAST].isnan().all()
    assert len(target.predict(first.inputs, first.samples)) == 1
    assert len(fresh.predict(one.inputs, one.samples)[0].gate) == 4


def test_a_target_that_follows_nothing_says_so(project):
    target, batch = following(project)
    data = batch(1)
    target._dataset = None
    with pytest.raises(DataError, match="a history needs the data set"):
        target.batch(data, [1])


@pytest.mark.parametrize("search", ["PGD", "IntervalPGD"])
def test_an_attack_on_the_present_leaves_the_past_and_keeps_to_the_bounds(
    project, search
):
    target, batch = following(project)
    clean = batch(2)
    threat = dict(type="MapThreat", sensor="camera", eps=16.0, steps=3)
    searched = build_attack("camera", dict(type=search, threat=threat))
    result = searched(target, clean)
    assert torch.equal(result.inputs[PAST], clean.inputs[PAST])
    assert torch.equal(result.inputs["lidar"], clean.inputs["lidar"])
    assert not torch.equal(result.inputs["camera"], clean.inputs["camera"])
    honest = target.seen(clean.inputs, clean.samples)
    attacked = target.seen(result.inputs, clean.samples)
    low, high = honest.bounds("camera")
    for least, most, kind in zip(low, high, attacked.outputs, strict=True):
        for x, y, level in zip(least, most, kind, strict=True):
            assert ((level >= x - 1e-4) & (level <= y + 1e-4)).all()


def run(project, out, *words):
    argv = [project.config, project.checkpoint, "--split", "all", "--length", FRAMES]
    argv += ["--out", out, *words]
    tool.main([str(word) for word in argv])
    return json.loads((out / "drives.json").read_text())["results"]


def test_a_patient_attacker_drags_the_past_along(
    project, tmp_path, capsys, monkeypatch
):
    remembered, renewed = [], HistoryTarget.renewed

    def spy(self, carried, output, n, number):
        remembered.append(output.remembered[0][0][n].sum().item())
        return renewed(self, carried, output, n, number)

    monkeypatch.setattr(HistoryTarget, "renewed", spy)
    words = ("--threat", "lidar_pgd", "--steps", "1", "--begin", "3")
    benign = run(project, tmp_path / "a", *words)
    assert [one["frames"] for one in benign] == [2, 2]
    assert f"| {benign[1]['name']} | 2 |" in capsys.readouterr().out
    assert remembered[:FRAMES] == remembered[FRAMES:]
    remembered.clear()
    assert run(project, tmp_path / "b", *words, "--patient")[0] == benign[0]
    clean, attacked = remembered[:FRAMES], remembered[FRAMES:]
    assert clean[:3] == attacked[:3]
    assert clean[3] != attacked[3] and clean[4] != attacked[4]


def test_numbers_of_the_gate_are_printed(project, capsys):
    argv = [project.config, project.checkpoint, "--split", "all", "--calibrate"]
    argv += ["--length", FRAMES]
    tool.main([str(word) for word in argv])
    numbers = eval(capsys.readouterr().out)
    assert {name: len(rows) for name, rows in numbers.items()} == {
        "mean": 3, "deviation": 3,
    }  # fmt: skip


def test_other_tools_attack_it_or_refuse_it(project, tmp_path, capsys):
    words = [project.config, project.checkpoint, "--split", "all", "--num", "2"]
    words += ["--threat", "lidar_pgd", "--steps", "1", "--out", tmp_path / "attack"]
    attack.main([str(word) for word in words])
    assert "lidar_pgd" in capsys.readouterr().out
    words = ["--work-dir", tmp_path / "test"]
    assert status_of(test.main, project.config, project.checkpoint, *words) == 2
    assert "followed frame by frame" in capsys.readouterr().err
    with pytest.raises(DataError, match="followed frame by frame"):
        load_detector(project.config, project.checkpoint)


def test_frames_that_are_no_drive_are_refused(project, tmp_path, capsys):
    words = ("--out", tmp_path / "o", "--split", "all", "--length", "9")
    assert status_of(tool.main, project.config, project.checkpoint, *words) == 2
    assert "no drives of 9 frames" in capsys.readouterr().err


def test_the_table_by_hand():
    one = DrivesResult("clean", 2, 50.04, None, {"none": 2}, {"0-0": math.nan})
    assert in_markdown([one]).splitlines()[2] == (
        "| clean | 2 | 50.0 | nan … nan | none 2 | nan |"
    )
