"""Patches drawn into images: exact, in perspective, without aliasing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from perception.attacks.patch.placement import PatchPlane
from perception.attacks.patch.warp import footprint, plan_warp

P = np.array([[40.0, 0, 31.5, 0], [0, 40, 15.5, 0], [0, 0, 1, 0]])


def upright(x, y, size):
    return PatchPlane(np.array([[1, 0, x], [0, 1, y], [0, 0, 1.0]]), size)


def in_space(axes, centre, size):
    cam_T_plane = np.zeros((4, 3))
    cam_T_plane[:3, :2] = np.transpose(axes)
    cam_T_plane[:, 2] = [*centre, 1]
    return PatchPlane(P @ cam_T_plane, size)


def draw(planes, texture, images):
    shape = images.shape[-2:]
    warp = plan_warp(
        [planes] * len(images), [shape] * len(images), shape, texture.shape[-2:]
    )
    return warp(texture.expand(len(images), -1, -1, -1), images)


def noise(*shape, seed=0):
    return 255 * torch.rand(shape, generator=torch.Generator().manual_seed(seed))


def test_texture_on_whole_pixels_is_copied_and_nothing_else_changes():
    texture, images = noise(1, 3, 4, 6), noise(2, 3, 12, 20, seed=1)
    # Rows 3 … 6 and columns 5 … 10: edges at 2.5 and 4.5.
    drawn = draw([upright(7.5, 4.5, (6, 4))], texture, images)
    assert torch.equal(drawn[:, :, 3:7, 5:11], texture.expand(2, -1, -1, -1))
    drawn[:, :, 3:7, 5:11] = images[:, :, 3:7, 5:11]
    assert torch.equal(drawn, images)


def test_minified_texture_is_averaged_over_area():
    texture, images = noise(1, 3, 30, 30), noise(1, 3, 8, 8, seed=1)
    drawn = draw([upright(3.5, 3.5, (2, 2))], texture, images)
    means = torch.nn.functional.avg_pool2d(texture, 15)
    assert torch.allclose(drawn[..., 3:5, 3:5], means, atol=1e-4)


def test_half_covered_pixel_mixes_by_half():
    texture, images = torch.full((1, 3, 1, 1), 200.0), torch.full((1, 3, 5, 5), 100.0)
    drawn = draw([upright(2.0, 2.0, (2, 1))], texture, images)
    assert drawn[0, 0, 2].tolist() == [100, 150, 200, 150, 100]


@pytest.mark.parametrize("depth_m", [4.0, 8.0, 13.0])
def test_one_metre_spans_fx_over_z_pixels(depth_m):
    plane = in_space([[1, 0, 0], [0, 1, 0]], (0.1, 0, depth_m), (1.0, 0.5))
    *_, share = footprint(plane, (32, 64), (8, 8))
    assert share.sum() == pytest.approx(40 / depth_m * 20 / depth_m, rel=1e-6)


def test_corners_of_a_slanted_plane_bound_the_changed_pixels():
    axes = np.array([[0.8, 0, 0.6], [0, 1, 0]])
    centre, size = np.array([-0.5, 0.2, 6.0]), (3.0, 2.0)
    plane = in_space(axes, centre, size)
    signs = np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
    corners = centre + (signs * np.array(size) / 2) @ axes
    pixels = corners @ P[:, :3].T
    pixels = pixels[:, :2] / pixels[:, 2:]
    rows, columns, *_ = footprint(plane, (32, 64), (8, 8))
    found = [columns.min(), rows.min(), columns.max(), rows.max()]
    wanted = [*pixels.min(axis=0), *pixels.max(axis=0)]
    assert np.abs(np.array(found) - wanted).max() <= 1
    # A quadrilateral, not its bounding box: the near (left) side is higher.
    heights = np.bincount(columns)[columns.min() + 1], np.bincount(columns)[-2]
    assert heights[0] > heights[1]


def test_texels_lie_where_the_homography_puts_them():
    texture = torch.zeros(1, 3, 2, 2)
    texture[0, :, 0, 0] = 255.0  # upper left as seen
    plane = in_space([[1, 0, 0], [0, 1, 0]], (0, 0, 5.0), (2.0, 2.0))
    drawn = draw([plane], texture, torch.full((1, 3, 32, 64), 7.0))
    assert drawn[0, 0, 10, 26] == 255
    assert drawn[0, 0, 10, 36] == drawn[0, 0, 20, 26] == drawn[0, 0, 20, 36] == 0


def test_gradient_reaches_every_visible_texel_however_small_the_patch():
    plane = in_space([[0.9, 0, 0.44], [0, 1, 0]], (0, 0, 20.0), (1.0, 1.0))
    texture = noise(1, 3, 32, 32).requires_grad_()
    draw([plane], texture, noise(1, 3, 32, 64, seed=1)).sum().backward()
    assert (texture.grad > 0).all()
    # Half out of view to the left: texels out of view cannot matter.
    plane = upright(-0.5, 15.5, (16, 16))
    texture = noise(1, 3, 16, 16).requires_grad_()
    draw([plane], texture, noise(1, 3, 32, 64, seed=1)).sum().backward()
    assert (texture.grad[..., 8:] > 0).all()
    assert (texture.grad[..., :8] == 0).all()


def test_weights_are_the_derivative():
    plane = in_space([[0.9, 0, 0.44], [0, 1, 0]], (0, 0, 6.0), (1.0, 1.0))
    images = noise(1, 1, 12, 48).double()
    shift = np.array([[1, 0, -8], [0, 1, -10], [0, 0, 1.0]])
    plane = PatchPlane(shift @ plane.image_H_plane, plane.size)
    texture = noise(1, 1, 4, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(lambda t: draw([plane], t, images), texture)


def test_nearer_copy_hides_the_other():
    near, far = upright(3.0, 3.0, (3, 3)), upright(5.0, 3.0, (3, 3))
    texture = torch.full((1, 3, 1, 1), 200.0)
    texture_size, shape = (1, 1), (8, 9)
    warp = plan_warp([[near, far]], [shape], shape, texture_size)
    drawn = warp(texture, torch.zeros(1, 3, *shape))
    # 200 where covered once or twice: never a sum.
    assert drawn.amax() == 200
    assert (drawn[0, 0] > 0).sum() == 3 * 5


def test_plane_behind_the_camera_and_padding_stay_untouched():
    behind = in_space([[1, 0, 0], [0, 1, 0]], (0, 0, -5.0), (2.0, 2.0))
    images = noise(1, 3, 32, 64)
    assert torch.equal(draw([behind], noise(1, 3, 4, 4), images), images)
    warp = plan_warp([[upright(9, 9, (40, 40))]], [(16, 20)], (32, 64), (4, 4))
    drawn = warp(noise(1, 3, 4, 4), images)
    assert torch.equal(drawn[..., 16:, :], images[..., 16:, :])
    assert torch.equal(drawn[..., 20:], images[..., 20:])
    assert (drawn[..., :16, :20] != images[..., :16, :20]).any()


def test_road_from_under_the_camera_to_ahead_has_no_ghost_above_the_horizon():
    road = in_space([[1, 0, 0], [0, 0, -1]], (0, 1.5, 4.0), (2.0, 10.0))
    rows, *_ = footprint(road, (32, 64), (8, 8))
    assert rows.min() > 15.5
    assert rows.max() == 31


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.9, 0.9), st.floats(3, 30), st.floats(-2, 2), st.integers(1, 40))
def test_a_plain_texture_shows_its_own_colour(yaw, depth_m, x_m, texels):
    axes = [[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0]]
    plane = in_space(axes, (x_m, 0, depth_m), (1.5, 1.5))
    texture = torch.full((1, 3, texels, texels), 170.0)
    drawn = draw([plane], texture, torch.full((1, 3, 32, 64), 170.0))
    assert (drawn - 170).abs().max() < 1e-3
