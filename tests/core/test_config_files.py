"""Which files are read as configs: those that say that they are code, and JSON."""

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
    with pytest.raises(DataError, match=r"ends in \.py or \.json"):
        read(file)
    assert not made.exists()
