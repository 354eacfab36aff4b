import json
import math
import statistics
from dataclasses import replace

import numpy as np
import pytest

from perception.core.structures import DataError, Objects
from perception.evaluation.detection.rules import Scoring
from perception.evaluation.robustness.figures import (
    attack_result,
    compared,
    corruption_figures,
    detector_result,
    difference,
    groups,
    mean_corruption_error,
    mean_resilience_rate,
    oracle_per_sensor,
    worst_per_sensor,
)
from perception.evaluation.robustness.gate_figures import (
    auroc,
    detection_delay,
    gate_summary,
)
from perception.evaluation.robustness.records import FrameRecord, Measured
from perception.evaluation.robustness.results import (
    Accuracy,
    AttackResult,
    AuditResult,
    ConfusionRow,
    CorruptionKind,
    CurvePoint,
    GateCounts,
    GateResult,
    Loss,
    MeanAP,
    Oracle,
    Results,
    RunInfo,
    Spread,
    Stages,
    Success,
    Worst,
    read_results,
)
from perception.evaluation.robustness.tables import NOTE, attack_table, markdown
from perception.models.consensus.monitor import SensorMonitor

MADE = {
    "name": "one",
    "config": "c.py",
    "config_sha256": "0",
    "checkpoint": "w.pth",
    "checkpoint_sha256": "1",
}


def accuracy(mean):
    block = MeanAP(mean, {"Car": 0.5}, {})
    return Accuracy(block, block)


def attack(name, sensors, left, *, oracle=None, gate=None, corruption=None, **more):
    """An attack that leaves ``left`` of 80."""
    told = None if oracle is None else accuracy(oracle)
    return AttackResult(
        name=name,
        attacked_sensors=tuple(sensors),
        description={"type": "PGD", "threat": {"type": "MapThreat", "seed": 0}},
        corruption=corruption,
        ap=Stages(accuracy(80.0), accuracy(left), told),
        success=Success(0.5, 4, 2, 1, 1),
        detection_loss=Loss(1.0, 2.0),
        gate=gate,
        ineffective=more.pop("ineffective", False),
        changed=True,
        seconds=1.0,
        seconds_per_frame=0.5,
        environments=(),
        **more,
    )


def gate(blamed, *, alarm=None, clean_alarm=None):
    """A gate over camera and lidar; of ten clean frames one is blamed on the camera."""
    clean = {"camera": 1, "lidar": 0, "none": 9}
    return GateResult(
        GateCounts(clean, clean_alarm, {}),
        GateCounts(blamed, alarm, {}),
        0.5,
        0.9,
        None,
    )


def corruption(sensor, kind, severity, left):
    name = f"{sensor}_{kind}_{severity}"
    kinds = CorruptionKind(sensor, kind, severity)
    return attack(name, [sensor], left, corruption=kinds)


def named(*attacks):
    return {one.name: one for one in attacks}


ATTACKS = named(
    attack("camera_pgd", ["camera"], 30.0, oracle=70.0),
    attack("camera_adaptive", ["camera"], 20.0, oracle=69.0),
    attack("lidar_pgd", ["lidar"], 25.0, oracle=60.0),
    attack("all_pgd", ["camera", "lidar"], 0.0),
    attack("depth_pgd", ["depth"], None),
    corruption("camera", "blackout", 5, 1.0),
)


def test_worst_is_of_single_sensor_attacks_without_corruptions():
    worst = worst_per_sensor(ATTACKS)
    assert worst == {
        "camera": Worst("camera_adaptive", 20.0, False),
        "lidar": Worst("lidar_pgd", 25.0, False),
    }
    assert detector_result(MADE, ["camera"], ATTACKS).worst_sensor == "camera"
    assert detector_result(MADE, ["camera"], {}).worst_sensor is None


def test_oracle_is_of_the_worst_attack():
    told = oracle_per_sensor(ATTACKS, worst_per_sensor(ATTACKS))
    assert told["camera"] == Oracle("camera_adaptive", 69.0, 49.0)
    assert told["lidar"].gap == 35.0
    plain = named(attack("camera_pgd", ["camera"], 30.0))
    assert oracle_per_sensor(plain, worst_per_sensor(plain)) == {}


def detector(name, clean, **left):
    attacks = named(*(attack(key, ["camera"], one) for key, one in left.items()))
    found = detector_result(MADE | {"name": name}, ["camera"], attacks)
    return replace(found, clean=None if clean is None else accuracy(clean))


def test_difference_is_of_what_both_have():
    mine = detector("mine", 81.0, pgd=40.0, square=50.0)
    theirs = detector("theirs", 80.0, pgd=10.0, noise=70.0)
    assert difference(mine, theirs) == {"clean": 1.0, "pgd": 30.0}
    assert difference(replace(mine, clean=None), theirs) == {"pgd": 30.0}
    one, base = compared([mine, theirs], "theirs")
    assert (one.difference["pgd"], base.difference) == (30.0, {})


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
    assert mean_corruption_error(ours, {}) == {}
    assert mean_corruption_error({}, base) == {}


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
        assert mean_resilience_rate(ours, clean) == {}
    assert mean_resilience_rate({}, 80.0) == {}


def test_corruptions_by_sensor_kind_and_severity():
    attacks = ATTACKS | named(corruption("lidar", "fog", 1, 70.0))
    assert corruption_figures(attacks) == {
        "camera": {"blackout": {"5": 1.0}},
        "lidar": {"fog": {"1": 70.0}},
    }


def test_groups_have_mean_and_sample_deviation():
    runs = [detector("a", 80.0, pgd=10.0), detector("a_2", 82.0, pgd=16.0)]
    runs += [detector("b", 50.0, pgd=1.0)]
    (group,) = groups(runs, {"a": "a", "a_2": "a", "b": "b"})
    assert (group.name, group.detectors) == ("a", ("a", "a_2"))
    assert group.clean == Spread(81.0, pytest.approx(math.sqrt(2)))
    pgd = Spread(13.0, pytest.approx(statistics.stdev([10, 16])))
    assert group.attacks == {"pgd": pgd}
    assert group.worst == {"camera": pgd}


def gated(alarms=(None, None, None), clean_alarm=None):
    counts = (
        ("camera_pgd", ["camera"], {"camera": 6, "lidar": 1, "none": 3}),
        ("camera_hide", ["camera"], {"camera": 8, "lidar": 0, "none": 2}),
        ("lidar_pgd", ["lidar"], {"camera": 0, "lidar": 10, "none": 0}),
    )
    attacks = [
        attack(name, on, 1.0, gate=gate(blamed, alarm=a, clean_alarm=clean_alarm))
        for (name, on, blamed), a in zip(counts, alarms, strict=True)
    ]
    both = gate({"camera": 10, "lidar": 0, "none": 0})
    return named(*attacks, attack("all", ["camera", "lidar"], 1.0, gate=both))


def test_an_alarm_is_told_only_if_every_attack_tells_it():
    summary = gate_summary(gated((1, None, 0), 4), ["camera", "lidar"])
    assert [row.alarm for row in summary.confusion] == [4, None, 0]
    found = detector_result(MADE, ["camera", "lidar"], gated((1, None, 0), 4))
    assert "but an alarm" not in markdown(file_of(found))


def test_gate_confusion_sums_single_sensor_attacks():
    summary = gate_summary(gated(), ["camera", "lidar"])
    assert summary.confusion == (
        ConfusionRow(None, {"camera": 1, "lidar": 0, "none": 9}, None),
        ConfusionRow("camera", {"camera": 14, "lidar": 1, "none": 5}, None),
        ConfusionRow("lidar", {"camera": 0, "lidar": 10, "none": 0}, None),
    )
    assert summary.right_rate == pytest.approx(24 / 30)
    assert summary.false_alarms == pytest.approx(0.1)
    found = detector_result(MADE, ["camera", "lidar"], gated((2, 1, 0), 4))
    lines = markdown(file_of(found)).splitlines()
    (at,) = (n for n, line in enumerate(lines) if line.endswith("none, but an alarm |"))
    assert lines[at + 2].endswith("| 9 | 4 |") and lines[at + 3].endswith("| 5 | 3 |")
    assert gate_summary(ATTACKS, ["camera"]) is None


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


BOX = [[0.0, 0.0, 50.0, 50.0]]
SCORING = Scoring({"Car": 0.5})


def record(n, clean, attacked, *, loss=2.0, alarm=None):
    """A frame with one car, that is found before and not under the attack."""
    truth = replace(
        Objects.from_boxes(["Car"], BOX),
        truncation=np.zeros(1),
        occlusion=np.zeros(1, int),
    )
    found = Objects.from_boxes(["Car"], BOX, [0.9])
    lost = Objects.from_boxes([], np.zeros((0, 4)), [])
    return FrameRecord(
        frame_id=f"{n:06d}",
        index=n,
        truth=truth,
        clean=found,
        attacked=lost,
        gate_clean=clean,
        gate_attacked=attacked,
        loss_clean=1.0,
        loss_attacked=loss,
        value=loss,
        change={"camera": {"red": 4.0}},
        seconds=0.25,
        oracle=found,
        alarm_clean=alarm,
        alarm_attacked=alarm,
    )


def result(clean, attacked, *, kind="PGD", goal="detection", on=("camera",), **more):
    description = {"type": kind, "threat": {"goal": goal}}
    if kind == "Corruption":
        description = dict(type=kind, sensor="camera", kind="fog", severity=3)
    pairs = zip(clean, attacked, strict=True)
    records = [record(n, *gates, **more) for n, gates in enumerate(pairs)]
    measured = Measured("x", on, description, records)
    return attack_result(measured, ["camera", "lidar"], SCORING)


def test_all_figures_of_an_attack():
    found = result([CALM] * 44, [LYING] * 44, alarm=0.5)
    assert found.ap.clean.headline.classes["Car"]["easy"].r40 == 100.0
    assert (found.mean, found.ap.oracle.headline.mean) == (0.0, 100.0)
    assert found.success == Success(1.0, 44, 44, 0, 0)
    assert found.detection_loss == Loss(1.0, 2.0)
    assert (found.changed, found.seconds, found.seconds_per_frame) == (True, 11.0, 0.25)
    assert found.gate.attacked.attributed == {"camera": 44, "lidar": 0, "none": 0}
    assert (found.gate.clean.alarm, found.gate.attacked.alarm) == (44, 0)
    assert found.gate.clean.mean["none"] == pytest.approx(0.9)
    assert (found.gate.right_rate, found.gate.auroc) == (1.0, 1.0)
    assert (found.frames[0].state_clean, found.frames[0].state_attacked) == (
        *("alarm", "camera"),
    )
    assert result([None], [None]).gate is None
    assert result([CALM], [CALM], loss=float("nan")).detection_loss.attacked is None
    assert result([CALM], [CALM], loss=None).detection_loss is None


def test_delay_by_hand(monkeypatch):
    def calibrate(gates, **_):
        return monitor(0.8)

    monkeypatch.setattr(SensorMonitor, "calibrate", calibrate)
    found = result([CALM] * 44, [LYING] * 44).gate.delay
    # 22 frames held out, windows of 20: three beginnings
    assert (found.mean, found.detected, found.starts) == (4.0, 1, 3)
    found = result([CALM] * 44, [LYING] * 44, on=("lidar",)).gate.delay
    assert (found.mean, found.detected, found.starts) == (None, 0, 3)
    gate = result([CALM], [CALM]).gate
    assert (gate.auroc, gate.delay) == (0.5, None)


def test_the_monitor_is_checked_on_frames_held_out():
    attacks = named(result([CALM, LYING] * 10, [LYING] * 20))
    told = detector_result(MADE, ["camera", "lidar"], attacks).monitor
    assert told.frames == 10
    assert told.false_alarm_rate == pytest.approx(1 / 11)
    # Calibrated on calm frames alone, it gives the alarm on all others.
    assert (told.held_out_frames, told.held_out_rate) == (10, 1.0)
    one = named(result([CALM], [CALM]))
    assert detector_result(MADE, ["camera", "lidar"], one).monitor is None


@pytest.mark.parametrize(
    ("kind", "goal", "loss", "ineffective"),
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
def test_an_attack_that_gains_no_loss_on_a_gate_is_ineffective(
    kind, goal, loss, ineffective
):
    """Once a gate leaves the attacked sensor out, plain PGD is noise."""
    how = dict(kind=kind, goal=goal, loss=loss)
    assert result([CALM], [CALM], **how).ineffective is ineffective
    assert not result([None], [None], **how).ineffective


def file_of(*detectors, **more):
    run = RunInfo("do it", "a.py", ("quick",), "data", "val", (0,), 8, 1, 2.0, "", {})
    attacks = dict.fromkeys(name for one in detectors for name in one.attacks)
    return Results(
        run=run,
        frame_ids=("000001",),
        classes=("Car",),
        sensors={},
        scoring=SCORING,
        attacks=tuple(attacks),
        baseline=detectors[0].name,
        detectors=detectors,
        **more,
    )


def test_stars_in_the_tables():
    """In the sensor's worst case, in the minimum and among all attacks."""
    attacks = named(
        attack("camera_pgd", ["camera"], 70.0, ineffective=True),
        attack("lidar_pgd", ["lidar"], 75.0),
    )
    results = file_of(detector_result(MADE, ["camera", "lidar"], attacks))
    results = replace(results, sensors={"camera": None, "lidar": None})
    lines = markdown(results).splitlines()
    (summary,) = (line for line in lines if line.startswith("| one | 80.0 |"))
    cells = [cell.strip() for cell in summary.split("|")]
    assert cells[4:7] == ["70.0 * (camera_pgd)", "75.0 (lidar_pgd)", "70.0 *"]
    assert "| camera_pgd | camera | 70.0 * |" in lines
    assert "| lidar_pgd | lidar | 75.0 |" in lines
    assert lines.count(NOTE) == 2  # below either table
    attacks["camera_pgd"] = replace(attacks["camera_pgd"], ineffective=False)
    assert NOTE not in markdown(file_of(detector_result(MADE, ["camera"], attacks)))


def test_an_attack_that_changed_nothing_is_told():
    attacks = named(replace(attack("pgd", ["camera"], 70.0), changed=False))
    text = attack_table(file_of(detector_result(MADE, ["camera"], attacks)))
    assert "pgd: changed nothing in any frame" in text
    assert "80.00     70.00" in text and "1.00 -> 2.00" in text


def everything():
    """Results that use every field."""
    attacks = named(
        result([CALM, LYING] * 3, [LYING] * 6, alarm=0.5),
        *gated((2, 1, 0), 4).values(),
        corruption("camera", "fog", 3, None),
    )
    found = detector_result(
        MADE,
        ["camera", "lidar"],
        attacks,
        not_applicable={"a": "b"},
        failed={"c": "d"},
        curves={"x": (CurvePoint(0.5, 1.0), CurvePoint(1, None))},
        audit=AuditResult(False, ("steps",)),
        frames_file="one/results.json",
    )
    other = replace(found, name="two")
    both = compared([found, other], "two")
    return file_of(*both, groups=groups(both, {"one": "a", "two": "a"}))


def test_what_is_written_is_read(tmp_path):
    results, path = everything(), tmp_path / "results.json"
    path.write_bytes(results.to_json())
    assert read_results(path) == results


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda v: v.pop("scoring"), "scoring: Field required"),
        (
            lambda v: v["detectors"][1]["attacks"]["x"].update(seconds="1"),
            "detectors.1.attacks.x.seconds: Input should be a valid number",
        ),
        (
            lambda v: v["detectors"][0]["attacks"]["x"]["gate"].update(auroc=math.nan),
            "auroc",
        ),
        (
            lambda v: v["scoring"].update(headline="dusk"),
            "no AP of .* at the headline difficulty 'dusk'",
        ),
        (lambda v: v.update(frame_ids=[]), "frame_ids: .* at least 1 item"),
        (lambda v: v.update(detectors=[]), "detectors: .* at least 1 item"),
        (
            lambda v: v.update(format="a"),
            "expected results of tools/attack.py or tools",
        ),
        (
            lambda v: v.update(version=1),
            "expected version 2 .* got version 1 .* make it again with: tools/robust",
        ),
        (
            lambda v: v.update(version=1, command="python it.py"),
            "make it again with: python it.py",
        ),
    ],
    ids=[
        "missing",
        "text",
        "NaN",
        "level",
        "frames",
        "detectors",
        "other",
        "old",
        "command",
    ],
)
def test_damaged_results_are_named(tmp_path, damage, message):
    path = tmp_path / "results.json"
    path.write_bytes(everything().to_json())
    values = figures_of(path)
    damage(values)
    path.write_text(json.dumps(values))
    with pytest.raises(DataError, match=f"{path}: .*{message}"):
        read_results(path)


def figures_of(path):
    return json.loads(path.read_text())
