"""Several searches, the worst of which counts for each frame."""

import pytest
import torch
from attack_makers import Bowl, made_batch

from perception.attacks import PGD, Ensemble, MapThreat, build_attack
from perception.attacks.searches.black_box import with_sources
from perception.attacks.target import DoesNotApplyError

CAMERA = dict(type="MapThreat", sensor="camera", eps=8.0, steps=3)
SOFTLY = dict(type="PGD", random_start=False, step_fraction=0.2)


def camera(**fields) -> MapThreat:
    return MapThreat(name="t", sensor="camera", **({"eps": 8.0, "steps": 3} | fields))


def test_at_least_as_bad_as_each_member(tiny_target, tiny_batch):
    members = [SOFTLY, dict(type="APGD", goal="rank"), dict(type="PGD", seed=1)]
    config = dict(type="Ensemble", members=members, threat=CAMERA)
    worst = build_attack("camera_all", config)(tiny_target, tiny_batch)
    for own in (SOFTLY, dict(type="APGD"), dict(type="PGD")):
        goal = "rank" if own["type"] == "APGD" else "detection"
        seed = 1 if own == dict(type="PGD") else 0
        one = build_attack("one", dict(own, threat=CAMERA), goal=goal, seed=seed)
        found = one(tiny_target, tiny_batch).detection_loss
        assert (worst.detection_loss >= found * (1 - 1e-4)).all(), own
    change = (worst.inputs["camera"] - tiny_batch.inputs["camera"]).abs()
    assert change.max() <= 8
    assert torch.equal(worst.inputs["lidar"], tiny_batch.inputs["lidar"])


def test_a_warm_member_goes_on_where_the_worst_was_found():
    """Two searches of one full step each: 100 + 8 + 8 needs the second to be warm."""
    one_step = dict(type="PGD", random_start=False, step_fraction=0.5, momentum=0.0)
    for warm, reached in ((True, 108.0), (False, 104.0)):
        members = [one_step, dict(one_step, warm=warm)]
        attack = Ensemble(camera(steps=1), members=members)
        found = attack.run(Bowl(made_batch(), top=200.0))
        assert (found[:, :, :6] == reached).all()


def test_effort_is_a_share_of_the_steps(monkeypatch, tiny_target, tiny_batch):
    steps, run = [], PGD.run

    def spy(attack, victim):
        steps.append((attack.threat.steps, attack.threat.restarts))
        return run(attack, victim)

    monkeypatch.setattr(PGD, "run", spy)
    members = [dict(SOFTLY, effort=2.0), dict(SOFTLY, effort=0.1, restarts=2), SOFTLY]
    Ensemble(camera(steps=4), members=members)(tiny_target, tiny_batch)
    assert steps == [(8, 1), (1, 2), (4, 1)]


def test_a_frame_is_done_when_members_have_no_effect(monkeypatch):
    """The first member reaches the top of the bowl; patience 2 lets two more try."""
    runs, run = [], PGD.run

    def spy(attack, victim):
        runs.append(len(victim.batch))
        return run(attack, victim)

    monkeypatch.setattr(PGD, "run", spy)
    own = dict(type="PGD", random_start=False, step_fraction=0.5, momentum=0.0)
    for patience, expected in ((2, 3), (0, 5)):
        runs.clear()
        attack = Ensemble(camera(steps=9), members=[own] * 5, patience=patience)
        attack.run(Bowl(made_batch(), top=104.0))
        assert runs == [2] * expected


def test_members_that_do_not_apply_are_left_out(plain_target, tiny_batch):
    gated = dict(SOFTLY, goal="detection|none*0.1")
    both = Ensemble(camera(), members=[gated, SOFTLY])(plain_target, tiny_batch)
    alone = Ensemble(camera(), members=[SOFTLY])(plain_target, tiny_batch)
    assert torch.equal(both.variable, alone.variable)
    with pytest.raises(DoesNotApplyError, match="gate"):
        Ensemble(camera(), members=[gated])(plain_target, tiny_batch)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(members=[]), "needs a member"),
        (dict(members=[SOFTLY], patience=-1), "patience"),
        (dict(members=[dict(type="PGD", warm=True)]), "random_start=False"),
        (dict(members=[dict(type="SquareAttack", warm=True)]), "random_start=False"),
        (dict(members=[dict(SOFTLY, colour="red")]), "colour"),
        (dict(members=[dict(SOFTLY, goal="best")]), "best"),
    ],
)
def test_impossible_ensembles(fields, message):
    with pytest.raises(ValueError, match=message):
        Ensemble(camera(), **fields)


def test_sources_of_members_are_loaded_when_asked():
    source = dict(config="a.py", checkpoint="a.pth")
    config = dict(type="Ensemble", members=[dict(type="TransferAttack", source=source)])
    loadable = with_sources(config, lambda *paths: paths)
    assert loadable["members"][0]["source"]() == ("a.py", "a.pth")
    assert config["members"][0]["source"] == source, "the config stays as it was"
