"""The audit lets a plain detector pass and finds what is wrong with broken defences."""

import copy
import json

import pytest
import torch
from torch import nn

from perception.evaluation.audit.checks import AuditSettings, audit, range_threats
from perception.evaluation.audit.subject import Check
from perception.targets import DetectorTarget

# Few steps: what converges in earnest need not do so here.
SETTINGS = AuditSettings(queries=10, more_loss=1.0, directions=3)
FRAMES = [0, 1]
STEPS = 4


class Rounded(nn.Module):
    """A branch that sees its input in coarse steps."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, image):
        return self.branch((image / 24).round() * 24)


class Saturated(Rounded):
    """A branch behind a sigmoid so steep that it is a threshold."""

    def forward(self, image):
        return self.branch(255 * torch.sigmoid(100 * (image - 100)))


class Noisy(Rounded):
    """A branch that adds noise at every call."""

    def forward(self, image):
        return self.branch(image + 20 * torch.randn_like(image))


class Detached(Rounded):
    """A branch that lets no gradient through."""

    def forward(self, image):
        return self.branch(image.detach())


class Blind(Rounded):
    """A branch that does not look at its input."""

    def forward(self, image):
        return self.branch(0 * image)


def defended(detector, wrapper):
    broken = copy.deepcopy(detector)
    broken.branches["camera"] = wrapper(broken.branches["camera"])
    return broken


def run(detector, data, sensors=("camera",), **more):
    target = DetectorTarget(detector)
    batch = target.batch(data).select(FRAMES)
    threats = [
        threat
        for threat in range_threats(detector.sensors, share=0.1, steps=STEPS)
        if threat.sensor in sensors
    ]
    return audit(target, [batch], threats=threats, settings=SETTINGS, **more)


def test_a_plain_detector_passes(tiny_detector, tiny_concat, tiny_data):
    report = run(
        tiny_detector,
        tiny_data,
        sensors=tiny_detector.sensors,
        source=DetectorTarget(tiny_concat),
        score=lambda inputs: 0.0,
    )
    assert report.passed, report.failed()
    assert len(report.checks) == 3 * 8 + 1
    assert json.loads(json.dumps(report.to_dict()))["passed"] is True


@pytest.mark.parametrize(
    ("wrapper", "found"),
    [
        (Rounded, "gradient reaches camera"),
        (Saturated, "gradient reaches camera"),
        (Detached, "gradient reaches camera"),
        (Rounded, "gradient is true on camera"),
        (Blind, "gradient is true on camera"),
        (Noisy, "same twice on camera"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_broken_defences_fail(tiny_detector, tiny_data, wrapper, found, reports):
    if wrapper not in reports:
        reports[wrapper] = run(defended(tiny_detector, wrapper), tiny_data)
    report = reports[wrapper]
    assert found in report.failed()


@pytest.fixture(scope="module")
def reports() -> dict:
    """Reports so far, by what was broken."""
    return {}


def test_a_detector_that_survives_everything_is_suspicious(tiny_detector, tiny_data):
    report = run(tiny_detector, tiny_data, sensors=["depth"], score=lambda inputs: 60.0)
    assert report.failed() == ["whole range of all sensors leaves nothing"]


def test_a_check_reads_well():
    passed = Check("gradient reaches lidar", True, {"share": 0.975}, "unused")
    assert passed.line() == f"PASS  {'gradient reaches lidar':<44}  share 0.975"
    failed = Check("same twice", False, {"loss": 0.25}, "it draws random numbers")
    first, second = failed.line().splitlines()
    assert first.startswith("FAIL  same twice ") and first.endswith("  loss 0.25")
    assert second == "      it draws random numbers"


def test_checks_are_told_as_they_are_done(tiny_detector, tiny_data):
    told = []
    report = run(tiny_detector, tiny_data, score=lambda inputs: 0.0, notify=told.append)
    assert told == list(report.checks)


def test_an_audit_needs_frames(tiny_detector):
    with pytest.raises(ValueError, match="at least one batch"):
        audit(DetectorTarget(tiny_detector), [])


def test_range_threats_are_shares_of_each_channel(tiny_detector):
    threats = {t.sensor: t for t in range_threats(tiny_detector.sensors)}
    assert threats["camera"].eps_of("green") == pytest.approx(16)
    assert threats["lidar"].eps_of("height_m") == pytest.approx(6 * 16 / 255)
    assert threats["depth"].eps_of("depth_m") == pytest.approx(80 * 16 / 255)
