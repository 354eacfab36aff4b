import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from perception.attacks import PGD, AttackBatch, JointThreat, MapThreat, build_threat
from perception.attacks.goals import Goal
from perception.attacks.target import frozen
from perception.attacks.threats.point_add import PointAdd
from perception.attacks.threats.point_drop import PointDrop, limit_chosen
from perception.attacks.threats.points import PointFeatures, PointShift
from perception.attacks.threats.splat import View, splat
from perception.attacks.victim import Query, Victim
from perception.core.structures import SensorSpec

SIZE = (4, 8)
# A sensor frame that looks like the cam frame, focal length 4 px, centre at (4, 2).
PROJECTION = np.array([[4.0, 0, 4, 0], [0, 4, 2, 0], [0, 0, 1, 0]], np.float32)
SPEC = SensorSpec.from_config(
    "scan",
    {
        "kind": "points",
        "columns": ("x", "y", "z", "reflectance"),
        "channels": [("depth_m", "m", 0, 80), ("reflectance", "1", 0, 1)],
    },
)
THREATS = [
    PointShift(name="ray", sensor="scan", radius_m=0.5),
    PointShift(name="free", sensor="scan", radius_m=0.5, along="free"),
    PointFeatures(name="features", sensor="scan", eps={"reflectance": 0.25}),
    PointDrop(name="drop", sensor="scan", count=2),
    PointAdd(name="add", sensor="scan", count=3, candidates=(4, 8)),
]
IDS = [threat.name for threat in THREATS]


def batch_of(*clouds) -> AttackBatch:
    """Frames of one point sensor, padded from 4 x 8 to 8 x 16."""
    raw = [torch.tensor(c, dtype=torch.float32).reshape(-1, 4) for c in clouds]
    boxes = InstanceData(bboxes=torch.tensor([[2.0, 1, 4, 3]]))
    samples = [
        DetDataSample(
            metainfo={"img_shape": SIZE, "projections": {"scan": PROJECTION}},
            gt_instances=boxes,
        )
        for _ in clouds
    ]
    view = View(SPEC, torch.from_numpy(PROJECTION), SIZE, (8, 16))
    inputs = {"scan": torch.stack([view.pad(view.draw(cloud)) for cloud in raw])}
    return AttackBatch(inputs, {"scan": raw}, samples, {"scan": SPEC}, range(len(raw)))


def random_batch(seed: int) -> AttackBatch:
    """Three frames of 12, 0 and 5 points, all but a few in view."""
    rng = np.random.default_rng(seed)
    low, high = [-9.0, -4, 2, 0], [9.0, 4, 12, 1]
    return batch_of(*(rng.uniform(low, high, (n, 4)) for n in (12, 0, 5)))


@pytest.mark.parametrize("threat", THREATS, ids=IDS)
def test_the_clean_variable_changes_no_bit(threat):
    batch = random_batch(0)
    variable = threat.project(threat.clean(batch), batch)
    rendered = threat.render(variable.requires_grad_(), batch)["scan"]
    assert torch.equal(rendered, batch.inputs["scan"])
    for cloud, clean in zip(
        threat.points(variable, batch), batch.raw["scan"], strict=True
    ):
        assert torch.equal(cloud, clean)


@pytest.mark.parametrize("threat", THREATS, ids=IDS)
def test_drawing_the_saved_points_gives_what_was_rendered(threat):
    batch = random_batch(1)
    variable = threat.random(batch, restart=0)
    again = batch_of(*(cloud.numpy() for cloud in threat.points(variable, batch)))
    rendered = threat.render(variable.requires_grad_(), batch)["scan"]
    assert torch.equal(rendered, again.inputs["scan"])


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 999), size=st.floats(0, 50), data=st.data())
def test_budgets_are_kept_whatever_the_variable(seed, size, data):
    threat = data.draw(st.sampled_from(THREATS))
    batch = random_batch(seed)
    clean = threat.clean(batch)
    noise = size * torch.randn(clean.shape, generator=torch.manual_seed(seed))
    variable = threat.project(clean + noise, batch)
    assert torch.equal(threat.project(variable, batch), variable)
    for before, after in zip(
        batch.raw["scan"], threat.points(variable, batch), strict=True
    ):
        check_budget(threat, before, after)


def check_budget(threat, before, after):
    if threat.name == "drop":
        assert len(before) - 2 <= len(after) <= len(before)
    elif threat.name == "add":
        assert torch.equal(after[: len(before)], before)
        assert len(after) <= len(before) + 3
        range_m = after[len(before) :, :3].norm(dim=1)
        assert ((range_m >= 1.999) & (range_m <= 80.001)).all()
    else:
        change = (after - before).abs()
        fixed = change[:, 3:] if "eps" not in vars(threat) else change[:, :3]
        assert (fixed == 0).all()
        assert (change[:, :3].norm(dim=1) <= 0.5 + 1e-5).all()
        assert (change[:, 3] <= 0.25 + 1e-6).all()
        assert ((after[:, 3] >= 0) & (after[:, 3] <= 1)).all()


def test_a_point_shifted_along_its_ray_lands_at_the_right_depth():
    # 3-4-5: at range 5 m, depth 4 m; 2.5 m further on the same ray, depth 6 m.
    batch = batch_of([[3.0, 0, 4, 0.5]])
    threat = PointShift(name="t", sensor="scan", radius_m=2.5)
    image = threat.render(torch.full((1, 1, 1), 2.5), batch)["scan"]
    row, column = 2, 7  # u = 4 * 3 / 4 + 4
    assert image[0, 0, row, column].item() == pytest.approx(6)
    assert (image[0, 0] > 0).sum() == 1


def test_a_shift_on_the_ray_stops_at_the_sensor():
    batch = batch_of([[0.0, 0, 0.3, 0.5]])
    threat = PointShift(name="t", sensor="scan", radius_m=2.0)
    variable = threat.project(torch.full((1, 1, 1), -2.0), batch)
    assert variable.item() == pytest.approx(-0.3)


def test_dropping_the_nearest_reveals_the_one_behind():
    batch = batch_of([[0.0, 0, 5, 0.1], [0.0, 0, 9, 0.2], [1.0, 0, 4, 0.3]])
    threat = PointDrop(name="t", sensor="scan", count=1)
    score = torch.tensor([[[1.0], [0], [0]]], requires_grad=True)
    image = threat.render(score, batch)["scan"]
    assert image[0, :, 2, 4].tolist() == pytest.approx([9, 0.2])
    # Had it stayed, depth would be 5 instead of 9: dropping it adds 4.
    (gradient,) = torch.autograd.grad(image[0, 0].sum(), score)
    # The one now seen has nothing behind it, nor has the third.
    assert gradient.flatten().tolist() == pytest.approx([4, -9, -4])


def test_the_gradient_of_a_score_is_the_exact_change():
    batch = batch_of([[0.0, 0, 5, 0.1], [0.0, 0, 9, 0.2], [1.0, 0, 4, 0.3]])
    threat = PointDrop(name="t", sensor="scan", count=3)
    score = threat.clean(batch).requires_grad_()
    clean = threat.render(score, batch)["scan"]
    (gradient,) = torch.autograd.grad(clean[0, 0].sum(), score)
    for point in range(3):
        one = torch.zeros(1, 3, 1)
        one[0, point] = 1
        change = (threat.render(one, batch)["scan"] - clean)[0, 0].sum().item()
        assert gradient[0, point, 0].item() == pytest.approx(change)


def test_adding_one_point():
    batch = batch_of([[0.0, 0, 9, 0.1]])
    threat = PointAdd(
        name="t",
        sensor="scan",
        count=1,
        azimuth_deg=(80, 100),
        elevation_deg=(-10, 50),
        candidates=(1, 1),
    )
    # Azimuth 90° in the x-y plane is y; 36.87° up towards z: y = 4, z = 3 at 5 m.
    angle = np.degrees(np.arctan2(3, 4))
    variable = torch.tensor([[[1.0, 90, angle, 5, 0.7]]])
    (cloud,) = threat.points(threat.project(variable, batch), batch)
    assert cloud[1].tolist() == pytest.approx([0, 4, 3, 0.7], abs=1e-5)
    assert torch.equal(cloud[0], batch.raw["scan"][0][0])


def test_no_point_is_added_below_the_lowest_return():
    batch = batch_of([[5.0, 0, -2, 0.1]])
    threat = PointAdd(
        name="t",
        sensor="scan",
        count=1,
        azimuth_deg=(-10, 10),
        elevation_deg=(-30, 10),
        candidates=(1, 1),
    )
    # 30° down, 2 m below the sensor: the ray is there after 4 m.
    far = torch.tensor([[[1.0, 0, -30, 80, 0.7]]])
    (cloud,) = threat.points(threat.project(far, batch), batch)
    assert cloud[1].tolist() == pytest.approx([12**0.5, 0, -2, 0.7], abs=1e-3)
    assert cloud[1, 2] >= -2


def test_the_frustum_is_what_the_camera_sees():
    batch = batch_of([[9.0, 0, 0, 0.1]])
    # x forward, y left, z up: u = 4 - 4 y / x, v = 2 - 4 z / x.
    forward = np.array([[4.0, -4, 0, 0], [2, 0, -4, 0], [1, 0, 0, 0]], np.float32)
    batch.samples[0].set_metainfo({"projections": {"scan": forward}})
    everywhere = PointAdd(name="t", sensor="scan", count=32, candidates=(4, 8))
    lone = PointAdd(
        name="t", sensor="scan", count=32, candidates=(4, 8), around_object=True
    )
    view = View.of(batch, "scan", 0)
    (cloud,) = lone.points(lone.random(batch, 0), batch)
    u, v, _ = view.project(cloud[1:])
    assert len(u) == 32
    assert everywhere.frustum_deg(batch, 0) != lone.frustum_deg(batch, 0)
    # The box spans u 2 … 4, v 1 … 3; a frustum in angles is a little wider.
    assert (u > 1).all() and (u < 5).all() and (v > 0).all() and (v < 4).all()


def test_the_box_of_added_points_is_found_once_per_batch_and_stays(monkeypatch):
    solved, solve = [], PointAdd.frustum_deg

    def spy(threat, batch, frame):
        solved.append(frame)
        return solve(threat, batch, frame)

    monkeypatch.setattr(PointAdd, "frustum_deg", spy)
    batch = random_batch(0)
    threat = PointAdd(name="t", sensor="scan", count=3, candidates=(4, 8))
    before = [end.clone() for end in threat.box(batch)]
    variable = threat.random(batch, 0)
    moved = threat.step(variable, torch.randn_like(variable), torch.ones(3), batch)
    threat.project(moved + threat.clean(batch), batch)
    assert solved == [0, 1, 2]
    for end, kept in zip(threat.box(batch), before, strict=True):
        assert torch.equal(end, kept)
    far = PointAdd(
        name="t", sensor="scan", count=3, candidates=(4, 8), range_m=(2.0, 9.0)
    )
    assert far.box(batch)[1][..., 3].max() == 9 and before[1][..., 3].max() == 80


def test_positions_get_a_gradient_towards_free_pixels():
    # One point between columns 4 and 5, drawn in 4: its weights are 0.75 and 0.25.
    batch = batch_of([[0.25 * 5 / 4, 0.0, 5, 0.5]])
    threat = PointShift(name="t", sensor="scan", radius_m=1.0, along="free")
    shift = threat.clean(batch).requires_grad_()
    image = threat.render(shift, batch)["scan"]
    (gradient,) = torch.autograd.grad(image[0, 1, 2, 5], shift)
    # Reflectance 0.5 enters pixel 5 with the weight u - 4; du/dx = 4 / 5.
    assert gradient[0, 0, 0].item() == pytest.approx(0.5 * 4 / 5)
    assert gradient[0, 0, 2].item() == pytest.approx(0.5 * -0.25 / 5)


def test_mixed_precision_does_not_bend_gradients():
    """Adversarial training attacks points under autocast."""
    rng = np.random.default_rng(0)
    cloud = rng.uniform([-9.0, -4, 2, 0], [9.0, 4, 12, 1], (200, 4)).astype(np.float32)
    view = View(SPEC, torch.from_numpy(PROJECTION), SIZE, (8, 16))
    weights = torch.rand((2, 8, 16), generator=torch.manual_seed(0))

    def gradients() -> tuple[torch.Tensor, ...]:
        points = torch.from_numpy(cloud).requires_grad_()
        score = torch.linspace(-1, 1, 200).requires_grad_()
        image = splat(points, view, score)
        return torch.autograd.grad((image * weights).sum(), [points, score])

    exact = gradients()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = gradients()
    assert all(value.any() for value in exact)
    assert all(torch.equal(m, e) for m, e in zip(mixed, exact, strict=True))


def test_hidden_points_get_no_gradient():
    batch = batch_of([[0.0, 0, 5, 0.1], [0.0, 0, 9, 0.2]])
    threat = PointShift(name="t", sensor="scan", radius_m=1.0, along="free")
    shift = threat.clean(batch).requires_grad_()
    image = threat.render(shift, batch)["scan"]
    weights = torch.arange(image.numel(), dtype=torch.float32).view(image.shape)
    (gradient,) = torch.autograd.grad((image * weights)[:, :, 2, 4].sum(), shift)
    assert gradient[0, 0].abs().sum() > 0
    assert gradient[0, 1].abs().sum() == 0


def test_scores_are_lowered_together_and_can_catch_up():
    scores = torch.tensor([[0.5, 0.9, -0.2, 0.4]])
    lowered = limit_chosen(scores, 1)
    assert lowered[0].tolist() == pytest.approx([0, 0.4, -0.7, -0.1])
    assert torch.equal(limit_chosen(scores, 4), scores)
    ties = limit_chosen(torch.full((1, 4), 0.5), 2)
    assert (ties > 0).sum() == 2
    assert (limit_chosen(scores, 0) <= 0).all()


@pytest.mark.parametrize("threat", THREATS, ids=IDS)
def test_random_variables_do_not_depend_on_the_batching(threat):
    batch = random_batch(3)
    lone = AttackBatch(
        {"scan": batch.inputs["scan"][2:]},
        {"scan": batch.raw["scan"][2:]},
        batch.samples[2:],
        batch.sensors,
        batch.ids[2:],
    )
    together = threat.points(threat.random(batch, 1), batch)[2]
    assert torch.equal(together, threat.points(threat.random(lone, 1), lone)[0])


@pytest.mark.parametrize("threat", THREATS, ids=IDS)
def test_frames_without_points_are_rendered_with_a_gradient(threat):
    batch = batch_of([], [])
    variable = threat.random(batch, 0).requires_grad_()
    image = threat.render(variable, batch)["scan"]
    (gradient,) = torch.autograd.grad(image.sum(), variable)
    moved = threat.step(variable.detach(), gradient, torch.ones(2), batch)
    assert torch.isfinite(threat.project(moved, batch)).all()


TINY = {
    "ray": {"type": "PointShift", "radius_m": 2.0},
    "free": {"type": "PointShift", "radius_m": 1.0, "along": "free"},
    "features": {"type": "PointFeatures", "eps": 1.0},
    "drop": {"type": "PointDrop", "count": 60},
    "add": {"type": "PointAdd", "count": 30, "candidates": (8, 16)},
}


@pytest.mark.parametrize("name", TINY)
def test_pgd_finds_more_than_chance(name, tiny_target, tiny_batch):
    fields = TINY[name] | {"sensor": "lidar", "steps": 5, "restarts": 2}
    threat = build_threat(name, fields)
    result = PGD(threat)(tiny_target, tiny_batch)
    again = PGD(threat)(tiny_target, tiny_batch)
    with frozen(tiny_target), torch.no_grad():
        victim = Victim(tiny_target, tiny_batch, ("lidar",))
        goal = Goal()
        clean = goal.value(Query(victim, {"lidar": tiny_batch.inputs["lidar"]}))
        chance = threat.render(threat.random(tiny_batch, 9), tiny_batch)
        random = goal.value(Query(victim, chance))
    assert (result.detection_loss > clean).all()
    assert result.detection_loss.mean() > random.mean()
    assert torch.equal(result.inputs["lidar"], again.inputs["lidar"])
    for sensor in ("camera", "depth"):
        assert torch.equal(result.inputs[sensor], tiny_batch.inputs[sensor])


def test_points_and_pixels_attacked_together(tiny_target, tiny_batch):
    shift = build_threat("ray", TINY["ray"] | {"sensor": "lidar"})
    camera = MapThreat(name="camera", sensor="camera", eps=8.0)
    joint = JointThreat(name="both", parts=(shift, camera), steps=2)
    result = PGD(joint)(tiny_target, tiny_batch)
    assert torch.equal(result.inputs["depth"], tiny_batch.inputs["depth"])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"type": "PointShift", "radius_m": -1.0}, "radius_m must not be negative"),
        ({"type": "PointShift", "along": "up"}, "along must be ray or free"),
        ({"type": "PointDrop", "count": -1}, "count must be a number of points"),
        ({"type": "PointAdd", "count": 1.5}, "count must be a number of points"),
        ({"type": "PointAdd", "range_m": (5, 2)}, "range_m must be"),
        ({"type": "PointAdd", "range_m": (0, 2)}, "range_m must be positive"),
        ({"type": "PointAdd", "candidates": (0, 2)}, "candidates must be"),
        ({"type": "PointFeatures", "eps": {"reflectance": -1}}, "must not be negative"),
    ],
)
def test_impossible_budgets(fields, message):
    with pytest.raises(ValueError, match=message):
        build_threat("t", fields | {"sensor": "scan"})


def test_impossible_sensors(tiny_target):
    drop = PointDrop(name="t", sensor="camera", count=1)
    with pytest.raises(ValueError, match="'camera' is a sensor of kind 'image'"):
        drop.check(tiny_target.sensors)
    colour = PointFeatures(name="t", sensor="lidar", eps={"colour": 1.0})
    with pytest.raises(ValueError, match=r"features \('reflectance',\), not .*colour"):
        colour.check(tiny_target.sensors)
