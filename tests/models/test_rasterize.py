"""The z-buffer against a plain loop over points."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from perception.core.structures import Channel, SensorSpec
from perception.models.rasterize import draw_points, padded

COLUMNS = ("x", "y", "z", "reflectance")
CHANNELS = ("depth_m", "height_m", "reflectance")
# x forward, y left, z up to pixels: 10 px focal length, centre at (8, 4).
PROJECTION = np.array(
    [[8.0, -10.0, 0.0, 0.0], [4.0, 0.0, -10.0, 0.0], [1.0, 0.0, 0.0, 0.0]]
)
SIZE = (9, 17)


def draw(points, projection=PROJECTION, size=SIZE, max_depth_m=80.0) -> torch.Tensor:
    channels = tuple(Channel(name, "", 0.0, max_depth_m) for name in CHANNELS)
    spec = SensorSpec("scan", "points", channels, COLUMNS)
    return draw_points(torch.as_tensor(points), spec, torch.as_tensor(projection), size)


def loop(points, projection, size, max_depth_m) -> np.ndarray:
    """(3, H, W) by a loop over the points, in float32 as the module does it."""
    image = np.zeros((3, *size), np.float32)
    nearest = np.full(size, np.inf, np.float32)
    rows = projection.astype(np.float32)
    for x, y, z, reflectance in points.astype(np.float32):
        u, v, depth_m = (row[0] * x + row[1] * y + row[2] * z + row[3] for row in rows)
        if not 0.1 < depth_m <= max_depth_m:
            continue
        column, row = np.floor(u / depth_m + 0.5), np.floor(v / depth_m + 0.5)
        if not (0 <= column < size[1] and 0 <= row < size[0]):
            continue
        pixel = int(row), int(column)
        if depth_m < nearest[pixel]:
            nearest[pixel] = depth_m
            image[(slice(None), *pixel)] = depth_m, z, reflectance
    return image


@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(0, 400),
    size=st.tuples(st.integers(1, 12), st.integers(1, 20)),
    max_depth_m=st.sampled_from([3.0, 80.0, float("inf")]),
    coarse=st.booleans(),
)
def test_agrees_with_the_loop(seed, count, size, max_depth_m, coarse):
    rng = np.random.default_rng(seed)
    points = rng.normal(0, 4, (count, 4)).astype(np.float32)
    if coarse:  # many points in one place: ties
        points[:, :3] = points[:, :3].round()
    expected = loop(points, PROJECTION, size, max_depth_m)
    image = draw(points, size=size, max_depth_m=max_depth_m)
    np.testing.assert_array_equal(image.numpy(), expected)


def test_nearest_wins_and_of_equals_the_first():
    points = np.array(
        [[5, 0, 0, 0.1], [2, 0, 0, 0.2], [2, 0, 0, 0.3], [3, 0, 0, 0.4]], np.float32
    )
    image = draw(points)
    assert image[:, 4, 8].tolist() == pytest.approx([2.0, 0.0, 0.2])
    assert (image != 0).sum() == 2
    image = draw(points[[0, 2, 1, 3]])
    assert image[2, 4, 8].item() == pytest.approx(0.3)


@pytest.mark.parametrize(
    "point",
    [
        [-2, 0, 0, 1],  # behind the camera
        [0.05, 0, 0, 1],  # nearer than the near plane
        [81, 0, 0, 1],  # too far
        [1, 5, 0, 1],  # left of the image
        [1, -5, 0, 1],  # right of it
        [1, 0, 5, 1],  # above
        [1, 0, -5, 1],  # below
        [float("nan"), 0, 0, 1],
        [float("inf"), 0, 0, 1],
    ],
    ids=str,
)
def test_invisible_points_are_not_drawn(point):
    assert not draw(np.array([point], np.float32)).any()


def test_pixels_reach_half_a_pixel_around_their_centre():
    """y = -0.049 m at 1 m is 0.49 px right of the centre of column 8."""
    for y, column in ((0.049, 8), (-0.049, 8), (-0.051, 9), (0.051, 7)):
        image = draw(np.array([[1, y, 0, 1]], np.float32))
        assert image[0, 4].nonzero().item() == column


def test_gradient_of_visible_points():
    rng = np.random.default_rng(3)
    pixels = rng.permutation(9 * 17)[:20]
    depth_m = rng.uniform(2, 20, 20)
    v, u = np.divmod(pixels, 17)
    points = np.stack(
        [depth_m, (8 - u) * depth_m / 10, (4 - v) * depth_m / 10, depth_m], axis=1
    )
    # A camera whose depth depends on every coordinate.
    projection = PROJECTION.copy()
    projection[2] = [1.0, 0.001, 0.002, 0.003]
    points = torch.tensor(points, requires_grad=True)
    assert (draw(points, projection)[0] > 0).sum() == 20
    assert torch.autograd.gradcheck(lambda p: draw(p, projection), points)


def test_gradient_by_hand_and_none_for_hidden_points():
    points = torch.tensor(
        [[2.0, 0, 0, 0.5], [3.0, 0, 0, 0.5], [2.0, 0, 0, 0.7]], requires_grad=True
    )
    image = draw(points, PROJECTION.astype(np.float32))
    (image * torch.tensor([1.0, 10.0, 100.0]).view(3, 1, 1)).sum().backward()
    assert points.grad[0].tolist() == [1.0, 0.0, 10.0, 100.0]
    assert not points.grad[1:].any()


def test_same_image_whatever_the_number_of_threads():
    rng = np.random.default_rng(0)
    points = torch.tensor(rng.normal(0, 8, (50_001, 4)), dtype=torch.float32)
    threads = torch.get_num_threads()
    try:
        images = []
        for count in (1, 2, 3, 4):
            torch.set_num_threads(count)
            images.append(draw(points, size=(100, 200)))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(images[0], image) for image in images)


def test_mixed_precision_does_not_move_points():
    rng = np.random.default_rng(0)
    points = torch.tensor(rng.normal(0, 8, (500, 4)), dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        image = draw(points)
    assert torch.equal(image, draw(points))


def test_empty_cloud_keeps_the_graph():
    points = torch.zeros(0, 4, requires_grad=True)
    image = draw(points)
    assert image.shape == (3, 9, 17) and not image.any()
    image.sum().backward()
    assert points.grad.shape == (0, 4)


@pytest.mark.parametrize("shape", [(5, 3), (5, 5), (4,), (1, 5, 4)], ids=str)
def test_wrong_shape(shape):
    with pytest.raises(ValueError, match=r"points must be \(P, 4\).*got \("):
        draw(torch.zeros(shape))


def test_a_sensors_spec_says_what_is_drawn_and_how_far():
    points = torch.tensor([[5.0, 0.0, 0.0, 0.5], [50.0, 25.0, 0.0, 0.25]])
    reflectance = Channel("reflectance", "share", 0, 1)
    channels = (reflectance, Channel("depth_m", "m", 0, 10))
    near = torch.zeros(2, *SIZE)
    near[:, 4, 8] = torch.tensor([0.5, 5.0])
    both = near[:1].clone()  # nothing says how far it sees
    both[0, 4, 3] = 0.25
    for kept, expected in ((channels, near), (channels[:1], both)):
        spec = SensorSpec("scan", "points", kept, COLUMNS)
        drawn = draw_points(points, spec, torch.as_tensor(PROJECTION), SIZE)
        assert torch.equal(drawn, expected)


def test_padding_is_to_the_right_and_below():
    image = torch.ones(2, 3, 4)
    expected = torch.zeros(2, 5, 9)
    expected[:, :3, :4] = 1.0
    assert torch.equal(padded(image, (5, 9)), expected)
