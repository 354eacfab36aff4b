"""Judged boxes, the sheet of one detector, and the comparison of several."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from scene_makers import SENSORS, make_scene, make_truth, make_view

from perception.core.structures import DataError, Objects
from perception.visualization.attack_sheet import draw_scene
from perception.visualization.captions import budget_text, damage_facts, headline
from perception.visualization.compare import draw_comparison
from perception.visualization.detections import Judge
from perception.visualization.palette import IN_DOUBT, sensor_colour
from perception.visualization.scene import raster_changes
from perception.visualization.sensor_rows import changed_channel

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
    assert changes.thinned(2).count("moved") == 2


def test_first_changed_channel_is_shown():
    spec, clean = SENSORS["lidar"], np.zeros((2, 4, 4), np.float32)
    attacked = clean.copy()
    attacked[1, 2, 2] = 0.5
    assert changed_channel(clean, attacked, spec) == 1
    assert changed_channel(clean, clean, spec) == 0


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
    verdict = JUDGE(scene.truth, scene.clean.detections)
    facts = dict(damage_facts(scene, verdict, verdict))
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


def with_doubt(scene, doubt):
    """The scene, its gate blaming nobody when attacked, with such a doubt."""
    view = replace(scene.attacked, gate=np.array([0.2, 0.2, 0.1, 0.5]), doubt=doubt)
    return replace(scene, attacked=view, clean=replace(scene.clean, doubt=-1.0))


@pytest.mark.parametrize(("doubt", "seen"), [(0.5, True), (-0.5, False)])
def test_sheets_show_that_a_frame_is_in_doubt(doubt, seen):
    scene = with_doubt(make_scene(attacked="depth"), doubt)
    other = make_scene(attacked="depth")  # knows no doubt
    for sheet in (
        draw_scene(scene, JUDGE, width=800),
        draw_comparison([scene, other], JUDGE, width=800),
    ):
        # No other part of a sheet has so long a line of that colour.
        own = (sheet == sensor_colour(IN_DOUBT)).all(axis=2).sum(axis=1).max()
        assert (own > 200) == seen


def test_too_many_detectors_for_the_width():
    with pytest.raises(DataError, match="need a width of"):
        draw_comparison([make_scene()] * 5, JUDGE, width=640)
