"""What a detector is shown: hand-computed pictures."""

import cv2
import numpy as np
import pytest
import torch

from perception.targets.pictures import PictureFormat


def test_order_then_scale():
    picture = torch.tensor([10.0, 20, 30]).view(3, 1, 1).expand(3, 2, 4)
    image, scale = PictureFormat(order="bgr", mean=(30.0, 10.0, 0.0), std=10.0)(picture)
    assert image.shape == (1, 3, 2, 4) and scale == (1.0, 1.0)
    assert image[0, :, 0, 0].tolist() == [0.0, 1.0, 1.0]


def test_letterbox():
    """4 x 2 into 4 x 4: as wide, half as high, grey below; then zeros to 8 x 8."""
    picture = torch.full((3, 4, 8), 50.0)
    shown = PictureFormat(size=(4, 4), fill=114.0, mean=50.0, divisor=8)
    image, scale = shown(picture)
    assert scale == (0.5, 0.5) and image.shape == (1, 3, 8, 8)
    assert (image[..., :2, :4] == 0).all() and (image[..., 2:4, :4] == 64).all()
    assert (image[..., 4:, :] == 0).all() and (image[..., 4:] == 0).all()


def test_stretched():
    image, scale = PictureFormat(size=(4, 4), keep_ratio=False)(torch.ones(3, 4, 8))
    assert image.shape == (1, 3, 4, 4) and scale == (0.5, 1.0)


@pytest.mark.parametrize("size", [(48, 96), (20, 40)])
def test_resized_as_opencv_does(size):
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (32, 64, 3), dtype=np.uint8)
    expected = cv2.resize(picture.astype(np.float32), size[::-1])
    shown, _ = PictureFormat(size=size)(torch.from_numpy(picture).permute(2, 0, 1).float())
    assert np.allclose(shown[0].permute(1, 2, 0), expected, atol=0.05)


def test_a_gradient_passes():
    picture = torch.rand(3, 5, 7, dtype=torch.double, requires_grad=True)
    shown = PictureFormat(order="bgr", std=2.0, size=(4, 8), fill=1.0, divisor=4)
    assert torch.autograd.gradcheck(lambda x: shown(x)[0], picture)


def test_bad_formats_are_refused():
    with pytest.raises(ValueError, match="rgb or bgr"):
        PictureFormat(order="gbr")
    with pytest.raises(ValueError, match="divisor"):
        PictureFormat(divisor=0)
