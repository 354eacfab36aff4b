"""Pictures and depth maps: exact values, damage found, also damage in the middle."""

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perception.core.structures import DataError
from perception.datasets.kitti.files import (
    image_size,
    read_depth,
    read_image,
    write_depth,
    write_image,
)

FUZZ = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def picture(height=9, width=14):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def encoded(suffix: str) -> bytes:
    return cv2.imencode(suffix, picture())[1].tobytes()


VALID = {suffix: encoded(suffix) for suffix in (".png", ".jpg")}


def test_png_comes_back_bit_by_bit_in_rgb(tmp_path):
    image = picture()
    write_image(tmp_path / "a.png", image)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), image)
    blue_first = cv2.imread(str(tmp_path / "a.png"))
    np.testing.assert_array_equal(blue_first[..., ::-1], image)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.JPG"])
def test_size_from_the_header(tmp_path, name):
    write_image(tmp_path / name, picture(37, 122))
    assert image_size(tmp_path / name) == (37, 122)
    assert read_image(tmp_path / name).shape == (37, 122, 3)


def test_size_of_a_jpeg_with_a_long_comment(tmp_path):
    comment = b"\xff\xfe" + (2000).to_bytes(2, "big") + b"\xff" * 1998
    data = VALID[".jpg"][:2] + comment + b"\xff" + VALID[".jpg"][2:]
    (tmp_path / "a.jpg").write_bytes(data)
    assert image_size(tmp_path / "a.jpg") == (9, 14)


def test_a_grey_picture_becomes_rgb(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.full((2, 3), 7, np.uint8))
    assert read_image(tmp_path / "a.png").tolist() == [[[7] * 3] * 3] * 2


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.9, 0.999])
def test_truncated_pictures(tmp_path, suffix, share):
    path = tmp_path / f"000017{suffix}"
    path.write_bytes(VALID[suffix][: int(share * len(VALID[suffix]))])
    with pytest.raises(DataError, match="000017"):
        read_image(path)


def test_a_png_with_one_wrong_bit(tmp_path):
    data = bytearray(VALID[".png"])
    data[len(data) // 2] ^= 4
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(DataError, match=r"a\.png.*damaged"):
        read_image(tmp_path / "a.png")


def test_another_format_by_that_name(tmp_path):
    (tmp_path / "a.png").write_bytes(cv2.imencode(".bmp", picture())[1].tobytes())
    for read in (read_image, read_depth, image_size):
        with pytest.raises(DataError, match=r"a\.png: expected a PNG or JPEG"):
            read(tmp_path / "a.png")


@pytest.mark.parametrize(
    "image",
    [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), "u1")],
)
def test_no_pictures(tmp_path, image):
    with pytest.raises(DataError, match=r"a\.png"):
        write_image(tmp_path / "a.png", image)
    assert not list(tmp_path.iterdir())


def test_unknown_suffix(tmp_path):
    with pytest.raises(DataError, match=r"written as \.png or \.jpg"):
        write_image(tmp_path / "a.xyz", picture())


def test_depth_by_hand(tmp_path):
    depth_m = np.array([[0, 1, 2.5], [1e-6, 300, 1 / 256]])
    write_depth(tmp_path / "a.png", depth_m)
    stored = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    # A valid depth is stored as 1 at least and 65535 at most.
    assert stored.dtype == np.uint16
    assert stored.tolist() == [[0, 256, 640], [1, 65535, 1]]
    again = read_depth(tmp_path / "a.png")
    assert again.dtype == np.float32
    assert again.tolist() == [[0, 1, 2.5], [1 / 256, 65535 / 256, 1 / 256]]


@given(st.floats(0, 255.5, width=32))
@FUZZ
def test_depth_is_kept_to_half_a_step(tmp_path, metres):
    write_depth(tmp_path / "a.png", np.full((1, 2), metres))
    again = read_depth(tmp_path / "a.png")[0, 0]
    assert (again > 0) == (metres > 0)
    assert abs(again - metres) <= (0.5 / 256 if metres > 1 / 256 else 1 / 256)


@pytest.mark.parametrize("metres", [-1, np.nan, np.inf])
def test_depths_that_are_none(tmp_path, metres):
    with pytest.raises(DataError, match=r"a\.png.*finite metres >= 0"):
        write_depth(tmp_path / "a.png", np.full((2, 2), metres))


def test_a_colour_picture_is_no_depth_map(tmp_path):
    write_image(tmp_path / "a.png", picture())
    with pytest.raises(DataError, match=r"a\.png: depth must be a 16-bit grey PNG"):
        read_depth(tmp_path / "a.png")


@given(
    st.sampled_from([b"", VALID[".png"][:8], VALID[".jpg"][:2]]), st.binary(max_size=80)
)
@FUZZ
def test_random_bytes_as_pictures(tmp_path, start, rest):
    read_or_complain(tmp_path / "a.png", start + rest)


@given(
    st.sampled_from([".png", ".jpg"]),
    st.integers(0, 2000),
    st.integers(0, 255),
    st.booleans(),
)
@FUZZ
def test_damaged_pictures(tmp_path, suffix, position, value, cut):
    data = bytearray(VALID[suffix])
    position %= len(data)
    data[position] = value
    read_or_complain(tmp_path / f"a{suffix}", bytes(data[:position] if cut else data))


def read_or_complain(path, content):
    path.write_bytes(content)
    for read in (read_image, read_depth, image_size):
        try:
            read(path)
        except DataError as error:
            assert str(path) in str(error)


def test_pictures_of_more_than_8_bits_are_refused(tmp_path):
    """OpenCV keeps the upper 8 of 16 bits: 12 of them would be nearly black."""
    cv2.imwrite(str(tmp_path / "a.png"), np.full((4, 4, 3), 4095, np.uint16))
    with pytest.raises(DataError, match=r"a\.png: a picture must have 8 bits .* 4095;"):
        read_image(tmp_path / "a.png")
