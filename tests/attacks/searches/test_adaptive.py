import pytest
import torch

from perception.attacks import PGD, Adaptive, build_attack
from perception.attacks.base import try_goal
from perception.attacks.goals import Goal
from perception.attacks.target import DoesNotApplyError, frozen
from perception.attacks.victim import Query, Victim

CAMERA = dict(type="MapThreat", sensor="camera", eps=8.0, steps=2)
CONFIG = dict(type="Adaptive", search=dict(type="PGD"), weights=(1.0,), threat=CAMERA)


def test_every_way_around_a_gate_is_tried(tiny_target, plain_target, tiny_batch):
    attack = build_attack("camera_adaptive", CONFIG)
    assert isinstance(attack, Adaptive)
    with frozen(tiny_target):
        goals = attack.goals(Victim(tiny_target, tiny_batch, ("camera",)))
    assert [str(goal) for goal in goals] == [
        "detection",
        "detection|none*1",
        "detection|attribute:lidar*1",
        "detection|attribute:depth*1",
        # Not the expert without the camera: nothing that the attacker does reaches it.
        "detection|expert:none",
        "detection|expert:lidar",
        "detection|expert:depth",
    ]
    with frozen(plain_target):
        goals = attack.goals(Victim(plain_target, tiny_batch, ("camera",)))
    assert goals == [Goal()]


def test_at_least_as_bad_as_each_goal(tiny_target, tiny_batch):
    attack = build_attack("camera_adaptive", CONFIG)
    worst = attack(tiny_target, tiny_batch)
    for goal in ("detection", "detection|none*1", "detection|expert:lidar"):
        one = build_attack("one", dict(type="PGD", threat=CAMERA), goal=goal)
        result = one(tiny_target, tiny_batch)
        assert (worst.detection_loss >= result.detection_loss * (1 - 1e-4)).all(), goal
    change = (worst.inputs["camera"] - tiny_batch.inputs["camera"]).abs()
    assert change.max() <= 8
    assert torch.equal(worst.inputs["lidar"], tiny_batch.inputs["lidar"])


def test_the_best_goal_is_pursued_for_longer(tiny_target, tiny_batch, monkeypatch):
    """Each frame's own best goal, with three times the steps and another start."""
    pursued, run = [], PGD.run

    def spy(attack, victim):
        threat = attack.threat
        pursued.append((threat.goal, threat.steps, threat.seed, len(victim.batch)))
        return run(attack, victim)

    monkeypatch.setattr(PGD, "run", spy)
    patient = build_attack("a", CONFIG)(tiny_target, tiny_batch)
    goals = [goal for goal, steps, seed, frames in pursued if steps == 2]
    assert len(goals) == len(set(goals)) == 7
    last = pursued[len(goals) :]
    assert {(steps, seed) for _, steps, seed, _ in last} == {(6, 1)}
    assert sum(frames for *_, frames in last) == len(tiny_batch)
    hasty = build_attack("a", CONFIG | dict(patience=0))(tiny_target, tiny_batch)
    assert (patient.detection_loss >= hasty.detection_loss * (1 - 1e-4)).all()
    with pytest.raises(ValueError, match="patience must not be negative"):
        build_attack("a", CONFIG | dict(patience=-1))


def test_the_threats_own_goal_is_the_judge(tiny_target, tiny_batch):
    """With `rank` the order of scores counts, whatever the detection loss says."""
    worst = build_attack("a", CONFIG, goal="rank")(tiny_target, tiny_batch)
    with frozen(tiny_target):
        victim = Victim(tiny_target, tiny_batch, ("camera",))
        for goal in ("rank", "rank|none*1", "rank|expert:depth"):
            one = build_attack("b", dict(type="PGD", threat=CAMERA), goal=goal)
            changed = one.craft(tiny_target, tiny_batch)
            with torch.no_grad():
                value = Goal.parse("rank").value(Query(victim, changed))
            assert (worst.value >= value - 1e-4 * value.abs()).all(), goal


def test_only_some_ways(tiny_target, tiny_batch):
    attack = build_attack("quiet", CONFIG | dict(ways=("none",), patience=0))
    with frozen(tiny_target):
        goals = attack.goals(Victim(tiny_target, tiny_batch, ("camera",)))
    assert goals == [Goal(), Goal.parse("detection|none*1")]
    with pytest.raises(ValueError, match=r"ways must be some of .* got \['window'\]"):
        build_attack("lost", CONFIG | dict(ways=("none", "window")))


@pytest.mark.parametrize(
    "way", ["none*0.1", "attribute:lidar*1", "expert:none", "branch"]
)
def test_a_goal_that_goes_one_way_already_is_refused(way):
    with pytest.raises(ValueError, match="must name none, got 'detection"):
        build_attack("a", CONFIG, goal=f"detection|{way}")


def test_only_what_does_not_fit_is_left_out(plain_target, tiny_batch):
    with frozen(plain_target):
        victim = Victim(plain_target, tiny_batch, ("camera",))
        with pytest.raises(DoesNotApplyError, match="the target has none"):
            try_goal(victim, Goal.parse("detection|none*1"))
    with pytest.raises(ValueError, match="contradicts") as caught:
        Goal.parse("detection|none*1|none*1")
    assert not isinstance(caught.value, DoesNotApplyError)


def test_a_detector_that_answers_nan_is_still_attacked(
    tiny_target, tiny_batch, monkeypatch
):
    """An objective of NaN must not pass for robustness: the clean input untouched."""

    def nothing(goal, query):
        return torch.nan * query.changed["camera"].flatten(1).sum(dim=1)

    monkeypatch.setattr(Goal, "value", nothing)
    result = build_attack("a", CONFIG)(tiny_target, tiny_batch)
    change = (result.inputs["camera"] - tiny_batch.inputs["camera"]).abs()
    assert (change.flatten(1).amax(dim=1) > 4).all()
    assert result.detection_loss.isnan().all()


@pytest.mark.parametrize("kind", ["Adaptive", "TransferAttack"])
@pytest.mark.parametrize(
    ("search", "message"),
    [
        (dict(type="Guess"), "attack 'x': unknown type 'Guess'"),
        (dict(type="PGD", speed=9), "attack 'x': .*'speed'"),
    ],
)
def test_an_unknown_search_is_told_at_once(kind, search, message):
    config = dict(type=kind, threat=CAMERA, search=search)
    source = dict(source=object()) if kind == "TransferAttack" else {}
    with pytest.raises(ValueError, match=message):
        build_attack("x", config | source)
