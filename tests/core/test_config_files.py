"""Which files are read as configs: those that say that they are code."""

import json

import pytest

from perception.core.config import load_config
from perception.core.structures import DataError
from perception.evaluation.robustness.attack_file import AttackFile

HOSTILE = """!!python/object/apply:os.mkdir ["{}"]"""


@pytest.mark.parametrize("suffix", [".yaml", ".yml", ".txt"])
@pytest.mark.parametrize("read", [load_config, AttackFile])
def test_a_file_that_looks_like_data_runs_nothing(read, suffix, tmp_path):
    made = tmp_path / "made"
    file = tmp_path / f"config{suffix}"
    file.write_text(HOSTILE.format(made))
    with pytest.raises(DataError, match=r"ends in \.py"):
        read(file)
    assert not made.exists()


@pytest.mark.parametrize(
    "entry", [{"_base_": "base.yaml"}, {"_base_": "base.py"}, {"custom_imports": {}}]
)
def test_json_runs_nothing(entry, tmp_path):
    made = tmp_path / "made"
    (tmp_path / "base.yaml").write_text(HOSTILE.format(made))
    (tmp_path / "base.py").write_text(f"import os\nos.mkdir({str(made)!r})\n")
    file = tmp_path / "config.json"
    attack = {"type": "RandomNoise", "threat": {"type": "MapThreat"}}
    file.write_text(json.dumps({"attacks": {"a": attack}, **entry}))
    with pytest.raises(DataError, match="expected `attacks` and `suites`"):
        AttackFile(file)
    with pytest.raises(DataError, match=r"ends in \.py"):
        load_config(file)
    assert not made.exists()
