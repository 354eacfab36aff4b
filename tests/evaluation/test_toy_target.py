"""Anybody's system, not a detector of ours, attacked, corrupted, audited and tabled."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from toy_target import ToyTarget

from perception.attacks import build_attack
from perception.attacks.batch import AttackBatch
from perception.attacks.target import Scores
from perception.attacks.threats.maps import MapThreat
from perception.core.files import write_json
from perception.core.structures import Channel, DataError, Objects, SensorSpec
from perception.corruptions import build_perturbation
from perception.evaluation.audit.checks import audit
from perception.evaluation.detection.rules import Difficulty, Scoring
from perception.evaluation.robustness.attack_file import describe
from perception.evaluation.robustness.cell import NotApplicableError, run_batch
from perception.evaluation.robustness.figures import (
    attack_result,
    detector_result,
)
from perception.evaluation.robustness.records import Measured
from perception.evaluation.robustness.results import Results, RunInfo, read_results
from perception.evaluation.robustness.tables import markdown

SENSORS = {
    "eye": SensorSpec("eye", "image", (Channel("grey", "grey levels", 0.0, 255.0),)),
    "sonar": SensorSpec("sonar", "depth", (Channel("depth_m", "m", 0.0, 80.0),)),
}
SCORING = Scoring({"Car": 0.5}, (Difficulty("all", 1, 3, 1.0),), headline="all")
MADE = dict.fromkeys(("config", "config_sha256", "checkpoint", "checkpoint_sha256"), "")


class Scored(ToyTarget):
    """Also tells its logits: a location per sample."""

    def scores(self, inputs, frames):
        return Scores(self.logit(inputs)[:, None, None], torch.tensor([[2.0, 2.0]]))


def batch_of(*ids):
    """Frames of one car, in view of both sensors."""
    shown = torch.Generator().manual_seed(0)
    inputs = {
        "eye": 60 + 30 * torch.rand(len(ids), 1, 4, 4, generator=shown).round(),
        "sonar": 15 + torch.rand(len(ids), 1, 4, 4, generator=shown),
    }
    box = [[0.0, 0.0, 4.0, 4.0]]
    car = Objects.from_boxes(np.array(["Car"], dtype=object), box)
    samples = [
        SimpleNamespace(
            frame_id=f"{n:06d}",
            objects=car,
            gt_instances=SimpleNamespace(bboxes=torch.tensor(box)),
            img_shape=(4, 4),
            get=lambda name, default=None: default,
        )
        for n in ids
    ]
    raw = {name: list(value) for name, value in inputs.items()}
    return AttackBatch(inputs, raw, samples, SENSORS, list(ids))


@pytest.fixture
def batches():
    return [batch_of(0, 1), batch_of(2)]


TOY = Scored(SENSORS, {"eye": 50.0, "sonar": 10.0})


def attack(name, kind="PGD", **threat):
    fields = dict(type="MapThreat", sensor="eye", eps=40.0, steps=3) | threat
    return build_attack(name, dict(type=kind, threat=fields))


def result_of(target, perturbation, batches):
    records = [r for one in batches for r in run_batch(target, perturbation, one)]
    name, touched = perturbation.name, perturbation.touched
    measured = Measured(name, touched, describe(perturbation), records)
    return attack_result(measured, list(target.sensors), SCORING)


def test_attacked_corrupted_and_tabled(batches, tmp_path):
    fog = dict(type="Corruption", sensor="eye", kind="noise", severity=5)
    perturbations = [
        attack("eye_pgd"),
        attack("eye_hide", goal="hide"),
        attack("eye_square", "SquareAttack"),
        attack("sonar_pgd", sensor="sonar", eps=4.0),
        build_perturbation("eye_noise_5", fog),
    ]
    found = {one.name: result_of(TOY, one, batches) for one in perturbations}
    for name, result in found.items():
        assert result.changed and len(result.frames) == 3
        assert result.gate is None and result.ap.oracle is None
        (sensor,) = result.attacked_sensors
        assert set(result.frames[0].change) == {sensor}
        if result.corruption is None:
            loss = result.detection_loss
            assert loss.attacked > loss.clean, name
    detector = detector_result(MADE | {"name": "toy"}, TOY.sensors, found)
    assert set(detector.worst) == {"eye", "sonar"}
    assert list(detector.corruptions) == ["eye"]
    run = RunInfo("toy", "", ("all",), "", "", (0,), 2, 1, 0.0, "", {})
    results = Results(
        run=run,
        frame_ids=tuple(frame.frame_id for frame in found["eye_pgd"].frames),
        classes=TOY.classes,
        sensors=SENSORS,
        scoring=SCORING,
        attacks=tuple(found),
        baseline="toy",
        detectors=(detector,),
    )
    write_json(tmp_path / "results.json", results.to_json())
    assert read_results(tmp_path / "results.json") == results
    text = markdown(results)
    assert "| eye_pgd | eye |" in text and "| eye | noise |" in text


def test_without_losses_or_scores(batches):
    """Search without gradients needs none; the others say in one line what is not."""
    fog = dict(type="Corruption", sensor="eye", kind="noise", severity=5)
    noise = build_perturbation("eye_noise_5", fog)
    bare = SimpleNamespace(sensors=SENSORS, classes=TOY.classes, predict=TOY.predict)
    result = result_of(bare, noise, batches)
    assert result.detection_loss is None and result.success.found_clean == 3
    with pytest.raises(NotApplicableError, match=r"^the target has no losses"):
        result_of(bare, attack("eye_pgd"), batches)
    unscored = ToyTarget(SENSORS, {"eye": 50.0, "sonar": 10.0})
    with pytest.raises(NotApplicableError, match=r"^the target has no class scores"):
        result_of(unscored, attack("eye_hide", goal="hide"), batches)
    with pytest.raises(NotApplicableError, match="speaks of a gate"):
        result_of(TOY, attack("eye_gate", goal="detection|none*1"), batches)
    with pytest.raises(DataError, match="'radar'"):
        result_of(TOY, attack("radar_pgd", sensor="radar"), batches)


def test_audited(batches):
    threats = [MapThreat(name="eye_pgd", sensor="eye", eps=40.0, steps=3)]
    report = audit(TOY, batches, threats=threats)
    names = {check.name.removesuffix(" on eye"): check for check in report.checks}
    assert names["gradient reaches eye"].passed
    assert names["gradient is true"].passed and names["same twice"].passed
    assert names["black box loses"].passed and names["loss grows with eps"].passed
