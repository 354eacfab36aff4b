"""Results of both tools as a report page joins them, and what it draws of them."""

import json
from dataclasses import replace

import pytest
from report_makers import (
    attack,
    attack_results,
    corruption,
    detector,
    results,
    robust_results,
    write_json,
    write_results,
)

from perception.core.structures import DataError
from perception.evaluation.robustness.results import AuditResult, CurvePoint
from perception.visualization.report import summary
from perception.visualization.report.charts import Bar, Point
from perception.visualization.report.page import write_report
from perception.visualization.report.runs import read_runs


@pytest.fixture
def read(tmp_path):
    """Detectors of contents, each written to a file of its own."""

    def read_contents(*contents):
        return read_runs(
            [
                write_results(tmp_path / f"{number}.json", content)
                for number, content in enumerate(contents)
            ]
        )

    return read_contents


@pytest.fixture
def drawn(monkeypatch):
    """What is given to the functions that draw, instead of drawings."""
    calls = {}

    def record(name):
        return lambda title, *given, **more: calls.setdefault(title, (*given, more))

    for name in ("lines_chart", "bars_chart", "gate_chart"):
        monkeypatch.setattr(summary, name, record(name))
    return calls


def test_results_of_attacks(read):
    (one,) = read(attack_results())
    assert one.name == "toy_concat"
    assert list(one.sensors) == ["camera", "lidar"]
    assert one.objects == {"Car": 50, "Cyclist": 50} and not one.few_objects
    assert one.class_ap(one.result.clean, "Car") == 80.0
    assert one.class_ap(one.result.clean, "Tram") is None


def test_bars_are_clean_and_worst_of_each_sensor_alone(read, drawn):
    weak = attack("lidar_pgd", "lidar", 5.0, ineffective=True)
    camera = [attack("camera_pgd", "camera", 40.0), attack("camera_b", "camera", 35.5)]
    both = attack("all_pgd", "camera+lidar", 0.0)
    runs = read(
        results(detector(weak, *camera, both, corruption("lidar", "fog", 5, 1.0)))
    )
    summary.worst_chart(runs, 100.0)
    ((groups, *_),) = drawn.values()
    assert groups == {
        "toy_concat": [
            Bar("", 80.0, "80.0 clean"),
            Bar("camera", 35.5, "35.5 camera attacked, camera_b"),
            Bar("lidar", 5.0, "5.0 * lidar attacked, lidar_pgd"),
        ]
    }


def test_gates_are_drawn_as_counted(read, drawn):
    (chart,) = summary.gate_charts(read(robust_results()))  # the first has no gate
    assert chart.name == "toy_robust"
    ((sensors, rows, _),) = drawn.values()
    assert sensors == ("camera", "lidar")
    assert [(row.sensor, tuple(row.attributed.values())) for row in rows] == [
        (None, (1, 0, 9)),
        ("camera", (8, 1, 1)),
        ("lidar", (2, 5, 3)),
    ]


def test_curves_from_both_kinds_of_results(read, drawn):
    charts = summary.budget_charts(read(robust_results()), 100.0)
    assert [(one.name, one.sensors) for one in charts] == [
        ("lidar_pgd", ("lidar",)),
        ("camera_pgd", ("camera",)),
    ]
    lines, _, more = drawn["Mean AP over the budget of camera_pgd"]
    measured = [Point(0.0, 80.0), Point(0.5, 60.0), Point(1.0, 40.0)]
    assert lines == {"toy_concat": measured}
    assert more["levels"]["toy_concat"] == {"noise": 78.0}
    lines, names, more = drawn["Mean AP over the budget of lidar_pgd"]
    measured = [Point(0.0, 78.5), Point(0.25, 70.0), Point(1.0, 55.0)]
    assert lines["toy_robust"] == measured
    assert more["levels"]["toy_robust"] == {"oracle": 66.0}
    assert more["ticks"] == {0.0: "clean", 0.25: "0.25×", 1.0: "1×"}
    assert names == ["toy_concat", "toy_robust"]


def test_severities_are_lines(read, drawn):
    charts = summary.severity_charts(read(robust_results()), 100.0)
    assert [one.name for one in charts] == ["fog", "blackout", "beam loss"]
    lines, _, more = drawn["Mean AP over the severity of fog, camera"]
    assert lines["toy_robust"][-1] == Point(5.0, 20.0) and len(lines["toy_concat"]) == 5
    assert more["ticks"] == {float(level): str(level) for level in range(1, 6)}


def test_same_detector_and_frames_are_joined(read):
    (one,) = read(
        results(detector(attack("camera_pgd", "camera", 40.0))),
        results(detector(attack("lidar_pgd", "lidar", 5.0)), command="second"),
    )
    assert set(one.attacks) == {"camera_pgd", "lidar_pgd"}
    assert [file.run.command for file in one.files][1] == "second"
    assert one.result.worst_sensor == "lidar"


def test_nothing_that_a_second_file_says_is_lost(read):
    camera = attack("camera_pgd", "camera", 40.0, gate=(8, 1, 1))
    lidar = attack("lidar_pgd", "lidar", 5.0, gate=(0, 9, 1), oracle=66.0)
    points = (CurvePoint(0.5, 60.0), CurvePoint(1.0, 40.0))
    first = detector(
        camera,
        curves={"camera_pgd": points},
        failed={"camera_fog": "no fog", "lidar_pgd": "out of memory"},
        audit=AuditResult(True, ()),
    )
    second = detector(
        *(camera, lidar, corruption("lidar", "beam_loss", 2, 50.0)),
        curves={"camera_pgd": (CurvePoint(2.0, 20.0),)},
        failed={"depth_pgd": "no depth"},
        audit=AuditResult(False, ("camera: steps",)),
    )
    one = read(results(first), results(second))[0].result
    assert list(one.attacks) == ["camera_pgd", "lidar_pgd", "lidar_beam_loss_2"]
    assert one.failed == {"camera_fog": "no fog", "depth_pgd": "no depth"}
    assert one.audit == AuditResult(False, ("camera: steps",))
    rows = {row.sensor: row.attributed for row in one.gate.confusion}
    assert rows["lidar"] == {"camera": 0, "lidar": 9, "none": 1}
    assert one.corruptions == {"lidar": {"beam_loss": {"2": 50.0}}}
    assert one.oracle["lidar"].mean == 66.0
    assert [step.scale for step in one.curves["camera_pgd"]] == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (attack("camera_pgd", "camera", 40.0, eps=8.0), "description"),
        (attack("camera_pgd", "camera", 41.0), "AP"),
        (attack("camera_pgd", "camera", 40.0, clean=81.0), "clean AP"),
    ],
    ids=["description", "AP", "clean AP"],
)
def test_files_that_disagree_about_an_attack(read, other, what):
    first = results(detector(attack("camera_pgd", "camera", 40.0)))
    with pytest.raises(DataError, match=f"1.json: camera_pgd: another {what} for this"):
        read(first, results(detector(other)))


def test_others_are_told_apart_by_name(read):
    """No two rows of one name: each says what is its own."""
    first = attack_results()
    names = [one.name for one in read(first, replace(first, frame_ids=("000001",)))]
    assert names == ["toy_concat · 2 frames", "toy_concat · 1 frames"]
    other = {"checkpoint": "zoo/concat.pth", "checkpoint_sha256": "ef" * 32}
    named, hashed = (
        results(detector(**other)),
        results(detector(checkpoint_sha256="1" * 64)),
    )
    names = [one.name for one in read(first, named)]
    assert names == ["toy_concat · epoch_1.pth", "toy_concat · concat.pth"]
    names = [one.name for one in read(first, hashed)]
    assert names == ["toy_concat · abababab", "toy_concat · 11111111"]
    fewer = replace(named, frame_ids=("000001",))
    names = [one.name for one in read(first, named, fewer)]
    assert names == [
        "toy_concat · epoch_1.pth",
        "toy_concat · concat.pth · 2 frames",
        "toy_concat · concat.pth · 1 frames",
    ]
    elsewhere = replace(first, frame_ids=("000001", "000007"))
    assert [one.name[-4:] for one in read(first, elsewhere)] == [" · 1", " · 2"]


def damaged(path, value):
    """A file's content with one entry replaced, or removed if the value is None."""

    def damage(content):
        *parents, last = path
        place = content
        for key in parents:
            place = place[key]
        if value is None:
            del place[last]
        else:
            place[last] = value
        return content

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda _: [], "expected results of tools/attack.py or tools/robustness.py"),
        (damaged(["format"], "other"), "got format 'other'"),
        (
            damaged(["version"], 1),
            "expected version 2 .* got version 1 .* make it again",
        ),
        (damaged(["version"], 3), "expected version 2 .* got version 3"),
        (damaged(["detectors", 0, "attacks"], None), "detectors.0.attacks: Field req"),
        (
            damaged(["detectors", 0, "clean", "headline", "mean"], "many"),
            "valid number",
        ),
        (damaged(["detectors", 0, "attacks", "camera_pgd"], 7), "damaged.*camera_pgd"),
        (damaged(["frame_ids"], []), "frame_ids"),
        (damaged(["sensors", "camera", "kind"], "smell"), "kind"),
        (damaged(["sensors", "camera"], None), "no sensor 'camera'"),
        (damaged(["detectors"], []), "detectors"),
    ],
)
def test_wrong_files_are_one_clear_error(tmp_path, damage, message):
    path = write_results(tmp_path / "0.json", attack_results())
    write_json(path, damage(json.loads(path.read_text(encoding="utf-8"))))
    with pytest.raises(DataError, match=message) as caught:
        write_report([path], tmp_path / "report.html")
    assert "0.json" in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_unreadable_files(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_runs([tmp_path / "missing.json"])
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(DataError, match="not JSON"):
        read_runs([tmp_path / "x.json"])
