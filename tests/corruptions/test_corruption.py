from itertools import pairwise

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from toy_target import ToyTarget

from perception.attacks import AttackBatch
from perception.core.structures import Channel, SensorSpec
from perception.corruptions import (
    CORRUPTIONS,
    KINDS,
    Corruption,
    NoEffectError,
    build_perturbation,
)
from perception.corruptions.base import Effect, applicable
from perception.corruptions.maps import SKY_DEPTH_M, filled
from perception.models.rasterize import draw_points, padded

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
    for kind in KINDS
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

    def image(name: str, value: torch.Tensor) -> torch.Tensor:
        if sensors[name].kind == "points":
            projection = torch.from_numpy(PROJECTION)
            value = draw_points(value, sensors[name], projection, SIZE)
        return padded(value.float(), SHAPE)

    return AttackBatch(
        {n: torch.stack([image(n, s[n]) for s in scenes]) for n in sensors},
        {name: [s[name] for s in scenes] for name in sensors},
        [DetDataSample(metainfo=meta) for _ in seeds],
        sensors,
        list(seeds),
    )


def fail(kind: str, sensor: str, severity: int, batch: AttackBatch, **fields):
    corruption = Corruption(
        name="t", sensor=sensor, kind=kind, severity=severity, **fields
    )
    corruption.check(batch.sensors)
    return corruption.render(batch)


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


@pytest.mark.parametrize("severity", range(1, 6))
@pytest.mark.parametrize(("kind", "sensor"), CASES)
def test_every_kind_and_severity_changes_its_sensor_and_no_other(
    kind, sensor, severity
):
    batch = batch_of(range(4))
    target = ToyTarget(SENSORS, {"front": 60.0, "scan": 4.0, "range": 20.0})
    corruption = Corruption(name="t", sensor=sensor, kind=kind, severity=severity)
    result = corruption(target, batch)
    changed = (result.inputs[sensor] != batch.inputs[sensor]).flatten(1).any(dim=1)
    # A quarter of a degree is a tenth of a pixel of so small a depth map.
    mild = (kind, sensor) == ("miscalibration", "range") and severity <= 3
    assert changed.all() or mild
    for name in SENSORS:
        assert name == sensor or torch.equal(result.inputs[name], batch.inputs[name])
    assert result.variable is None
    assert torch.equal(result.value, result.detection_loss)


@pytest.mark.parametrize("sensor", SENSORS)
def test_a_corruption_that_cheats_is_found_out(sensor, monkeypatch):
    """It leaves its sensor as it was, says so for one frame, or spoils another one."""
    target = ToyTarget(SENSORS, {"front": 60.0, "scan": 4.0, "range": 20.0})
    idle = Effect(lambda reading, level: reading, (1.0,) * 5)
    kinds = {"idle": {kind: idle for kind in ("image", "depth", "points")}}
    monkeypatch.setattr(Corruption, "kinds", KINDS | kinds)
    batch = batch_of([3, 4])
    batch.samples[0].set_metainfo({"frame_id": "000003"})
    cheat = Corruption(name="lazy", sensor=sensor, kind="idle", severity=2)
    message = (
        f"'lazy': idle of severity 2 changes nothing of '{sensor}' in frame 000003"
    )
    with pytest.raises(NoEffectError, match=message):
        cheat(target, batch)

    class Vandal(Corruption):
        def render(self, batch):
            other = next(name for name in batch.inputs if name != self.sensor)
            batch.inputs[other].add_(1)
            return super().render(batch)

    with pytest.raises(RuntimeError, match="changed the clean input of"):
        Vandal(name="v", sensor=sensor, kind="noise")(target, batch)


def test_a_sensor_that_delivers_nothing_cannot_change():
    target = ToyTarget(SENSORS, {"front": 60.0})
    batch = batch_of([0, 1])
    batch.raw["scan"][1] = batch.raw["scan"][1][:0]
    batch.inputs["scan"][1] = 0
    result = Corruption(name="t", sensor="scan", kind="noise")(target, batch)
    assert (result.inputs["scan"][1] == 0).all()


def test_a_mild_severity_may_hit_nothing():
    """Light fog hides what is farther than 60 m; nothing is."""
    target = ToyTarget(SENSORS, {"front": 60.0})
    batch = batch_of([0])
    for depth_m in (batch.raw["range"][0], batch.inputs["range"]):
        depth_m.clamp_(max=50.0)
    mild = Corruption(name="t", sensor="range", kind="fog", severity=1)
    assert torch.equal(mild(target, batch).inputs["range"], batch.inputs["range"])


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
    threat = Corruption(name="t", sensor="scan", kind="time_offset", severity=3)
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
    threat = Corruption(name="t", sensor="scan", kind="fog", severity=5)
    value = threat.reading(batch, 0).value
    assert 0 < len(value) < 600
    assert value[:, :3].norm(dim=1).max() < 40


def test_holes_take_the_median_of_their_row():
    depth_m = torch.tensor([[[0.0, 0, 0], [10, 0, 30], [0, 7, 0]]])
    expected = [[SKY_DEPTH_M] * 3, [10, 10, 30], [7, 7, 7]]
    assert filled(depth_m)[0].tolist() == expected


def test_beams_are_lost_whole():
    batch = batch_of([0])
    threat = Corruption(name="t", sensor="scan", kind="beam_loss", severity=3)
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
    threat = Corruption(name="t", sensor="scan", kind="miscalibration", severity=5)
    reading = threat.reading(batch, 0)
    assert torch.equal(reading.value, batch.raw["scan"][0])
    ahead = torch.tensor([20.0, 0, 0, 1])
    u, v, depth_m = (reading.projection @ ahead).tolist()
    shift_px = np.hypot(u / depth_m - 23.5, v / depth_m - 11.5)
    # At most 4° of 24 px focal length, and 8 cm at 20 m.
    assert 0 < shift_px <= 24 * np.tan(np.radians(4)) + 24 * 0.08 / 20 + 1e-3


@pytest.mark.parametrize("kind", KINDS)
def test_a_cloud_without_points(kind):
    if not applicable(kind, SENSORS["scan"]):
        return
    batch = batch_of([0, 1])
    batch.raw["scan"][:] = [torch.zeros(0, 4), torch.zeros(0, 4)]
    assert (fail(kind, "scan", 3, batch) == 0).all()


def test_a_lone_camera_can_fail():
    lone = {"front": SENSORS["front"]}
    for kind in KINDS:
        if applicable(kind, lone["front"]):
            fail(kind, "front", 3, batch_of([0, 1], lone))


def test_a_target_that_only_predicts_can_be_corrupted():
    class Bare:
        sensors, classes = SENSORS, ("Car",)

        def predict(self, inputs, frames):
            return []

    result = Corruption(name="t", sensor="front", kind="rain")(Bare(), batch_of([0]))
    assert result.detection_loss is None and result.value is None
    assert not torch.equal(result.inputs["front"], batch_of([0]).inputs["front"])


def test_built_from_a_config():
    config = {"type": "Corruption", "sensor": "scan", "severity": 5}
    dead = build_perturbation("dead-scan", config)
    assert dead == Corruption(name="dead-scan", sensor="scan", severity=5)
    assert build_perturbation("x", config, severity=2).severity == 2
    with pytest.raises(ValueError, match=r"corruption 'x'.*'steps'"):
        build_perturbation("x", config | {"steps": 3})
    with pytest.raises(ValueError, match="unknown type 'Sabotage'; there are Corr"):
        build_perturbation("x", {"type": "Sabotage", "sensor": "scan"})
    assert CORRUPTIONS.module_dict["Corruption"] is Corruption
    threat = {"type": "MapThreat", "sensor": "front", "eps": 2.0}
    attack = build_perturbation("y", {"type": "PGD", "threat": threat}, eps=1.0)
    assert attack.threat.eps == 1.0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "earthquake"}, "unknown kind 'earthquake'"),
        ({"severity": 6}, "severity must be 1 … 5"),
        ({"kind": "beam_loss", "sensor": "front"}, "happens to sensors of kind"),
        ({"sensor": "radar"}, "has only"),
    ],
)
def test_impossible_corruptions(fields, message):
    with pytest.raises(ValueError, match=message):
        Corruption(**({"name": "t", "sensor": "scan"} | fields)).check(SENSORS)
