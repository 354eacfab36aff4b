"""Auto-PGD: its schedule by the paper, its steps on a bowl."""

import pytest
import torch
from attack_makers import Bowl, made_batch

from perception.attacks import APGD, PGD, MapThreat
from perception.attacks.searches.apgd import _Pace, checkpoints


def threat(**fields) -> MapThreat:
    return MapThreat(
        **({"name": "t", "sensor": "camera", "eps": 16.0, "steps": 20} | fields)
    )


def test_checkpoints_of_the_paper():
    assert sorted(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]


def test_finds_what_fixed_steps_miss():
    """The top lies within the box: only shrinking steps come to rest there."""
    batch = made_batch()
    distances = []
    patient = threat(steps=100)
    for attack in (PGD(patient, step_fraction=0.5), APGD(patient)):
        found = attack.run(Bowl(batch, top=107.3))
        distances.append(float((found[:, :, :6] - 107.3).abs().max()))
    assert distances[1] < 1.0 < distances[0]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_reaches_the_edge(norm):
    batch = made_batch()
    found = APGD(threat(norm=norm)).run(Bowl(batch, top=200.0))
    change = (found - batch.inputs["camera"])[:, :, :6]
    reached = change.amax() if norm == "linf" else change.flatten(1).norm(dim=1).min()
    assert float(reached) == pytest.approx(16, rel=1e-4)


def test_as_many_evaluations_as_pgd():
    bowl = Bowl(made_batch(), top=200.0)
    APGD(threat(steps=7, restarts=2)).run(bowl)
    assert bowl.calls == 8


def test_pace_halves_by_the_two_conditions():
    """Frame 0 ascends always, frame 1 in one step of four, frame 2 never gains."""
    pace = _Pace(torch.tensor([0.0, 0.0, 5.0]), 2.0, 0.75)
    for values in ([1.0, 1.0, 1.0], [2.0, 0.5, 2.0], [3.0, 0.2, 3.0], [4.0, 0.1, 4.0]):
        pace.note(torch.tensor(values))
    back = pace.check(torch.tensor([4.0, 1.0, 5.0]))
    assert back.tolist() == [False, True, True]
    assert pace.fraction.tolist() == [2, 1, 1]
    pace.note(torch.tensor([5.0, 0.3, 6.0]))
    back = pace.check(torch.tensor([5.0, 1.0, 6.0]))
    assert back.tolist() == [False, False, False], "halved last time: wait and see"


def test_more_damage_than_one_step(tiny_target, tiny_batch):
    found = APGD(threat(steps=5))(tiny_target, tiny_batch)
    single = PGD(threat(steps=1), step_fraction=1.0, random_start=False)
    assert (
        found.detection_loss.mean()
        > single(tiny_target, tiny_batch).detection_loss.mean()
    )


@pytest.mark.parametrize(
    "wrong",
    [{"first_step": 0.0}, {"momentum": 0.0}, {"progress": 1.5}, {"smoothing": -0.1}],
)
def test_impossible_settings(wrong):
    with pytest.raises(ValueError, match="APGD needs"):
        APGD(threat(), **wrong)
