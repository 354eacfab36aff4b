"""A larger budget is never weaker: its search goes on from what a smaller one found."""

import pytest
import torch
from attack_makers import Bowl, made_batch

from perception.attacks import MapThreat, NestedBudgets, build_attack
from perception.attacks.searches.black_box import with_sources

ONE_STEP = dict(type="PGD", random_start=False, step_fraction=0.5, momentum=0.0)
CAMERA = dict(type="MapThreat", sensor="camera", steps=3)


def camera(**fields) -> MapThreat:
    return MapThreat(name="t", sensor="camera", **({"eps": 8.0, "steps": 1} | fields))


def test_it_goes_on_where_the_smaller_budget_ended():
    """From 100 to 102 within 4, to 104 within 8, and from there to 108."""
    attack = NestedBudgets(camera(), search=ONE_STEP, smaller=[0.5])
    found = attack.run(Bowl(made_batch(), top=200.0))
    assert (found[:, :, :6] == 108.0).all()


def test_so_does_a_search_that_begins_at_random():
    """Its first restart: from the edge of 4 to that of 8 in one whole step."""
    whole = dict(type="PGD", step_fraction=1.0, momentum=0.0)
    attack = NestedBudgets(camera(), search=whole, smaller=[0.5])
    found = attack.run(Bowl(made_batch(), top=200.0))
    assert (found[:, :, :6] == 108.0).all()


def test_a_larger_budget_is_never_weaker(tiny_target, tiny_batch):
    """A single step of the whole range finds less than small steps within 4."""
    search = dict(type="PGD", random_start=False, step_fraction=1.0)
    small = build_attack("small", dict(search, threat=dict(CAMERA, eps=4.0)))
    large = build_attack("large", dict(search, threat=dict(CAMERA, eps=255.0)))
    config = dict(type="NestedBudgets", search=search, smaller=[4 / 255])
    nested = build_attack("nested", dict(config, threat=dict(CAMERA, eps=255.0)))
    values = [a(tiny_target, tiny_batch).value for a in (small, large, nested)]
    assert (values[2] >= torch.maximum(values[0], values[1]) * (1 - 1e-4)).all()
    change = nested(tiny_target, tiny_batch).inputs["lidar"]
    assert torch.equal(change, tiny_batch.inputs["lidar"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (dict(smaller=[]), "factors between 0 and 1"),
        (dict(smaller=[1.0]), "factors between 0 and 1"),
        (dict(smaller=[0.5], search=dict(ONE_STEP, colour="red")), "colour"),
    ],
)
def test_what_is_impossible_is_said(fields, message):
    with pytest.raises(ValueError, match=message):
        NestedBudgets(camera(), **{"search": ONE_STEP} | fields)


def test_a_threat_without_a_budget_is_refused():
    drop = dict(type="PatchThreat", sensor="camera", placement="free")
    config = dict(type="NestedBudgets", search=ONE_STEP, smaller=[0.5], threat=drop)
    with pytest.raises(ValueError, match="no budget"):
        build_attack("patch", config)


def test_a_search_may_have_a_source():
    source = dict(config="c.py", checkpoint="w.pth")
    search = dict(type="TransferAttack", source=source)
    config = dict(type="NestedBudgets", search=search, smaller=[0.5])
    loadable = with_sources(config, lambda *paths: paths)
    assert loadable["search"]["source"]() == ("c.py", "w.pth")
