"""Patches as threat models: placement, views, gamut, search, training, files."""

import json
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from mmengine.dataset import pseudo_collate
from PIL import Image
from tiny_kitti import CLASSES, make_frame

from perception.attacks import ATTACKS, PGD, build_threat
from perception.attacks.patch.eot import Gamut
from perception.attacks.patch.files import FixedPatch, load_patch, save_patch
from perception.attacks.patch.placement import box_faces, camera_height
from perception.attacks.patch.training import total_variation, train_patch
from perception.core.geometry import box_corners, project_to_image
from perception.core.structures import DataError, Objects
from perception.datasets.frame_dataset import FrameDataset
from perception.targets import DetectorTarget

FACE = {"on": "face", "size_m": (1.2, 0.8)}
IMAGE = {"on": "image", "size": (0.4, 0.5), "center": (0.4, 0.5)}
ROAD = {"on": "road", "size_m": (1.5, 3.0), "distance_m": 8.0}


def with_3d(index):
    """A tiny frame whose car (driving away, a little turned) has a 3D box."""
    frame = make_frame(index)
    objects = frame.objects
    objects = replace(
        objects,
        dimensions_m=np.array([[1.5, 1.7, 4.0], [1.8, 0.6, 0.8]]),
        location_m=np.array([[-0.5, 1.4, 9.0], [2.0, 1.6, 14.0]]),
        rotation_y=np.array([-np.pi / 2 + 0.3, 0.0]),
    )
    return replace(frame, objects=objects)


def collate(frames):
    dataset = FrameDataset(
        frames=frames, classes=CLASSES, pipeline=[{"type": "PackFrame"}]
    )
    return pseudo_collate([dataset[i] for i in range(len(dataset))])


@pytest.fixture
def batch(tiny_target):
    return tiny_target.batch(collate([with_3d(i) for i in range(3)]))


def threat(placement=FACE, **changes):
    fields = {"texture_px": (16, 16), "steps": 5, "sensor": "camera"} | changes
    config = {"type": "PatchThreat", "placement": placement} | fields
    return build_threat("sticker", config)


def changed_pixels(drawn, batch):
    return (drawn["camera"] != batch.inputs["camera"]).any(dim=1)


# ---- placement ----


def test_faces_of_a_box_are_its_corners_means():
    objects = with_3d(0).objects
    P = np.array([[40.0, 0, 31.5, 0], [0, 40, 15.5, 0], [0, 0, 1, 0]])
    corners = box_corners(objects.dimensions_m, objects.location_m, objects.rotation_y)
    names = {
        "front": [0, 1, 4, 5],
        "rear": [2, 3, 6, 7],
        "left": [0, 3, 4, 7],
        "right": [1, 2, 5, 6],
    }
    centres, rights, facing, widths = box_faces(objects, list(names), P)
    for f, members in enumerate(names.values()):
        assert np.allclose(centres[:, f], corners[:, members].mean(axis=1))
    assert widths[0].tolist() == [1.7, 1.7, 4.0, 4.0]
    # The car drives away: we see its rear, whose right is about ours.
    assert facing[0].argmax() == 1
    assert rights[0, 1] @ [1, 0, 0] > 0.9
    # The pedestrian looks to the right: we see its right side.
    assert facing[1].argmax() == 3


def test_patch_as_large_as_the_face_fills_the_face_s_image(batch):
    rear = {"on": "face", "size_m": (1.7, 1.5), "face": "rear", "classes": ["Car"]}
    sticker = threat(rear)
    drawn = sticker.render(sticker.clean(batch), batch)
    rows, columns = np.nonzero(changed_pixels(drawn, batch)[0].numpy())
    objects = with_3d(0).objects.select([0])
    corners = box_corners(objects.dimensions_m, objects.location_m, objects.rotation_y)[
        0, [2, 3, 6, 7]
    ]
    pixels, _ = project_to_image(batch.samples[0].image_P_cam, corners)
    found = [columns.min(), rows.min(), columns.max(), rows.max()]
    wanted = [*pixels.min(axis=0), *pixels.max(axis=0)]
    assert np.abs(np.array(found) - wanted).max() <= 1


def test_mirrored_frames_carry_the_mirrored_patch(tiny_target):
    frame = with_3d(0)
    mirror = np.array([[-1, 0, 63], [0, 1, 0], [0, 0, 1.0]])
    flipped = replace(
        frame,
        calibration=frame.calibration.with_image_transform(mirror),
        sensors=dict(frame.sensors)
        | {"camera": np.ascontiguousarray(frame.sensors["camera"][:, ::-1])},
    )
    sticker = threat()
    views = []
    for one in (frame, flipped):
        batch = tiny_target.batch(collate([one]))
        texture = sticker.random(batch, 0)
        views.append(sticker.render(texture, batch)["camera"])
    assert torch.allclose(views[0], views[1].flip(-1), atol=1e-3)


@pytest.mark.parametrize(
    ("placement", "copies"),
    [
        (FACE, 1),  # the pedestrian's side is narrower than the patch
        (FACE | {"size_m": (0.5, 0.5)}, 2),
        (FACE | {"size_m": (0.5, 0.5), "objects": "largest"}, 1),
        (FACE | {"size_m": (0.5, 0.5), "classes": ("Pedestrian",)}, 1),
        (FACE | {"face": "front"}, 0),  # the car drives away
        (FACE | {"size_m": (0.5, 0.5), "max_occlusion": -1}, 0),
    ],
)
def test_which_objects_carry_a_patch(batch, placement, copies):
    planes = threat(placement).placement.place(batch, 0)
    assert len(planes) == copies


def test_camera_height_comes_from_objects_or_else_from_points(tiny_target):
    frame = with_3d(0)
    batch = tiny_target.batch(collate([frame]))
    assert camera_height(batch, 0) == pytest.approx(1.5)
    x, y = np.meshgrid(np.linspace(4, 25, 30), np.linspace(-4, 4, 20))
    ground = np.stack([x, y, np.full_like(x, -1.62), 0 * x], axis=-1)
    points = ground.reshape(-1, 4).astype(np.float32)
    none = frame.objects.select(np.zeros(2, bool))
    bare = replace(frame, objects=none, sensors=dict(frame.sensors) | {"lidar": points})
    batch = tiny_target.batch(collate([bare]))
    assert camera_height(batch, 0) == pytest.approx(1.62, abs=0.03)
    empty = dict(frame.sensors) | {"lidar": points[:0]}
    blind = tiny_target.batch(collate([replace(frame, objects=none, sensors=empty)]))
    with pytest.raises(DataError, match="camera_height_m"):
        threat(ROAD).render(torch.zeros(1, 3, 16, 16), blind)


def test_road_patch_lies_below_the_horizon_at_its_distance(batch):
    sticker = threat(ROAD | {"camera_height_m": 1.6})
    drawn = sticker.render(sticker.clean(batch), batch)
    rows, columns = np.nonzero(changed_pixels(drawn, batch)[0].numpy())
    # y = 1.6 m at z = 9.5 and 6.5 m: rows 15.5 + 40 * 1.6 / z.
    assert rows.min() == pytest.approx(15.5 + 64 / 9.5, abs=1)
    assert rows.max() == pytest.approx(15.5 + 64 / 6.5, abs=1)
    assert columns.max() - columns.min() == pytest.approx(40 * 1.5 / 6.5, abs=1.5)


def test_frame_without_objects_stays_as_it_is(tiny_target):
    frame = with_3d(0)
    bare = replace(frame, objects=frame.objects.select(np.zeros(2, bool)))
    batch = tiny_target.batch(collate([bare]))
    result = PGD(threat(steps=2))(tiny_target, batch)
    assert torch.equal(result.inputs["camera"], batch.inputs["camera"])


# ---- colours and views ----


def test_gamut_clips_into_itself_once():
    gamut = Gamut(black=40, white=240, saturation=0.5)
    colours = 400 * torch.rand(2, 3, 9, 9) - 70
    clipped = gamut.clip(colours)
    assert clipped.min() >= 40 and clipped.max() <= 240
    assert (clipped.amax(1) - clipped.amin(1)).max() <= 100 + 1e-3
    assert torch.equal(gamut.clip(clipped), clipped)


def test_draws_depend_on_seed_and_frame_alone(tiny_target):
    sticker = threat(eot={"draws": 2})
    frames = [with_3d(i) for i in range(3)]
    together = tiny_target.batch(collate(frames))
    texture = sticker.random(together, 0)[:1]
    views = sticker.render_draws(texture, together)["camera"]
    assert len(views) == 6
    for n, frame in enumerate(frames):
        alone = tiny_target.batch(collate([frame]))
        again = sticker.render_draws(texture, alone)["camera"]
        assert torch.equal(again, views[[n, n + 3]])
    other = replace(sticker, seed=1).render_draws(texture, together)["camera"]
    assert not torch.equal(other, views)
    assert not torch.equal(views[0], views[3])
    untouched = (views == together.inputs["camera"].repeat(2, 1, 1, 1)).all(dim=1)
    assert untouched[0].float().mean() > 0.5


def test_restarts_are_seen_alike_and_rendered_side_by_side(batch):
    sticker = threat(eot={"draws": 2})
    texture = sticker.random(batch, 0)
    twice = sticker.render_draws(texture.repeat(2, 1, 1, 1), batch.repeat(2))["camera"]
    once = sticker.render_draws(texture, batch)["camera"]
    assert torch.equal(
        twice.view(2, 2, 3, *once.shape[1:])[:, 1],
        twice.view(2, 2, 3, *once.shape[1:])[:, 0],
    )
    assert torch.equal(twice[[0, 1, 2, 6, 7, 8]], once)


# ---- attacks ----


@pytest.mark.parametrize(
    ("placement", "goal"), [(FACE, "detection"), (ROAD, "create"), (IMAGE, "hide")]
)
def test_pgd_beats_grey_and_keeps_other_sensors(tiny_target, batch, goal, placement):
    sticker = threat(placement, goal=goal, restarts=2)
    grey = FixedPatch(sticker)(tiny_target, batch)
    result = PGD(sticker)(tiny_target, batch)
    assert (result.value >= grey.value).all()
    assert result.value.mean() > grey.value.mean()
    assert torch.equal(result.inputs["lidar"], batch.inputs["lidar"])
    assert torch.equal(sticker.project(result.variable, batch), result.variable)


def test_pgd_over_draws_beats_grey_too(tiny_target, batch):
    sticker = threat(IMAGE, eot={"draws": 3})
    grey = FixedPatch(sticker)(tiny_target, batch)
    assert PGD(sticker)(tiny_target, batch).value.mean() > grey.value.mean()


class InterruptedRunError(Exception):
    pass


class Loader(list):
    """Batches; stops with an error after so many."""

    left = 10**9

    def __iter__(self):
        for data in super().__iter__():
            if self.left == 0:
                raise InterruptedRunError
            self.left -= 1
            yield data


@pytest.fixture
def loader():
    return Loader([collate([with_3d(0), with_3d(1)]), collate([with_3d(2)])])


def test_training_raises_the_objective_and_resumes_bit_for_bit(
    tiny_target, loader, tmp_path
):
    sticker = threat(IMAGE, goal="hide", eot={"draws": 2})
    options = {"epochs": 4, "progress": False}
    whole = train_patch(tiny_target, loader, sticker, **options)
    trained = FixedPatch(sticker, texture=whole.texture)
    batch = tiny_target.batch(collate([with_3d(3)]))
    grey = FixedPatch(sticker)(tiny_target, batch)
    assert trained(tiny_target, batch).value > grey.value
    file = tmp_path / "training.pth"
    loader.left = 3
    with pytest.raises(InterruptedRunError):
        train_patch(tiny_target, loader, sticker, resume=file, **options)
    loader.left = 10**9
    resumed = train_patch(tiny_target, loader, sticker, resume=file, **options)
    assert torch.equal(resumed.texture, whole.texture)
    assert resumed.history == whole.history
    with pytest.raises(DataError, match="other settings"):
        train_patch(tiny_target, loader, sticker, resume=file, epochs=5)


def test_training_forgets_each_batch(tiny_detector, loader):
    truths, alive = [], []

    class Spied(DetectorTarget):
        def batch(self, data, ids=None):
            alive.append(sum(truth() is not None for truth in truths))
            batch = super().batch(data, ids)
            truths.extend(weakref.ref(sample.gt_instances) for sample in batch.samples)
            return batch

    spied = Spied(tiny_detector)
    train_patch(spied, loader, threat(IMAGE), epochs=3, progress=False)
    assert len(truths) == 9
    assert max(alive) <= 2, alive


def test_noise_is_the_same_in_all_frames(tiny_target, batch):
    noise = FixedPatch(threat(IMAGE), texture="noise")
    result = noise(tiny_target, batch)
    assert (result.variable == result.variable[0]).all()
    assert result.variable.std() > 50
    pixels = changed_pixels(result.inputs, batch).flatten(1).sum(dim=1)
    assert (pixels > 0).all()


def test_total_variation_by_hand():
    texture = torch.tensor([[[[0.0, 255.0], [0.0, 255.0]]]])
    assert total_variation(texture) == 1.0


# ---- files ----


def test_saved_patch_prints_in_size_and_reads_back(tmp_path, batch):
    sticker = threat(FACE, texture_px=(8, 12))
    texture = sticker.random(batch, 0)[:1].round()
    file = tmp_path / "sticker.png"
    save_patch(file, texture, sticker)
    with Image.open(file) as picture:
        metres = np.array(picture.size) / picture.info["dpi"] * 0.0254
    assert metres == pytest.approx([1.2, 0.8], rel=2e-4)
    loaded, made_for = load_patch(file)
    assert torch.equal(loaded, texture)
    assert made_for == sticker
    attack = ATTACKS.build({"type": "FixedPatch", "threat": sticker, "texture": file})
    assert torch.equal(attack.texture, texture)
    with pytest.raises(DataError, match="made for"):
        FixedPatch(threat(FACE | {"size_m": (1, 1)}, texture_px=(8, 12)), texture=file)


def test_a_patch_from_anybody_imports_nothing(tmp_path, batch, monkeypatch):
    """Its JSON names a class of somebody's module: only registered names are known."""
    (tmp_path / "spoilt.py").write_text("open('imported', 'w')\nclass Any: pass")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    file, sticker = tmp_path / "sticker.png", threat(IMAGE)
    save_patch(file, sticker.clean(batch)[:1], sticker)
    about = json.loads(file.with_suffix(".json").read_text())
    placement = about["threat"]["placement"]
    for change in (
        {"type": "spoilt.Any"},
        {"placement": placement | {"on": "spoilt.Any"}},
    ):
        told = about | {"threat": about["threat"] | change}
        file.with_suffix(".json").write_text(json.dumps(told))
        with pytest.raises(DataError, match=r"unknown type 'spoilt\.Any'"):
            load_patch(file)
    assert not (tmp_path / "imported").exists()


def test_damaged_files_are_refused(tmp_path, batch):
    sticker = threat(IMAGE)
    file = tmp_path / "sticker.png"
    with pytest.raises(DataError, match="cannot read"):
        load_patch(file)
    with pytest.raises(DataError, match=r"a patch is a \.png"):
        load_patch(tmp_path / "sticker.jpg")
    with pytest.raises(DataError, match="texture must be"):
        save_patch(file, torch.zeros(1, 3, 4, 4), sticker)
    save_patch(file, sticker.clean(batch)[:1], sticker)
    about = json.loads(file.with_suffix(".json").read_text())
    Image.new("RGB", (16, 16)).save(file)
    with pytest.raises(DataError, match="SHA-256"):
        load_patch(file)
    Image.new("RGB", (8, 16)).save(file)
    with pytest.raises(DataError, match="expected 16 x 16"):
        load_patch(file)
    for text, message in [
        ("[]", "describe"),
        ("{", "not JSON"),
        (json.dumps(about | {"threat": {}}), "describe"),
    ]:
        file.with_suffix(".json").write_text(text)
        with pytest.raises(DataError, match=message):
            load_patch(file)


# ---- impossible requests ----


@pytest.mark.parametrize(
    ("placement", "changes", "message"),
    [
        (FACE | {"face": "roof"}, {}, "unknown face 'roof'"),
        (FACE | {"size_m": (0, 1)}, {}, "positive width and height"),
        (IMAGE | {"size": (0.2, -1)}, {}, "positive width and height"),
        (IMAGE | {"unit": "m"}, {}, "fraction or px"),
        (FACE | {"objects": "some"}, {}, "all or largest"),
        (ROAD | {"distance_m": -3}, {}, "distance_m must be positive"),
        (
            {"on": "moon"},
            {},
            "unknown type 'moon'; there are image, road, face",
        ),
        (FACE, {"texture_px": (0, 4)}, "texture_px"),
        (FACE, {"gamut": {"black": 200, "white": 100}}, "black < white"),
        (FACE, {"eot": {"draws": 0}}, "draws"),
        (FACE, {"eot": {"scale": 1.5}}, "below 1"),
        (FACE, {"eot": {"wobble": 1}}, "wobble"),
    ],
)
def test_impossible_threats_say_so(placement, changes, message):
    with pytest.raises(ValueError, match=rf"threat 'sticker'.*{message}"):
        threat(placement, **changes)


def test_wrong_sensor_or_size_say_so(tiny_target, batch):
    with pytest.raises(ValueError, match="needs an image sensor"):
        PGD(threat(sensor="depth"))(tiny_target, batch)
    with pytest.raises(ValueError, match="larger than the image, 64 x 32"):
        PGD(threat(IMAGE | {"size": (1.2, 0.5)}))(tiny_target, batch)
    with pytest.raises(ValueError, match="larger than the image"):
        PGD(threat(IMAGE | {"size": (20, 40), "unit": "px"}))(tiny_target, batch)
    with pytest.raises(ValueError, match="texture must be"):
        FixedPatch(threat(), texture=torch.zeros(1, 3, 2, 2))
    with pytest.raises(ValueError, match="epochs"):
        train_patch(tiny_target, [], threat(), epochs=0)


def test_labels_without_3d_say_so(tiny_target):
    batch = tiny_target.batch(collate([make_frame(0)]))
    with pytest.raises(DataError, match=r"frame 000000.*2D boxes only"):
        PGD(threat())(tiny_target, batch)
    batch.samples[0].set_metainfo({"objects": None})
    batch.memo.clear()
    with pytest.raises(DataError, match="no labels"):
        PGD(threat())(tiny_target, batch)
    empty = Objects.from_boxes(np.array(["DontCare"]), np.array([[1.0, 2, 5, 6]]))
    batch.samples[0].set_metainfo({"objects": empty})
    assert threat().placement.place(batch, 0) == []
