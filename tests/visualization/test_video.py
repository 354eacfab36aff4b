"""Videos as mp4 and gif."""

import cv2
import numpy as np
import pytest
from PIL import Image

from perception.core.structures import DataError
from perception.visualization.video import LazyPictures, write_video


def pictures() -> list[np.ndarray]:
    """Three flat pictures, of which the last is larger and has odd sides."""
    sizes = ((20, 40), (20, 40), (31, 51))
    return [
        np.full((*size, 3), grey, np.uint8)
        for size, grey in zip(sizes, (40, 120, 200), strict=True)
    ]


def test_mp4_has_every_picture_at_an_even_size(tmp_path):
    path = tmp_path / "new" / "x.mp4"
    write_video(path, pictures(), fps=4)
    video = cv2.VideoCapture(str(path))
    frames = []
    while (read := video.read())[0]:
        frames.append(read[1])
    assert [frame.shape for frame in frames] == [(32, 52, 3)] * 3
    greys = [int(frame[10, 20, 0]) for frame in frames]
    assert np.allclose(greys, [40, 120, 200], atol=12)
    assert frames[0][30, 50].min() > 230  # white margin


def test_gif_loops_with_its_speed(tmp_path):
    write_video(tmp_path / "x.gif", LazyPictures(3, lambda i: pictures()[i]), fps=4)
    with Image.open(tmp_path / "x.gif") as gif:
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (3, (52, 32), 0)
        assert gif.info["duration"] == 250


@pytest.mark.parametrize(
    ("name", "frames", "fps", "message"),
    [
        ("x.avi", 3, 2, "mp4 or .gif"),
        ("x.gif", 0, 2, "no pictures"),
        ("x.mp4", 3, 0, "positive"),
    ],
)
def test_impossible_videos(tmp_path, name, frames, fps, message):
    with pytest.raises(DataError, match=message):
        write_video(tmp_path / name, pictures()[:frames], fps=fps)
    assert not list(tmp_path.iterdir())
