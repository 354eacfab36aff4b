import math
import statistics

import numpy as np
import pytest

from perception.evaluation.robustness.blame import gate_confusion, gate_rates
from perception.evaluation.robustness.figures import (
    difference,
    failure_figures,
    groups,
    in_vain,
    mean_corruption_error,
    mean_resilience_rate,
    oracle_per_sensor,
    worst_per_sensor,
    worst_single_sensor,
)
from perception.evaluation.robustness.gate import (
    attack_figures,
    auroc,
    calibrated_monitor,
    detection_delay,
)
from perception.evaluation.robustness.gate_tables import blame_tables
from perception.evaluation.robustness.tables import NOTE, markdown
from perception.models.consensus.monitor import SensorMonitor


def block(mean_ap):
    return {"headline": {"mAP": mean_ap}}


def entry(touched, left, *, oracle=None, blamed=None, **threat):
    """An attack that leaves ``left`` of 80."""
    ap = {"clean": block(80.0), "attacked": block(left)}
    if oracle is not None:
        ap["oracle"] = block(oracle)
    gate = None
    if blamed is not None:
        gate = {
            "clean": {"blamed": {"camera": 1, "lidar": 0, "none": 9}},
            "attacked": {"blamed": blamed},
        }
    attack = {"type": "PGD", "threat": {"type": "MapThreat"} | threat}
    return {"touched": touched, "ap": ap, "attack": attack, "gate": gate}


def failure(sensor, kind, severity, left):
    threat = dict(sensor=sensor, kind=kind, severity=severity)
    return entry([sensor], left, type="Corruption", **threat)


ATTACKS = {
    "camera_pgd": entry(["camera"], 30.0, oracle=70.0),
    "camera_adaptive": entry(["camera"], 20.0, oracle=69.0),
    "lidar_pgd": entry(["lidar"], 25.0, oracle=60.0),
    "all_pgd": entry(["camera", "lidar"], 0.0),
    "depth_pgd": entry(["depth"], None),
    "camera_blackout_5": failure("camera", "blackout", 5, 1.0),
}


def test_worst_is_of_single_sensor_attacks_without_failures():
    worst = worst_per_sensor(ATTACKS)
    assert worst == {
        "camera": {"attack": "camera_adaptive", "mAP": 20.0},
        "lidar": {"attack": "lidar_pgd", "mAP": 25.0},
    }
    assert worst_single_sensor(worst) == {"sensor": "camera"} | worst["camera"]
    assert worst_single_sensor({}) is None


def test_oracle_is_of_the_worst_attack():
    told = oracle_per_sensor(ATTACKS, worst_per_sensor(ATTACKS))
    assert told["camera"] == {
        "mAP": 69.0,
        "expert": "camera",
        "attack": "camera_adaptive",
        "gap": 49.0,
    }
    assert told["lidar"]["gap"] == 35.0
    plain = {"camera_pgd": entry(["camera"], 30.0)}
    assert oracle_per_sensor(plain, worst_per_sensor(plain)) is None


def detector(name, clean, **attacks):
    attacks = {attack: entry(["camera"], left) for attack, left in attacks.items()}
    worst = worst_per_sensor(attacks)
    return {"name": name, "clean": block(clean), "attacks": attacks, "worst": worst}


def test_difference_is_of_what_both_have():
    mine = detector("mine", 81.0, pgd=40.0, square=50.0)
    theirs = detector("theirs", 80.0, pgd=10.0, noise=70.0)
    assert difference(mine, theirs) == {"clean": 1.0, "pgd": 30.0}
    assert difference({**mine, "clean": None}, theirs) == {"pgd": 30.0}


def failures(**kinds):
    return {"camera": {k: dict(zip("12", v, strict=True)) for k, v in kinds.items()}}


def test_mean_corruption_error_by_hand():
    base = failures(fog=(80.0, 60.0), rain=(90.0, 70.0))  # errors 20 + 40, 10 + 30
    ours = failures(fog=(90.0, 80.0), rain=(90.0, 80.0))  # errors 10 + 20, 10 + 20
    error = mean_corruption_error(ours, base)
    assert error == {
        "camera": pytest.approx((50 + 75) / 2),
        "mean": pytest.approx(62.5),
    }
    assert mean_corruption_error(base, base) == {"camera": 100.0, "mean": 100.0}
    assert mean_corruption_error(ours, {}) is None
    assert mean_corruption_error({}, base) is None


def test_corruption_error_compares_what_both_have():
    base = {"camera": {"fog": {"1": 80.0, "2": None}}, "lidar": {"fog": {"1": 50.0}}}
    ours = {"camera": {"fog": {"1": 90.0, "2": 10.0}}, "depth": {"fog": {"1": 0.0}}}
    assert mean_corruption_error(ours, base) == {"camera": 50.0, "mean": 50.0}


def test_mean_resilience_rate_by_hand():
    ours = failures(fog=(80.0, 40.0), rain=(60.0, 60.0))
    ours["lidar"] = {"noise": {"3": 20.0}, "none": {"3": None}}
    rate = mean_resilience_rate(ours, 80.0)
    # camera: fog 75 %, rain 75 %; lidar: 25 %
    assert rate == {"camera": 75.0, "lidar": 25.0, "mean": 50.0}
    for clean in (None, 0.0):
        assert mean_resilience_rate(ours, clean) is None
    assert mean_resilience_rate({}, 80.0) is None


def test_failures_by_sensor_kind_and_severity():
    attacks = ATTACKS | {"lidar_fog_1": failure("lidar", "fog", 1, 70.0)}
    assert failure_figures(attacks) == {
        "camera": {"blackout": {"5": 1.0}},
        "lidar": {"fog": {"1": 70.0}},
    }


def test_groups_have_mean_and_sample_deviation():
    runs = [detector("a", 80.0, pgd=10.0), detector("a_2", 82.0, pgd=16.0)]
    runs += [detector("b", 50.0, pgd=1.0)]
    (group,) = groups(runs, {"a": "a", "a_2": "a", "b": "b"})
    assert (group["name"], group["seeds"]) == ("a", 2)
    assert group["detectors"] == ["a", "a_2"]
    assert group["clean"] == {"mean": 81.0, "spread": pytest.approx(math.sqrt(2))}
    pgd = {"mean": 13.0, "spread": pytest.approx(statistics.stdev([10, 16]))}
    assert group["attacks"] == {"pgd": pgd}
    assert group["worst"] == {"camera": pgd}


def test_doubt_is_told_only_if_every_attack_tells_it():
    blamed = {"camera": 6, "lidar": 1, "none": 3}
    attacks = {name: entry(["camera"], 1, blamed=blamed) for name in ("a", "b")}
    attacks["a"]["gate"]["clean"]["in_doubt"] = 4
    attacks["a"]["gate"]["attacked"]["in_doubt"] = 1
    assert "in_doubt" not in gate_confusion(attacks, ["camera", "lidar"])


def test_gate_confusion_sums_single_sensor_attacks():
    attacks = {
        "camera_pgd": entry(["camera"], 1, blamed={"camera": 6, "lidar": 1, "none": 3}),
        "camera_hide": entry(
            ["camera"], 1, blamed={"camera": 8, "lidar": 0, "none": 2}
        ),
        "lidar_pgd": entry(["lidar"], 1, blamed={"camera": 0, "lidar": 10, "none": 0}),
        "all": entry(
            ["camera", "lidar"], 1, blamed={"camera": 10, "lidar": 0, "none": 0}
        ),
    }
    confusion = gate_confusion(attacks, ["camera", "lidar"])
    assert confusion == {
        "names": ["camera", "lidar", "none"],
        "rows": {
            "none (clean)": {"camera": 1, "lidar": 0, "none": 9},
            "camera": {"camera": 14, "lidar": 1, "none": 5},
            "lidar": {"camera": 0, "lidar": 10, "none": 0},
        },
    }
    rates = gate_rates(confusion)
    assert rates == {
        "gate_accuracy": pytest.approx(24 / 30),
        "false_alarms": pytest.approx(0.1),
    }
    for name, count in (("camera_pgd", 2), ("camera_hide", 1), ("lidar_pgd", 0)):
        attacks[name]["gate"]["clean"]["in_doubt"] = 4
        attacks[name]["gate"]["attacked"]["in_doubt"] = count
    confusion = gate_confusion(attacks, ["camera", "lidar"])
    assert confusion["in_doubt"] == {"none (clean)": 4, "camera": 3, "lidar": 0}
    (header, _, clean, camera, _) = blame_tables(
        {"detectors": [{"name": "one", "gate_confusion": confusion}]}
    )
    assert header.endswith("| none | none, but in doubt |")
    assert clean.endswith("| 9 | 4 |") and camera.endswith("| 5 | 3 |")
    assert gate_confusion(ATTACKS, ["camera"]) is None
    assert gate_rates(None) == {"gate_accuracy": None, "false_alarms": None}


@pytest.mark.parametrize(
    ("clean", "attacked", "expected"),
    [
        pytest.param([1, 2], [3, 4], 1.0, id="apart"),
        pytest.param([3, 4], [1, 2], 0.0, id="the wrong way round"),
        pytest.param([1, 2], [1, 2], 0.5, id="the same"),
        pytest.param([1, 3], [2, 4], 0.75, id="3 of 4 pairs"),
        pytest.param([1, 1], [1, 2], 0.75, id="ties count half"),
        pytest.param([], [1], None, id="nothing"),
    ],
)
def test_auroc(clean, attacked, expected):
    assert auroc(clean, attacked) == expected


CALM, LYING = (0.05, 0.05, 0.9), (0.9, 0.05, 0.05)


def monitor(smoothing):
    """An alarm above log 1 = 0; a calm frame is -log 18, a lying one log 18."""
    calm = -math.log(18)
    return SensorMonitor(
        sensors=("camera", "lidar"),
        threshold=0.0,
        smoothing=smoothing,
        start=(calm, calm),
        false_alarm_rate=0.1,
        frames=9,
    )


def test_detection_delay_by_hand():
    assert detection_delay(monitor(0.0), [LYING]) == 1
    assert detection_delay(monitor(0.0), [CALM, CALM, LYING]) == 3
    # With smoothing 0.8 the evidence is (1 - 2 * 0.8^n) log 18, above 0 from n = 4 on.
    assert detection_delay(monitor(0.8), [LYING] * 9) == 4
    assert detection_delay(monitor(0.8), [LYING] * 3) is None
    assert detection_delay(monitor(0.0), [LYING], ["lidar"]) is None
    assert detection_delay(monitor(0.0), [LYING], ["lidar", "camera"]) == 1


def test_attack_figures():
    clean, attacked = [CALM] * 44, [LYING] * 44
    figures = attack_figures(monitor(0.8), clean, attacked, ["camera"])
    # 22 frames held out, windows of 20: three beginnings
    assert figures == {"auroc": 1.0, "delay": {"mean": 4.0, "detected": 1, "starts": 3}}
    figures = attack_figures(monitor(0.8), clean, attacked, ["lidar"])
    assert figures["delay"] == {"mean": None, "detected": 0, "starts": 3}
    assert attack_figures(None, clean, clean, ["camera"]) == {
        "auroc": 0.5,
        "delay": None,
    }


def test_the_monitor_is_checked_on_frames_held_out():
    gates = np.array([CALM, LYING] * 10)
    one, described = calibrated_monitor(gates, ["camera", "lidar"])
    assert one.frames == 10
    assert described["false_alarm_rate"] == pytest.approx(1 / 11)
    # Calibrated on calm frames alone, it gives the alarm on all others.
    assert described["held_out"] == {"frames": 10, "false_alarm_rate": 1.0}
    assert calibrated_monitor([CALM], ["camera", "lidar"]) is None


@pytest.mark.parametrize(
    ("kind", "goal", "loss", "vain"),
    [
        ("PGD", "detection", 1.04, True),
        ("APGD", "detection", 0.9, True),
        ("PGD", "detection", 1.06, False),
        ("PGD", "detection|none*0.1", 1.0, False),
        ("PGD", "hide", 1.0, False),
        ("Corruption", "detection", 1.0, False),
        ("PGD", "detection", None, False),
    ],
    ids=[
        "PGD",
        "APGD",
        "works",
        "knows the gate",
        "other loss",
        "no search",
        "no loss",
    ],
)
def test_an_attack_that_gains_no_loss_on_a_gate_is_in_vain(kind, goal, loss, vain):
    """Once a gate leaves the attacked sensor out, plain PGD is noise."""
    entry = {
        "touched": ["camera"],
        "attack": {"type": kind, "threat": {"goal": goal}},
        "damage": {"clean": 1.0, "attacked": loss},
        "gate": {"attacked": {"blamed": {"camera": 0, "none": 4}}},
    }
    assert in_vain(entry) is vain
    assert not in_vain(entry | {"gate": None})


def table_of(attacks):
    """``robustness.md`` of one detector with a gate."""
    worst = worst_per_sensor(attacks)
    nothing = ["oracle", "gate_accuracy", "false_alarms", "mCE", "mRR", "audit"]
    empty = ["failures", "curves", "not_applicable", "failed"]
    detector = dict.fromkeys(nothing) | {key: {} for key in empty}
    detector |= {"name": "one", "clean": block(80.0), "attacks": attacks}
    detector |= {"worst": worst, "worst_single_sensor": worst_single_sensor(worst)}
    detector |= {"gate_confusion": None, "has_gate": False}
    scoring = {"headline": "moderate", "overlaps": {"Car": 0.5}}
    texts = dict.fromkeys(["split", "data_root", "suite", "command"], "x")
    return markdown(
        texts
        | {"sensors": ["camera", "lidar"], "classes": [], "frame_ids": ["000001"]}
        | {"seeds": [0], "groups": [], "environment": {}, "scoring": scoring}
        | {"threats": list(attacks), "baseline": "one", "detectors": [detector]}
    ).splitlines()


def test_stars_in_the_tables():
    """In the sensor's worst case, in the minimum and among all attacks."""
    blamed = {"camera": 10, "lidar": 0, "none": 0}
    attacks = {
        "camera_pgd": entry(["camera"], 70.0, blamed=blamed, goal="detection"),
        "lidar_pgd": entry(["lidar"], 75.0, blamed=blamed, goal="detection"),
    }
    attacks["camera_pgd"]["damage"] = {"clean": 1.0, "attacked": 1.0}
    attacks["lidar_pgd"]["damage"] = {"clean": 1.0, "attacked": 2.0}
    lines = table_of(attacks)
    (summary,) = (line for line in lines if line.startswith("| one | 80.0 |"))
    cells = [cell.strip() for cell in summary.split("|")]
    assert cells[4:7] == ["70.0 * (camera_pgd)", "75.0 (lidar_pgd)", "70.0 *"]
    assert "| camera_pgd | camera | 70.0 * |" in lines
    assert "| lidar_pgd | lidar | 75.0 |" in lines
    assert lines.count(NOTE) == 2  # below either table
    attacks["camera_pgd"]["damage"]["attacked"] = 2.0
    assert NOTE not in table_of(attacks)
