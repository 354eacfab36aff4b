"""Corruptions of published suites: their numbers, and that they do something."""

import re

import numpy as np
import pytest
import torch
from test_corruption import SENSORS, SIZE, batch_of
from toy_target import ToyTarget

from perception.core.structures import SensorSpec
from perception.corruptions import PublishedCorruption
from perception.corruptions import published as suites
from perception.corruptions.maps import Reading
from perception.corruptions.published import PUBLISHED
from perception.evaluation.robustness.attack_file import AttackFile
from perception.evaluation.robustness.results import CorruptionKind
from perception.evaluation.robustness.suites import resistance

CASES = [
    (kind, name, severity)
    for kind, effects in PUBLISHED.items()
    for name, spec in SENSORS.items()
    if spec.kind in effects
    for severity in range(1, len(effects[spec.kind].levels) + 1)
]


@pytest.mark.parametrize(("kind", "sensor", "severity"), CASES)
def test_each_changes_its_sensor_and_no_other(kind, sensor, severity):
    """Called, it proves so itself, but of frames that the suite's draws spare."""
    target = ToyTarget(SENSORS, {"front": 60.0, "scan": 4.0, "range": 20.0})
    one = PublishedCorruption(name="t", sensors=(sensor,), kind=kind, severity=severity)
    batch = batch_of(range(8))
    result = one(target, batch)
    changed = (result.inputs[sensor] != batch.inputs[sensor]).flatten(1).any(1)
    if kind in suites._CHANCES:
        assert 0 < int(changed.sum()) < 8 or severity > 1
    else:
        # The mildest may miss all of 600 points.
        assert changed.all() or (severity == 1 and int(changed.sum()) >= 6)


def reading(value, spec="scan"):
    generator = torch.Generator().manual_seed(0)
    return Reading(SENSORS[spec], torch.as_tensor(value).float(), SIZE, generator)


def test_levels_are_the_suites():
    rng = np.random.default_rng(0)
    elevation = np.radians(np.repeat(np.linspace(-31, 31, 32), 50))
    cloud = np.stack(
        [10 * np.cos(elevation), rng.normal(0, 0.01, 1600), 10 * np.sin(elevation)], 1
    )
    cloud = reading(np.column_stack([cloud, np.full(1600, 0.5)]))
    for count, beams in ((2, 16), (4, 8), (8, 4)):
        assert len(suites.one_beam_in(cloud, count).value) == 50 * beams
    noise = suites.noisy(cloud, 0.06).value - cloud.value
    np.testing.assert_allclose(noise.std(0), 0.06, rtol=0.1)
    off = (suites.crosstalk_share(cloud, 0.02).value != cloud.value).any(1)
    assert 15 <= int(off.sum()) <= 50
    assert len(suites.cut_out(cloud, 5).value) == 1600 - 5 * 32
    shaken = suites.shaken_m(cloud, 0.1).value - cloud.value
    np.testing.assert_allclose(shaken[:, :3].std(0), [0.015, 0.02, 0.012], rtol=0.15)
    assert (shaken[:, 3] == 0).all()


def test_a_cloud_askew_is_two_metres_to_the_right():
    ahead = reading([[10.0, 0, 0, 0.5]])
    found = suites.askew_deg(ahead, 5.0).value[0]  # at 5 degrees in every frame
    angle = np.radians(5)
    # 5 degrees around each axis tilt what is ahead up and aside by about sin(5) x 10 m.
    assert float(found[0]) == pytest.approx(10 * np.cos(angle) ** 2, abs=0.2)
    assert abs(float(found[1]) + 2) == pytest.approx(10 * np.sin(angle), abs=0.2)
    assert found[3] == 0.5


def test_pictures():
    grey = torch.tensor([[[100.0, 0.0]], [[50.0, 0.0]], [[0.0, 0.0]]])
    found = suites.brighter(reading(grey, "front"), 0.1).value
    # Value 100 rises by 25.5; hue and saturation stay.
    np.testing.assert_allclose(found[:, 0, 0], [125.5, 62.75, 0], atol=1e-3)
    np.testing.assert_allclose(found[:, 0, 1], 25.5, atol=1e-3)
    bits = suites.quantised_bits(reading(grey + 7, "front"), 4).value
    assert bits[:, 0, 0].tolist() == [96, 48, 0]
    ramp = torch.arange(256.0).expand(3, 64, 256)
    shadow = suites.dark(reading(ramp, "front"), 0.4).value
    assert float(shadow[:, :, -1].mean()) == pytest.approx(0.4 * 255, rel=0.03)
    assert float(shadow[:, :, 128].mean()) == pytest.approx(0.1 * 255, rel=0.06)
    line = torch.zeros(3, 32, 64)
    line[:, 16, 32] = 200
    blurred = suites.blurred_px(reading(line, "front"), 6.0).value
    assert float(blurred.sum()) == pytest.approx(600, rel=1e-3)
    assert float(blurred.max()) < 40


def test_wrong_names_and_severities():
    with pytest.raises(ValueError, match="unknown kind 'multicorrupt_hail'"):
        PublishedCorruption(name="t", sensors=("scan",), kind="multicorrupt_hail")
    with pytest.raises(ValueError, match="severity must be 1 … 3, got 4"):
        PublishedCorruption(
            name="t", sensors=("scan",), kind="multicorrupt_fog", severity=4
        )
    spec = SensorSpec("range", "depth", SENSORS["range"].channels)
    with pytest.raises(ValueError, match="happens to sensors of kind"):
        PublishedCorruption(name="t", sensors=("range",), kind="kitti_c_fog").check(
            {"range": spec}
        )


def test_standard_attacks_name_the_suites(repo_root):
    file = AttackFile(repo_root / "configs/_base_/attacks/standard.py")
    counts = {"multicorrupt": 24, "kitti_c": 40, "robobev": 12, "published_in_time": 13}
    for suite, count in counts.items():
        names = file.names([suite])
        assert len(names) == count
        for name in names:
            built = file.build(name, replay=[]).perturbation
            assert re.fullmatch(rf"{built.kind}_{built.severity}", name)
    assert file.names(["multicorrupt"], ("camera",)) == [
        f"multicorrupt_{kind}_{severity}"
        for kind in ("brightness", "dark", "missingcamera")
        for severity in (1, 2, 3)
    ]


def test_resistance_is_the_mean_over_severities_of_ap_over_clean_ap():
    from types import SimpleNamespace as Value

    def attack(kind, severity, mean):
        what = CorruptionKind("lidar", kind, severity)
        return Value(corruption=what, mean=mean)

    attacks = [
        attack("multicorrupt_fog", 1, 60.0),
        attack("multicorrupt_fog", 2, 40.0),
        attack("multicorrupt_dark", 1, 80.0),
        attack("blackout", 1, 10.0),
    ]
    detector = Value(clean_mean=80.0, attacks=dict(enumerate(attacks)))
    assert resistance(detector) == {
        "multicorrupt": {
            "fog (lidar)": pytest.approx(0.625),
            "dark (lidar)": pytest.approx(1.0),
            "mRA": pytest.approx(0.8125),
        }
    }
