"""Weights of earlier versions, the shipped ones among them, load by every way."""

from pathlib import Path

import pytest
import torch
from mmdet.registry import MODELS
from mmengine.runner.checkpoint import load_state_dict
from safetensors.torch import load_file
from tiny_detectors import MEDIAN, NAMES, make_detector
from torch import nn

from perception.core.config import load_config
from perception.models.key_map import current_name

ROOT = Path(__file__).resolve().parents[2]
ZOO = sorted(path.stem for path in (ROOT / "data" / "zoo").glob("*.safetensors"))


def built(name: str) -> nn.Module:
    return MODELS.build(
        load_config(ROOT / "configs" / "synthetic" / f"{name}.py").model
    )


@pytest.mark.parametrize("name", ZOO)
def test_shipped_weights_load_strictly(name):
    assert len(ZOO) == 8
    weights = load_file(ROOT / "data" / "zoo" / f"{name}.safetensors")
    names = list(weights)
    detector = built(name)
    detector.load_state_dict(weights)  # by torch, strictly
    assert list(weights) == names  # what was given is left as it is
    loaded = detector.state_dict()
    projected = detector.aggregator is not None
    named = {
        current_name(k, list(detector.sensors), projected=projected): value
        for k, value in weights.items()
    }
    assert set(named) == set(loaded)
    assert all(torch.equal(value, loaded[k]) for k, value in named.items())

    other = built(name)
    load_state_dict(other, weights, strict=True)  # by MMEngine's runner
    wrapped = nn.ModuleDict({"module": built(name)})  # as within a wrapper
    wrapped.load_state_dict({f"module.{k}": value for k, value in weights.items()})
    again = built(name)
    again.load_state_dict(loaded)  # what this version saves
    for one in (other, wrapped["module"], again):
        state = one.state_dict()
        assert all(torch.equal(value, state[k]) for k, value in loaded.items())


def test_a_median_of_branch_predictions_alone():
    detector = make_detector(fusion=None, aggregator=MEDIAN)
    current = detector.state_dict()
    prefix = "branch_projections."
    former = {}
    for name, value in current.items():
        if name.startswith(prefix):
            sensor, rest = name.removeprefix(prefix).split(".", 1)
            name = f"fusion.align.{NAMES.index(sensor)}.{rest}"
        former[name] = value + 1
    detector.load_state_dict(former)
    assert all(
        torch.equal(now, then)
        for now, then in zip(current.values(), former.values(), strict=True)
    )


def test_what_does_not_fit_is_said_by_its_present_name():
    weights = load_file(ROOT / "data" / "zoo" / "consensus.safetensors")
    del weights["fusion.mean"], weights["view_head.conv_cls.bias"]
    with pytest.raises(RuntimeError, match=r"aggregator\.gate\.mean.*branch_head"):
        built("consensus").load_state_dict(weights)
