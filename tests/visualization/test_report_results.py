"""Results of both tools as a report page reads them, and what it says at a glance."""

import copy

import pytest
from report_makers import (
    attack,
    attack_results,
    failure,
    figures,
    named,
    robust_results,
    write_results,
)

from perception.core.structures import DataError
from perception.visualization.report.gate import confusion
from perception.visualization.report.results import read_results
from perception.visualization.report.summary import (
    curve_charts,
    failures,
    headlines,
    worst_cases,
)
from perception.visualization.report.svg import draw_chart


@pytest.fixture
def read(tmp_path):
    """Detectors of contents, each written to a file of its own."""

    def read_contents(*contents):
        return read_results(
            [
                write_results(tmp_path / f"{n}.json", content)
                for n, content in enumerate(contents)
            ]
        )

    return read_contents


def test_results_of_attacks(read):
    (one,) = read(attack_results())
    assert one.name == "toy_concat"
    assert list(one.sensors) == ["camera", "lidar"]
    assert one.clean.mean == 80.0 and one.clean.kitti == 40.0
    assert one.attacks["camera_pgd"].drop == 40.0
    assert one.attacks["all_pgd"].touched == ("camera", "lidar")


def test_worst_case_counts_attacks_on_that_sensor_alone(read):
    (one,) = read(attack_results())
    assert worst_cases(one)["camera"].attack == "camera_apgd"
    assert worst_cases(one)["lidar"].mean == 5.0  # all_pgd left 0.0, with both
    (row,) = headlines([one])
    assert row.lowest == "lidar" and row.clean_drop is None


def test_robustness_results(read):
    detectors = read(robust_results())
    first, second = headlines(detectors)
    assert first.is_baseline and first.clean_drop is None
    assert second.clean_drop == 1.5
    grid = failures(detectors[0])
    assert grid.severities == (1, 2, 3, 4, 5)
    assert grid.rows["camera", "fog"][5] == 20.0
    assert worst_cases(detectors[0])["camera"].attack == "camera_apgd"  # no failure


def test_gate_confusion_counts_frames(read):
    plain, gated = read(robust_results())
    assert confusion(plain) is None
    table = confusion(gated)
    assert list(table.rows) == ["none (clean)", "camera", "lidar"]
    assert table.share("camera", "camera") == 0.8
    assert table.share("lidar", "lidar") == 0.5
    assert table.right("none (clean)", "none") and table.right("lidar", "lidar")
    assert not table.right("lidar", "none")


def in_doubt(entry, clean, attacked):
    """The entry of an attack on a gate that knows doubt, and was in doubt so often."""
    entry["gate"]["clean"]["in_doubt"] = clean
    entry["gate"]["attacked"]["in_doubt"] = attacked
    return entry


def test_frames_in_doubt_are_a_column_of_their_own(read):
    content = attack_results(
        named(
            in_doubt(attack("camera_pgd", "camera", 40.0, gate=(5, 1, 4)), 2, 3),
            in_doubt(attack("camera_apgd", "camera", 40.0, gate=(4, 0, 6)), 2, 1),
            in_doubt(attack("lidar_pgd", "lidar", 40.0, gate=(0, 10, 0)), 2, 0),
        )
    )
    table = confusion(*read(content))
    assert table.names == ("camera", "lidar", "in doubt", "none") and table.doubts
    assert table.rows == {
        "none (clean)": {"camera": 1, "lidar": 0, "in doubt": 2, "none": 7},
        "camera": {"camera": 9, "lidar": 1, "in doubt": 4, "none": 6},
        "lidar": {"camera": 0, "lidar": 10, "in doubt": 0, "none": 0},
    }
    assert table.share("camera", "in doubt") == 0.2
    assert table.half_right("camera", "in doubt")
    assert not table.half_right("none (clean)", "in doubt")
    headings = [table.heading(name) for name in table.names]
    assert headings == ["blamed camera", "blamed lidar", "in doubt", "trusted all"]


@pytest.mark.parametrize("doubts", [None, "older file"])
def test_gates_of_which_doubt_is_unknown_stay_as_they_were(read, doubts):
    first = attack("camera_pgd", "camera", 40.0, gate=(5, 1, 4))
    if doubts is None:  # as tools write it of a fusion that knows no doubt
        in_doubt(first, None, None)
    second = attack("lidar_pgd", "lidar", 40.0, gate=(0, 9, 1))
    if doubts == "older file":
        in_doubt(second, 1, 1)
    table = confusion(*read(attack_results(named(first, second))))
    assert table.names == ("camera", "lidar", "none") and not table.doubts
    assert table.rows["camera"] == {"camera": 5, "lidar": 1, "none": 4}
    assert table.heading("none") == "blamed none"


def test_more_doubt_than_frames_that_blame_nobody(read):
    entry = in_doubt(attack("camera_pgd", "camera", 40.0, gate=(9, 0, 1)), 0, 2)
    with pytest.raises(ValueError, match="camera: 2 frames in doubt of 1"):
        confusion(*read(attack_results(named(entry))))


def test_curves_from_both_kinds_of_results(read):
    charts = {chart.attack: chart for chart in curve_charts(read(robust_results()))}
    assert charts["camera_pgd"].curves[0].points == ((0, 80.0), (0.5, 60.0), (1, 40.0))
    levels = dict(charts["camera_pgd"].levels)
    assert levels["noise of the same budget (toy_concat)"] == 78.0
    assert dict(charts["lidar_pgd"].levels)["oracle (toy_robust)"] == 66.0
    assert levels["random guess"] == 0.0
    drawing = draw_chart(charts["lidar_pgd"], ["toy_concat", "toy_robust"])
    assert [text for _, text in drawing.x_ticks] == ["clean", "0.25×", "1×"]
    assert drawing.lines[0].dash != drawing.lines[1].dash


def test_same_detector_and_frames_are_joined(read):
    (one,) = read(
        attack_results(named(attack("camera_pgd", "camera", 40.0))),
        attack_results(named(attack("lidar_pgd", "lidar", 5.0)), command="second"),
    )
    assert set(one.attacks) == {"camera_pgd", "lidar_pgd"}
    assert one.run["command"].splitlines()[1] == "second"


def robustness(attacks, **more):
    """The content of a robustness.json about one detector."""
    content = robust_results()
    content["detectors"] = [content["detectors"][1] | {"attacks": attacks} | more]
    return content


def test_nothing_that_a_second_file_says_is_lost(read):
    camera = attack("camera_pgd", "camera", 40.0, gate=(8, 1, 1))
    lidar = attack("lidar_pgd", "lidar", 5.0, gate=(0, 9, 1), oracle=66.0)
    points = [{"eps_scale": 0.5, "mAP": 60.0}, {"eps_scale": 1, "mAP": 40.0}]
    more = [{"eps_scale": 2, "mAP": 20.0}]
    (one,) = read(
        robustness(
            named(camera),
            curves={"camera_pgd": points},
            failed={"camera_fog": "no fog", "lidar_pgd": "out of memory"},
            audit={"passed": True, "failed": []},
        ),
        robustness(
            named(camera, lidar, failure("lidar", "beam_loss", 2, 50.0)),
            curves={"camera_pgd": more},
            failed={"depth_pgd": "no depth"},
            audit={"passed": False, "failed": ["camera: steps"]},
        ),
    )
    assert list(one.attacks) == ["camera_pgd", "lidar_pgd", "lidar_beam_loss_2"]
    assert one.failed == {"camera_fog": "no fog", "depth_pgd": "no depth"}
    assert one.audit == {"passed": False, "failed": ["camera: steps"]}
    assert confusion(one).rows["lidar"] == {"camera": 0, "lidar": 9, "none": 1}
    assert failures(one).rows["lidar", "beam_loss"] == {2: 50.0}
    (chart,) = (c for c in curve_charts([one]) if c.attack == "camera_pgd")
    assert [x for x, _ in chart.curves[0].points] == [0.0, 0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("other", "what"),
    [
        (attack("camera_pgd", "camera", 40.0, threat={"eps": 8.0}), "description"),
        (attack("camera_pgd", "camera", 41.0), "AP"),
    ],
    ids=["description", "AP"],
)
def test_files_that_disagree_about_an_attack(read, other, what):
    first = attack_results(named(attack("camera_pgd", "camera", 40.0)))
    with pytest.raises(DataError, match=f"1.json: camera_pgd: another {what} for this"):
        read(first, attack_results(named(other)))


def test_an_attack_in_vain_is_known(read):
    vain = attack("camera_pgd", "camera", 70.0, gate=(8, 1, 1), loss=1.01)
    (one,) = read(attack_results(named(vain, attack("lidar_pgd", "lidar", 5.0))))
    assert one.attacks["camera_pgd"].in_vain and worst_cases(one)["camera"].in_vain
    assert not worst_cases(one)["lidar"].in_vain


def test_others_are_told_apart_by_name(read):
    other = attack_results(checkpoint_sha256="ef" * 32)
    fewer = attack_results(frame_ids=["000001"])
    names = [one.name for one in read(attack_results(), other, fewer)]
    assert names == ["toy_concat", "toy_concat · efefefef", "toy_concat · 1 frames"]


def test_nothing_to_find_is_no_number(read):
    empty = named(attack("camera_pgd", "camera", None, clean=None))
    (one,) = read(attack_results(empty, clean_ap=figures(None)))
    assert worst_cases(one)["camera"].mean is None
    assert headlines([one])[0].lowest == ""


def damaged(path, value):
    """Results with one entry replaced, or removed if the value is None."""
    content = copy.deepcopy(attack_results())
    *parents, last = path
    place = content
    for key in parents:
        place = place[key]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "expected results of tools/attack.py or tools/robustness.py"),
        (damaged(["format"], "other"), "got format 'other'"),
        (damaged(["version"], 2), "expected version 1 .* got 2; make it again"),
        (damaged(["attacks"], None), "no 'attacks' entry"),
        (damaged(["clean_ap", "headline", "mAP"], "many"), "expected a number"),
        (damaged(["attacks", "camera_pgd"], 7), "damaged"),
        (damaged(["frame_ids"], []), "no frame"),
        (damaged(["sensors", "camera", "kind"], "smell"), "kind must be"),
        ({**robust_results(), "detectors": []}, "no detector"),
    ],
)
def test_wrong_files_are_one_clear_error(read, content, message):
    with pytest.raises(DataError, match=message) as caught:
        read(content)
    assert "0.json" in str(caught.value)


def test_unreadable_files(tmp_path):
    with pytest.raises(DataError, match="No such file"):
        read_results([tmp_path / "missing.json"])
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(DataError, match="no JSON"):
        read_results([tmp_path / "x.json"])
