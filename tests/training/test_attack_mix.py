"""Which attack a training step meets."""

from dataclasses import asdict

import numpy as np
import pytest

from perception.attacks import PGD, build_threat
from perception.attacks.searches.interval import IntervalPGD
from perception.attacks.threats.budgets import scaled
from perception.corruptions import Corruption
from perception.training.attack_mix import AttackMix, Variation

CAMERA = dict(type="PGD", threat=dict(type="MapThreat", sensor="camera", eps=16.0))
LIDAR = dict(
    type="PGD", threat=dict(type="MapThreat", sensor="lidar", eps=dict(depth_m=5.0))
)
DARK = dict(type="Corruption", sensor="camera")
GOALS = ("detection", "detection|none*1", "detection|expert:none")


def draws(mix: AttackMix, count: int = 200, strength: float = 1.0) -> list:
    random = np.random.default_rng(0)
    return [mix.draw(random, strength) for _ in range(count)]


def test_draws_stay_within_their_ranges_and_are_repeatable():
    vary = Variation(steps=(1, 3), step_fraction=(0.2, 0.4), budget=(0.5, 0.75))
    mix = AttackMix({"camera": CAMERA}, variation=vary, gate=False)
    attacks = draws(mix)
    assert {attack.threat.steps for attack in attacks} == {1, 2, 3}
    assert all(0.2 <= attack.step_fraction <= 0.4 for attack in attacks)
    eps = [attack.threat.eps for attack in attacks]
    assert 8 <= min(eps) < 8.2 and 11.8 < max(eps) <= 12
    again = draws(mix)
    assert [asdict(a.threat) for a in attacks] == [asdict(a.threat) for a in again]


def test_weights_are_shares_and_other_attacks_stay_as_they_are():
    attacks = {"camera": CAMERA, "dark": dict(DARK, weight=3.0)}
    mix = AttackMix(attacks, variation=Variation(), gate=False)
    drawn = draws(mix, 400)
    dark = [attack for attack in drawn if isinstance(attack, Corruption)]
    assert 270 < len(dark) < 330
    assert all(attack is dark[0] for attack in dark)
    assert all(isinstance(a, PGD) for a in drawn if a not in dark)


def test_warm_up_shrinks_the_budget_of_every_channel():
    vary = Variation(budget=(1.0, 1.0))
    mix = AttackMix({"lidar": LIDAR}, variation=vary, gate=False)
    (attack,) = draws(mix, 1, strength=0.1)
    assert attack.threat.eps == {"depth_m": pytest.approx(0.5)}


@pytest.mark.parametrize("kind", ["APGD", "SquareAttack", "RandomNoise", "Adaptive"])
def test_warm_up_shrinks_the_budget_of_every_attack(kind):
    config = dict(type=kind, threat=CAMERA["threat"])
    if kind == "Adaptive":
        config["search"] = dict(type="PGD")
    mix = AttackMix({"camera": config}, variation=Variation(), gate=False)
    (weak,) = draws(mix, 1, strength=0.25)
    assert type(weak) is type(mix.attacks[0])
    assert weak.threat.eps == 4.0 and mix.attacks[0].threat.eps == 16.0
    (full,) = draws(mix, 1)
    assert full is mix.attacks[0]


def test_the_strength_of_corruptions_and_patches_stays():
    place = dict(on="image", size=(0.5, 0.5))
    patch = dict(type="PatchThreat", sensor="camera", placement=place)
    grey = dict(type="FixedPatch", threat=patch)
    for config in (DARK, grey):
        mix = AttackMix({"x": config}, variation=Variation(), gate=False)
        (attack,) = draws(mix, 1, strength=0.25)
        (full,) = mix.attacks
        assert attack is full if config is DARK else attack.threat == full.threat


@pytest.mark.parametrize("gate, wanted", [(True, set(GOALS)), (False, {"detection"})])
def test_goals_that_need_a_gate_are_for_gates(gate, wanted):
    mix = AttackMix({"c": CAMERA}, variation=Variation(goals=GOALS), gate=gate)
    assert {str(attack.threat.goal) for attack in draws(mix)} == wanted


@pytest.mark.parametrize(
    "attacks, message",
    [
        ({"dark": dict(DARK, weight=0.0)}, "positive weight"),
        ({}, "positive weight"),
    ],
    ids=["weight", "none"],
)
def test_impossible_mixes(attacks, message):
    with pytest.raises(ValueError, match=message):
        AttackMix(attacks, variation=Variation(), gate=False)


def test_several_sensors_at_once_are_for_detectors_without_a_gate():
    parts = [CAMERA["threat"], LIDAR["threat"]]
    both = dict(type="PGD", threat=dict(type="JointThreat", parts=parts))
    with pytest.raises(ValueError, match="one sensor at a time"):
        AttackMix({"all": both}, variation=Variation(), gate=True)
    vary = Variation(steps=(3, 3), budget=(0.5, 0.5))
    (attack,) = draws(AttackMix({"all": both}, variation=vary, gate=False), 1)
    assert attack.touched == ("camera", "lidar") and attack.threat.steps == 3
    assert [part.eps for part in attack.threat.parts] == [8.0, {"depth_m": 2.5}]


def test_interval_search_varies_but_for_its_goal():
    vary = Variation(steps=(2, 2), step_fraction=(0.3, 0.3), goals=GOALS)
    config = dict(CAMERA, type="IntervalPGD", random_start=True, quiet=0.5)
    mix = AttackMix({"camera": config}, variation=vary, gate=True)
    (attack,) = draws(mix, 1)
    assert type(attack) is IntervalPGD and str(attack.threat.goal) == "detection"
    assert (attack.threat.steps, attack.step_fraction, attack.quiet) == (2, 0.3, 0.5)
    assert mix.attacks[0].threat.steps != 2  # the one configured stays


def test_goals_that_all_need_a_gate_that_is_not_there():
    vary = Variation(goals=("detection|none*1",))
    with pytest.raises(ValueError, match="all goals need a gate: detection"):
        AttackMix({"c": CAMERA}, variation=vary, gate=False)


def test_a_start_that_is_not_random_stays_so():
    mix = AttackMix(
        {"c": CAMERA | dict(random_start=False)}, variation=Variation(), gate=False
    )
    assert not any(attack.random_start for attack in draws(mix, 3))


def test_impossible_ranges():
    with pytest.raises(ValueError, match="steps must be 0 < low <= high"):
        Variation(steps=(3, 2))
    with pytest.raises(ValueError, match="unknown goal"):
        Variation(goals=("harm",))


@pytest.mark.parametrize(
    "fields, expected",
    [
        (dict(type="PointShift", radius_m=0.5), ("radius_m", 0.25)),
        (dict(type="PointAdd", count=201), ("count", 100)),
        (dict(type="MapThreat", eps=4.0), ("eps", 2.0)),
        (dict(type="MapThreat", eps=5), ("eps", 2.5)),  # no number of points
    ],
    ids=lambda value: str(value[0]) if isinstance(value, tuple) else value["type"],
)
def test_half_a_budget(fields, expected):
    threat = scaled(build_threat("x", fields | {"sensor": "lidar"}), 0.5)
    assert getattr(threat, expected[0]) == expected[1]
