from itertools import pairwise

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample

from perception.attacks import AttackBatch, build_attack
from perception.attacks.threats.splat import View
from perception.core.structures import Channel, SensorSpec
from perception.corruptions.base import FAILURES, FailureThreat, applicable
from perception.corruptions.maps import SKY_DEPTH_M, filled

SIZE, SHAPE = (24, 48), (32, 48)
# x forward, y left, z up; focal length 24 px.
PROJECTION = np.array([[23.5, -24, 0, 0], [11.5, 0, -24, 0], [1, 0, 0, 0]], np.float32)
GREY = tuple(Channel(c, "grey levels", 0, 255) for c in ("red", "green", "blue"))
SENSORS = {
    "front": SensorSpec("front", "image", GREY),
    "scan": SensorSpec(
        "scan",
        "points",
        (Channel("depth_m", "m", 0, 80), Channel("reflectance", "1", 0, 1)),
        ("x", "y", "z", "reflectance"),
    ),
    "range": SensorSpec("range", "depth", (Channel("depth_m", "m", 0, 80),)),
}
CASES = [
    (kind, name)
    for kind in FAILURES
    for name, spec in SENSORS.items()
    if applicable(kind, spec)
]


def scene(seed: int) -> dict[str, torch.Tensor]:
    """A road that fades into the distance, some holes, 600 points."""
    rng = np.random.default_rng(seed)
    row = np.arange(SIZE[0])[:, None] + 0.5
    depth_m = np.broadcast_to(np.clip(24 * 8 / np.abs(row - 11.6), 4, 79), SIZE)
    depth_m = depth_m * (rng.random(SIZE) > 0.1)
    picture = rng.integers(20, 180, (3, *SIZE), dtype=np.uint8)
    x = rng.uniform(3, 78, 600)
    across, up = rng.uniform(-1.1, 1.1, 600) * x, rng.uniform(-0.5, 0.5, 600) * x
    points = np.stack([x, across, up, rng.uniform(0, 1, 600)], axis=1)
    return {
        "front": torch.from_numpy(picture),
        "scan": torch.from_numpy(points.astype(np.float32)),
        "range": torch.from_numpy(depth_m.astype(np.float32))[None],
    }


def batch_of(seeds, sensors=SENSORS) -> AttackBatch:
    scenes = [scene(seed) for seed in seeds]
    meta = {"img_shape": SIZE, "projections": {"scan": PROJECTION}}
    view = View(SENSORS["scan"], torch.from_numpy(PROJECTION), SIZE, SHAPE)

    def image(name: str, value: torch.Tensor) -> torch.Tensor:
        points = sensors[name].kind == "points"
        return view.pad(view.draw(value) if points else value.float())

    return AttackBatch(
        {n: torch.stack([image(n, s[n]) for s in scenes]) for n in sensors},
        {name: [s[name] for s in scenes] for name in sensors},
        [DetDataSample(metainfo=meta) for _ in seeds],
        sensors,
        list(seeds),
    )


def fail(kind: str, sensor: str, severity: int, batch: AttackBatch, **fields):
    threat = FailureThreat(
        name="t", sensor=sensor, kind=kind, severity=severity, **fields
    )
    threat.check(batch.sensors)
    return threat.render(threat.random(batch, 0), batch)[sensor]


@pytest.mark.parametrize(("kind", "sensor"), CASES)
def test_harm_grows_with_severity(kind, sensor):
    batch = batch_of(range(6))
    clean = batch.inputs[sensor]
    failed = [fail(kind, sensor, severity, batch) for severity in range(1, 6)]
    harm = [(image - clean).abs().mean().item() for image in failed]
    assert harm[-1] > 0
    for image in failed:
        assert image.shape == clean.shape and torch.isfinite(image).all()
        assert (image[..., SIZE[0] :, :] == 0).all()
    if kind != "stale":
        assert all(b >= 0.97 * a for a, b in pairwise(harm)), harm
        assert harm[-1] > 1.2 * harm[0]


@pytest.mark.parametrize(("kind", "sensor"), CASES)
def test_each_frame_fails_alike_whatever_the_batching(kind, sensor):
    replay = [{"inputs": scene(seed)} for seed in range(4)]
    together = fail(kind, sensor, 3, batch_of(range(4)), replay=replay)
    alone = fail(kind, sensor, 3, batch_of([2]), replay=replay)
    assert torch.equal(together[2], alone[0])
    other = fail(kind, sensor, 3, batch_of([2]), replay=replay, seed=1)
    if kind in {"blackout", "noise", "beam_loss", "rain", "miscalibration"}:
        assert not torch.equal(alone, other)
    if kind in {"stale", "time_offset"}:
        assert torch.equal(alone, other)


@pytest.mark.parametrize(("kind", "sensor"), CASES)
def test_mixed_precision_changes_no_failure(kind, sensor):
    batch = batch_of(range(6))
    exact = fail(kind, sensor, 3, batch)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(fail(kind, sensor, 3, batch), exact)


@pytest.mark.parametrize(("kind", "sensor"), CASES)
def test_working_sensors_are_clean(kind, sensor):
    batch = batch_of(range(3))
    threat = FailureThreat(name="t", sensor=sensor, kind=kind)
    rendered = threat.render(threat.clean(batch), batch)
    assert list(rendered) == [sensor]
    assert torch.equal(rendered[sensor], batch.inputs[sensor])


@pytest.mark.parametrize("sensor", SENSORS)
def test_total_blackout_is_zero(sensor):
    assert (fail("blackout", sensor, 5, batch_of([0])) == 0).all()


@pytest.mark.parametrize(
    ("kind", "name"), [c for c in CASES if c[1] == "front"], ids=lambda v: v
)
def test_pictures_stay_8_bit(kind, name):
    image = fail(kind, name, 4, batch_of([0, 1]))
    assert torch.equal(image, image.round())
    assert image.min() >= 0 and image.max() <= 255


def test_stale_frames_are_earlier_ones():
    batch = batch_of(range(4))
    stale = fail("stale", "front", 1, batch)
    assert torch.equal(stale, batch.inputs["front"].roll(1, 0))
    # Four frames earlier of seven: number 1 shows number 4.
    replay = [{"inputs": scene(seed)} for seed in range(7)]
    stale = fail("stale", "range", 3, batch_of([1]), replay=replay)
    assert torch.equal(stale, batch_of([4]).inputs["range"])
    # Four frames earlier of four would be number 1 itself: the one before it is shown.
    stale = fail("stale", "range", 3, batch_of([1]), replay=replay[:4])
    assert torch.equal(stale, batch_of([0]).inputs["range"])
    for alone in (None, replay[:1]):
        with pytest.raises(ValueError, match="a single frame has no earlier one"):
            fail("stale", "front", 1, batch_of([0]), replay=alone)


def test_late_points_are_farther():
    batch = batch_of([0])
    threat = FailureThreat(name="t", sensor="scan", kind="time_offset", severity=3)
    moved = threat.reading(batch, 0).value - batch.raw["scan"][0]
    assert moved[:, 0].tolist() == pytest.approx([2.0] * 600, abs=1e-5)
    assert (moved[:, 1:] == 0).all()


def test_fog_fades_pictures_by_koschmieders_law():
    batch = batch_of([0])
    image = fail("fog", "front", 4, batch)
    depth_m = batch.raw["range"][0]
    clear = torch.exp(-3.912 * depth_m / 40)
    expected = (batch.raw["front"][0] * clear + 200 * (1 - clear)).round()
    seen = (depth_m > 0).expand(3, -1, -1)
    difference = image[0, :, : SIZE[0]][seen] - expected[seen]
    assert difference.abs().max() <= 1  # a half may round either way
    assert difference.abs().mean() < 0.01


def test_fog_returns_no_far_points():
    batch = batch_of([0])
    threat = FailureThreat(name="t", sensor="scan", kind="fog", severity=5)
    value = threat.reading(batch, 0).value
    assert 0 < len(value) < 600
    assert value[:, :3].norm(dim=1).max() < 40


def test_holes_take_the_median_of_their_row():
    depth_m = torch.tensor([[[0.0, 0, 0], [10, 0, 30], [0, 7, 0]]])
    expected = [[SKY_DEPTH_M] * 3, [10, 10, 30], [7, 7, 7]]
    assert filled(depth_m)[0].tolist() == expected


def test_beams_are_lost_whole():
    batch = batch_of([0])
    threat = FailureThreat(name="t", sensor="scan", kind="beam_loss", severity=3)
    before, after = batch.raw["scan"][0], threat.reading(batch, 0).value

    def beams(points):
        elevation = torch.atan2(points[:, 2], points[:, :2].norm(dim=1))
        whole = torch.atan2(before[:, 2], before[:, :2].norm(dim=1))
        step = (whole.max() - whole.min()) / 64
        return ((elevation - whole.min()) / step).long().clamp(max=63).tolist()

    alive = set(beams(after))
    assert len(alive) <= 32
    assert len(after) == sum(beam in alive for beam in beams(before))


def test_misaligned_points_are_projected_elsewhere():
    batch = batch_of([0])
    threat = FailureThreat(name="t", sensor="scan", kind="miscalibration", severity=5)
    reading = threat.reading(batch, 0)
    assert torch.equal(reading.value, batch.raw["scan"][0])
    ahead = torch.tensor([20.0, 0, 0, 1])
    u, v, depth_m = (reading.projection @ ahead).tolist()
    shift_px = np.hypot(u / depth_m - 23.5, v / depth_m - 11.5)
    # At most 4° of 24 px focal length, and 8 cm at 20 m.
    assert 0 < shift_px <= 24 * np.tan(np.radians(4)) + 24 * 0.08 / 20 + 1e-3


@pytest.mark.parametrize("kind", FAILURES)
def test_a_cloud_without_points(kind):
    if not applicable(kind, SENSORS["scan"]):
        return
    batch = batch_of([0, 1])
    batch.raw["scan"][:] = [torch.zeros(0, 4), torch.zeros(0, 4)]
    assert (fail(kind, "scan", 3, batch) == 0).all()


def test_a_lone_camera_can_fail():
    lone = {"front": SENSORS["front"]}
    for kind in FAILURES:
        if applicable(kind, lone["front"]):
            fail(kind, "front", 3, batch_of([0, 1], lone))


def test_failing_a_detector(tiny_target, tiny_batch):
    config = {
        "type": "Failure",
        "threat": {"type": "FailureThreat", "sensor": "lidar", "severity": 5},
    }
    result = build_attack("dead-lidar", config)(tiny_target, tiny_batch)
    assert (result.inputs["lidar"] == 0).all()
    for name in ("camera", "depth"):
        assert torch.equal(result.inputs[name], tiny_batch.inputs[name])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "earthquake"}, "unknown failure 'earthquake'"),
        ({"severity": 6}, "severity must be 1 … 5"),
        ({"kind": "beam_loss", "sensor": "front"}, "happens to sensors of kind"),
        ({"sensor": "radar"}, "has only"),
    ],
)
def test_impossible_failures(fields, message):
    with pytest.raises(ValueError, match=message):
        FailureThreat(**({"name": "t", "sensor": "scan"} | fields)).check(SENSORS)
