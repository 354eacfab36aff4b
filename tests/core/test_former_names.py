"""A config of an earlier version ends in one error that names the successor."""

import inspect

import pytest
from mmdet.registry import MODELS

import perception.models
from perception.core.config import load_config
from perception.core.former_names import ENTRIES, TYPES
from perception.core.structures import DataError
from perception.models.consensus.gate import DisagreementGate


def write(tmp_path, text: str):
    path = tmp_path / "mine.py"
    path.write_text(text)
    return path


@pytest.mark.parametrize("former", TYPES)
def test_a_former_type_names_its_successor(former, tmp_path):
    path = write(
        tmp_path, f"model = dict(fusion=dict(type={former!r}), view_head={{}})"
    )
    with pytest.raises(DataError, match=rf"mine\.py: {former}.*aggregator=dict\("):
        load_config(path)
    successor = TYPES[former].split('"')[1]
    assert successor in MODELS and successor in perception.models.__all__
    assert former not in MODELS


@pytest.mark.parametrize("former", ENTRIES)
def test_a_former_entry_names_its_successor(former, tmp_path):
    path = write(tmp_path, "model = dict(type='MultiModalDetector', fusion=dict())")
    with pytest.raises(
        DataError, match=rf"mine\.py: {former} is called {ENTRIES[former]}"
    ):
        load_config(path, {former: 1})
    detector = MODELS.get("MultiModalDetector")
    places = {"model": detector, "model.fusion": detector}
    places["model.aggregator"] = MODELS.get("ConsensusAggregator")
    places["model.aggregator.gate"] = DisagreementGate
    place, _, option = ENTRIES[former].rpartition(".")
    assert option in inspect.signature(places[place]).parameters


def test_a_former_entry_of_a_base_config_names_its_successor(tmp_path):
    (tmp_path / "base.py").write_text("branch_head = dict()")
    path = write(tmp_path, "_base_ = 'base.py'\nx = {{_base_.view_head}}")
    with pytest.raises(DataError, match="view_head is called branch_head now"):
        load_config(path)


def test_configs_without_a_fusion_are_left_alone(tmp_path):
    for text in ("x = 1", "model = None", "model = dict(fusion=None)"):
        load_config(write(tmp_path, text))
