"""Tables of results say of each figure what it is worth: marks, intervals, objects."""

from dataclasses import replace

import pytest
from report_makers import attack, detector, gate_counts, results

from perception.evaluation.detection.report import FEW_OBJECTS
from perception.evaluation.robustness.results import GateResult
from perception.evaluation.robustness.tables import (
    INEFFECTIVE,
    attack_table,
    markdown,
)


def with_interval(one, low, high):
    """An attack whose figure has an interval."""
    attacked = one.ap.attacked
    headline = replace(attacked.headline, interval=(low, high))
    return replace(
        one, ap=replace(one.ap, attacked=replace(attacked, headline=headline))
    )


@pytest.mark.parametrize("table", [attack_table, markdown])
def test_a_figure_that_no_attack_made_has_its_star_everywhere(table):
    plain = attack("camera_pgd", "camera", 40.0)
    assert INEFFECTIVE not in table(results(detector(plain)))
    starred = table(results(detector(replace(plain, ineffective=True))))
    assert INEFFECTIVE in starred
    row = next(line for line in starred.splitlines() if "camera_pgd" in line)
    assert "40.00*" in row or "40.0 *" in row


@pytest.mark.parametrize("table", [attack_table, markdown])
def test_objects_intervals_and_classes(table):
    one = with_interval(attack("camera_pgd", "camera", 40.0), 31.2, 47.8)
    many = table(results(detector(one)))
    assert "[31.2, 47.8]" in many and "Car 50, Cyclist 50" in many
    assert "†" not in many
    few = table(results(detector(attack("a", "camera", 40.0, objects=19), objects=19)))
    assert "Car † 19, Cyclist † 19" in few and FEW_OBJECTS in few


def test_an_attack_table_has_every_class():
    one = attack("camera_pgd", "camera", 40.0)
    cells = one.ap.attacked.headline.classes
    cells["Cyclist"]["moderate"] = replace(cells["Cyclist"]["moderate"], r40=12.3)
    header, row, *_ = attack_table(results(detector(one))).splitlines()
    assert header.split()[3:5] == ["Car", "Cyclist"]
    assert "80.0 > 40.0   80.0 > 12.3" in row
    assert header.index("Cyclist") + len("Cyclist") == row.index("12.3") + len("12.3")


@pytest.mark.parametrize("table", [attack_table, markdown])
def test_a_gate_that_accuses_clean_frames_is_told(table):
    quiet = GateResult(gate_counts((0, 1, 23)), gate_counts((9, 9, 6)), 0.5, None, None)
    loud = replace(quiet, clean=gate_counts((1, 23, 0)))
    for gate, told in ((quiet, False), (loud, True)):
        one = replace(attack("a", "camera", 40.0), gate=gate)
        text = table(results(detector(one)))
        assert ("of 24 clean frames the gate accuses camera in 1" in text) == told
