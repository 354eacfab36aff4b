"""Judged boxes, the sheet of one detector, and the comparison of several."""

import time
from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from scene_makers import SENSORS, make_scene, make_truth, make_view

from perception.core.gate_state import ALARM
from perception.core.structures import DataError, Objects
from perception.visualization.attack_figure import (
    draw_gate,
    draw_scene,
    effect_facts,
    headline,
)
from perception.visualization.captions import budget_text
from perception.visualization.compare_figure import draw_comparison
from perception.visualization.pairs import draw_pair
from perception.visualization.scene import Judge, raster_changes, state_text
from perception.visualization.sheet import Sheet
from perception.visualization.style import ARROW, REGION, sensor_colour

JUDGE = Judge.at_half_overlap(("Car", "Pedestrian", "Cyclist"))
NOTHING = Objects.from_boxes(np.zeros(0, object), np.zeros((0, 4)), np.zeros(0))


def test_correct_false_and_missed_are_told_apart():
    verdict = JUDGE(make_truth(), make_view().detections)
    assert list(verdict.truth_state) == ["found", "missed", "ignored"]
    assert list(verdict.state) == ["correct", "false"]  # 0.1 is below the threshold
    assert verdict.wanted == 2
    drawn = {s for layer in verdict.layers() for s in layer.statuses()}
    assert drawn == {"ground_truth", "missed", "ignored", "correct", "false"}
    (in_space,) = verdict.truth_in_space()
    assert list(in_space.statuses()) == ["correct", "missed", "ignored"]


def test_without_labels_nothing_is_judged():
    verdict = JUDGE(None, make_view().detections)
    assert list(verdict.state) == ["detected", "detected"]
    assert verdict.truth_in_space() == []


def test_no_detections_and_no_labels_still_draw():
    for truth in (None, NOTHING, make_truth()):
        scene = make_scene(truth=truth, clean=make_view(detections=NOTHING))
        assert draw_scene(scene, JUDGE, width=640).shape[1] == 640


@pytest.mark.parametrize("attacked", [None, "camera", "lidar", "depth"])
def test_drawing_repeats_itself_and_changes_nothing(attacked):
    scene = make_scene(attacked=attacked)
    before = deepcopy(scene)
    first, second = (draw_scene(scene, JUDGE, width=800) for _ in range(2))
    assert first.dtype == np.uint8 and first.shape[1:] == (800, 3)
    np.testing.assert_array_equal(first, second)
    for view in ("clean", "attacked"):
        one, other = getattr(scene, view), getattr(before, view)
        for name in one.inputs if one else ():
            np.testing.assert_array_equal(one.inputs[name], other.inputs[name])


def test_attack_on_a_map_of_points_is_told_in_space():
    spec, scene = SENSORS["lidar"], make_scene()
    clean = np.zeros((2, 48, 96), np.float32)
    attacked = clean.copy()
    clean[0, 24, 48], attacked[0, 24, 48] = 10, 12  # moved along the optical axis
    attacked[0, 3, 4] = 5
    clean[0, 40, 60] = 7
    change = raster_changes(clean, attacked, spec, scene.calibration)
    np.testing.assert_allclose(change.moved_from, [[10, 0, 0]], atol=1e-9)
    np.testing.assert_allclose(change.moved_to, [[12, 0, 0]], atol=1e-9)
    assert change.count("added") == change.count("removed") == 1


def test_moved_points_are_compared_as_points():
    scene = make_scene(attacked="lidar")
    moved = scene.clean.points["lidar"].copy()
    moved[:5, 0] += 1
    view = replace(scene.attacked, points={"lidar": moved})
    changes = replace(scene, attacked=view).changed_points()["lidar"]
    assert changes.count("moved") == 5


def test_detector_without_camera_or_gate():
    views = make_view()
    bare = replace(
        views,
        inputs={"lidar": views.inputs["lidar"]},
        gate=None,
        gate_map=None,
    )
    scene = make_scene(sensors={"lidar": SENSORS["lidar"]}, clean=bare)
    without = draw_scene(scene, JUDGE, width=640)
    picture = np.full((48, 96, 3), 200, np.uint8)
    with_picture = draw_scene(replace(scene, picture=picture), JUDGE, width=640)
    assert (without != with_picture).any()


def test_words_say_what_happened():
    scene = make_scene(attacked="lidar")
    facts = dict(effect_facts(scene, JUDGE))
    assert facts["detection loss"] == "1.50 → 4.00"
    assert facts["found"] == "1 → 1 of 2" and facts["false"] == "1 → 1"
    assert headline(scene) == "frame 000007: lidar under attack"


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"sensor": "camera", "eps": 4.0}, "L∞ ε = 4 grey levels"),
        ({"sensor": "depth", "eps": 2.0, "disparity": True}, "2 px of disparity"),
        (
            {"sensor": "lidar", "eps": {"depth_m": 1.0, "reflectance": 0.1}},
            "L∞ ε = 1 m depth, 0.1 reflectance",
        ),
    ],
    ids=["one unit", "disparity", "per channel"],
)
def test_budget_has_its_unit(fields, text):
    from perception.attacks import MapThreat

    assert text in budget_text(MapThreat(name="x", **fields), SENSORS)


@pytest.mark.parametrize(
    ("placement", "text"),
    [
        ({"on": "face", "size_m": (1.6, 1.4)}, "patch of 1.6 x 1.4 m on face"),
        (
            {"on": "image", "size": (0.1, 0.2)},
            "patch of 0.1 x 0.2 of the picture's sides on image",
        ),
        ({"on": "image", "size": (9, 8), "unit": "px"}, "patch of 9 x 8 px on image"),
    ],
    ids=["metres", "shares", "pixels"],
)
def test_a_patch_tells_its_size(placement, text):
    from perception.attacks.patch.threat import PatchThreat

    threat = PatchThreat(name="x", sensor="camera", placement=placement)
    assert budget_text(threat, SENSORS) == text


def test_any_text_is_drawn_as_it_is():
    odd = "<script>\x00{frame}\n%s ✓ 車"
    scene = make_scene(attacked="camera", frame_id=odd, detector=odd, attack=odd)
    names = np.array([odd] * 3, dtype=object)
    view = replace(scene.clean, detections=replace(scene.clean.detections, names=names))
    draw_scene(replace(scene, clean=view), JUDGE, width=640)


def test_comparison_has_a_column_per_detector():
    scenes = [make_scene(attacked="camera"), make_scene(attacked="camera")]
    scenes[1] = replace(
        scenes[1],
        clean=replace(scenes[1].clean, gate=None),
        attacked=replace(scenes[1].attacked, gate=None),
    )
    sheet = draw_comparison(scenes, JUDGE, width=900, note="on each detector")
    assert sheet.shape[1:] == (900, 3)
    assert draw_comparison([make_scene()] * 2, JUDGE, width=900).shape[1] == 900


NOBODYS = np.array([0.3, 0.1, 0.1, 0.5])
LIDARS = np.array([0.1, 0.8, 0.0, 0.1])


def with_gate(gate, alarm, *, clean_alarm=-1.0):
    """An attack on depth, with such a gate."""
    scene = make_scene(attacked="depth")
    view = replace(scene.attacked, gate=gate, alarm=alarm)
    return replace(scene, attacked=view, clean=replace(scene.clean, alarm=clean_alarm))


@pytest.mark.parametrize(
    ("gate", "alarm", "state", "words"),
    [
        (NOBODYS, -0.2, "none", "no alarm"),
        (NOBODYS, 0.0, "none", "no alarm"),
        (NOBODYS, 0.2, "alarm", "alarm: some sensor is compromised"),
        (LIDARS, 2.0, "lidar", "alarm: lidar is compromised"),
        (LIDARS, -2.0, "lidar", "alarm: lidar is compromised"),
    ],
)
def test_state_of_a_frame(gate, alarm, state, words):
    view = with_gate(gate, alarm).attacked
    assert view.state(list(SENSORS)) == state
    assert state_text(state) == words


@pytest.mark.parametrize(("gate", "alarm"), [(NOBODYS, None), (None, 1.0)])
def test_without_gate_or_alarm_there_is_no_state(gate, alarm):
    assert with_gate(gate, alarm).attacked.state(list(SENSORS)) is None


def gate_of(scene, width=500):
    sheet = Sheet(width, margin=0)
    draw_gate(sheet.body, scene)
    return sheet.rendered(sheet.body.y)


def bar_length(panel, name):
    return int((panel == sensor_colour(name)).all(axis=2).sum(axis=1).max())


def test_bars_are_as_long_as_their_probability():
    panel = gate_of(with_gate(np.array([0.2, 0.4, 0.1, 0.3]), None))
    lengths = [bar_length(panel, name) for name in (*SENSORS, "none")]
    # A tick of two pixels tells the value on the clean input.
    assert np.array(lengths) / lengths[0] == pytest.approx([1, 2, 0.5, 1.5], abs=0.1)


def test_gate_out_of_range_is_clipped():
    panel = gate_of(with_gate(np.array([np.nan, 5.0, -1.0, 0]), None))
    assert bar_length(panel, "camera") == 0 < bar_length(panel, "lidar") < 500


def test_band_has_the_colour_of_the_state_all_across():
    alarm, quiet, attributed, without = (
        gate_of(with_gate(gate, alarm))
        for gate, alarm in (
            (NOBODYS, 0.5),
            (NOBODYS, -0.5),
            (LIDARS, 1.0),
            (LIDARS, None),
        )
    )
    assert bar_length(alarm, ALARM) == 500 > bar_length(quiet, ALARM) == 0
    assert bar_length(quiet, "none") == 500 > bar_length(alarm, "none")
    assert bar_length(attributed, "lidar") == 500
    assert bar_length(without, "lidar") < 500 and len(without) < len(attributed)


@pytest.mark.parametrize(("alarm", "seen"), [(0.5, True), (-0.5, False)])
def test_sheets_show_an_alarm_of_nobody(alarm, seen):
    scene = with_gate(np.array([0.2, 0.2, 0.1, 0.5]), alarm)
    other = make_scene(attacked="depth")  # knows no alarm
    for sheet in (
        draw_scene(scene, JUDGE, width=800),
        draw_comparison([scene, other], JUDGE, width=800),
    ):
        # No other part of a sheet has so long a line of that colour.
        assert (bar_length(sheet, ALARM) > 200) == seen


def test_rows_of_attacked_sensors_are_labelled_in_their_colour():
    def label(name):
        sheet = draw_scene(make_scene(attacked=name), JUDGE, width=800)
        left = sheet[:, 8]  # within the label, left of its text
        return (left == sensor_colour(name)).all(axis=1).sum()

    assert all(label(name) > 40 for name in SENSORS)


@pytest.mark.parametrize("touched", [("camera", "lidar"), tuple(SENSORS)])
def test_attacks_on_several_sensors(touched):
    scene = make_scene(attacked="depth")
    one, several = (
        draw_scene(replace(scene, touched=names), JUDGE, width=800)
        for names in (("depth",), touched)
    )
    assert len(several) > len(one)


def test_too_many_detectors_for_the_width():
    with pytest.raises(DataError, match="need a width of"):
        draw_comparison([make_scene()] * 5, JUDGE, width=640)


def test_a_sheet_of_kitti_size_takes_under_half_a_second():
    rng, size = np.random.default_rng(0), (375, 1242)
    cloud = rng.uniform([2, -20, -2, 0], [70, 20, 2, 1], (120_000, 4))

    def view(seed, returns):
        depth_m = rng.uniform(3, 60, (1, *size)) * (rng.random((1, *size)) < returns)
        return replace(
            make_view(seed),
            inputs={
                "camera": np.tile(np.linspace(0, 255, 1242, dtype="f4"), (3, 375, 1)),
                "lidar": np.concatenate([depth_m, depth_m / 80]).astype("f4"),
                "depth": np.full((1, *size), 9, "f4"),
            },
            points={"lidar": cloud},
        )

    clean, calibration = view(0, 0.1), make_scene().calibration
    attacked = replace(view(1, 0.2), points=clean.points)
    P = np.array([[700.0, 0, 620, 0], [0, 700, 187, 0], [0, 0, 1, 0]])
    scene = make_scene(
        attacked="lidar",
        clean=clean,
        image_size=size,
        original_size=size,
        calibration=replace(calibration, image_P_cam=P),
    )
    scene = replace(scene, attacked=attacked)
    seconds = []
    for _ in range(4):
        start = time.process_time()
        draw_scene(scene, JUDGE)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.5


def in_space(x_m: float) -> Objects:
    """The car found so far to the right of the camera, and an invented pedestrian."""
    flat = make_view().detections
    space = np.array([[x_m, 1.6, 12, 1.5, 1.6, 4, 0.1], [3, 1.6, 20, 1.7, 0.6, 0.8, 1]])
    return Objects.from_boxes(flat.names[:2], flat.boxes_px[:2], flat.scores[:2], space)


def test_what_an_attack_moved_on_the_ground():
    before, after = (JUDGE(make_truth(), in_space(x)) for x in (-2.0, 1.5))
    moved = after.moved_from(before)
    assert moved.tolist() == [[[-2, 1.6, 12], [1.5, 1.6, 12]]]
    labels, detections = after.layers_in_space()
    assert list(labels.statuses()) == ["ground_truth", "missed", "ignored"]
    assert list(detections.statuses()) == ["correct", "false"]
    flat = JUDGE(make_truth(), make_view().detections)
    assert not flat.is_in_space and len(flat.moved_from(before)) == 0
    lost = JUDGE(make_truth(), NOTHING)
    assert len(lost.moved_from(before)) == 0


def test_boxes_in_metres_are_drawn_on_the_image_and_from_above():
    """Another place in space is another picture, and an arrow leads there."""
    clean = make_view(detections=in_space(-2.0))
    still, moved = (
        draw_scene(
            replace(
                make_scene(attacked="camera", clean=clean),
                attacked=make_view(detections=in_space(x)),
            ),
            JUDGE,
            width=800,
        )
        for x in (-2.0, 3.0)
    )
    assert still.shape == moved.shape
    arrow = (moved == ARROW).all(axis=2) & ~(still == ARROW).all(axis=2)
    assert arrow.sum() > 20


def moved_scene(**changes):
    """The car is said to be 5 m further to the right, and was to stay within 2 m."""
    region = np.array([[-4.0, 10], [0, 10], [0, 14], [-4, 14]])
    return replace(
        make_scene(attacked="camera", clean=make_view(detections=in_space(-2.0))),
        attacked=make_view(detections=in_space(3.0)),
        regions=(region,),
        **changes,
    )


def drawn_pixels(picture: np.ndarray, colour) -> int:
    return int((picture == colour).all(axis=2).sum())


def test_pairs_and_comparisons_in_metres_are_seen_from_above():
    flat = make_scene(attacked="camera")
    clean, attacked = draw_pair([moved_scene()], JUDGE)
    assert clean.shape == attacked.shape
    assert clean.shape[0] > draw_pair([flat], JUDGE)[0].shape[0] + 300
    assert drawn_pixels(attacked, ARROW) > drawn_pixels(clean, ARROW) + 20
    assert min(drawn_pixels(one, REGION) for one in (clean, attacked)) > 20
    # Nobody is found any more: there is no box, and the sides stay of one size.
    gone = replace(moved_scene(), attacked=make_view(detections=NOTHING))
    sides = draw_pair([gone], JUDGE)
    assert sides[0].shape == sides[1].shape == clean.shape
    both = draw_comparison([moved_scene(), moved_scene()], JUDGE, width=900)
    assert drawn_pixels(both, REGION) > 20
    assert both.shape[0] > draw_comparison([flat, flat], JUDGE, width=900).shape[0]
