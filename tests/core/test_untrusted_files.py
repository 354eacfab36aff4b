"""What comes from elsewhere: names that become paths, pipes, bombs, leftovers."""

import fcntl
import os
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch

from perception.core import files
from perception.core.checkpoints import load_checkpoint
from perception.core.files import path_part, path_within, read_bytes
from perception.core.images import image_size, read_image
from perception.core.schema import checked
from perception.core.structures import DataError


@pytest.mark.parametrize("name", ["scene-0061", "camera_pgd@eps=8", "Zürich 1", "a..b"])
def test_names_that_are_one_component(name):
    assert path_part(name, "it.json") == name


@pytest.mark.parametrize(
    "name",
    ["", " ", ".", "..", "../x", "a/b", "/a", "a\\b", ".a", "a\0", "a\n", "\ud800"]
    + ["x" * 250, None, 3, ["a"]],
)
def test_names_that_lead_elsewhere(name):
    with pytest.raises(DataError, match=r"it\.json: .*becomes a file's name"):
        path_part(name, "it.json")


def test_paths_below_a_folder():
    assert path_within("samples/CAM/a.jpg", "t") == "samples/CAM/a.jpg"
    for name in ("/etc/passwd", "samples/../../x", "a//b", ""):
        with pytest.raises(DataError):
            path_within(name, "t")


def test_devices_and_pipes_are_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    for path in (tmp_path / "a.png", Path("/dev/zero")):
        with pytest.raises(DataError, match="not a regular file"):
            read_bytes(path)


def test_a_killed_writers_file_is_no_frame_and_goes(tmp_path):
    left = tmp_path / f".000001.{'0a' * 8}.tmp.txt"
    held = tmp_path / f".000002.{'1b' * 8}.tmp.txt"
    own = tmp_path / ".000003.tmp.txt"  # somebody's own file
    for path in (left, held, own, tmp_path / "000001.txt"):
        path.write_text("")
    with held.open() as writer:  # another process is still at it
        fcntl.flock(writer, fcntl.LOCK_SH)
        files._remove_leftovers.cache_clear()
        files.write_bytes(tmp_path / "b.txt", b"")
    names = sorted(os.listdir(tmp_path))
    assert names == sorted([held.name, own.name, "000001.txt", "b.txt"])


def test_entries_of_a_checkpoint_are_not_longer_than_the_file(tmp_path):
    """A few bytes that claim 4 GB were read into 4 GB."""
    path = tmp_path / "a.pth"
    torch.save({"state_dict": {"a": torch.zeros(3)}}, path)
    content = bytearray(path.read_bytes())
    size = content.index(b"PK\x01\x02") + 24  # of the first entry, the pickle
    content[size - 4 : size + 4] = struct.pack("<II", 2**32 - 2, 2**32 - 2)
    path.write_bytes(content)
    with pytest.raises(DataError, match="more bytes than the file holds"):
        load_checkpoint(path)


def bomb(width, height):
    """A PNG of few bytes that decodes to many."""
    parts = [b"\x89PNG\r\n\x1a\n"]
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    for name, data in ((b"IHDR", head), (b"IDAT", zlib.compress(b"")), (b"IEND", b"")):
        crc = struct.pack(">I", zlib.crc32(name + data))
        parts.append(struct.pack(">I", len(data)) + name + data + crc)
    return b"".join(parts)


def test_a_pictures_size_is_looked_at_first(tmp_path):
    path = tmp_path / "a.png"
    path.write_bytes(bomb(40_000, 40_000))
    assert image_size(path) == (40_000, 40_000)
    with pytest.raises(DataError, match=r"a\.png: 40000 x 40000 pixels, .*max_pixels"):
        read_image(path)
    path.write_bytes(bomb(0, 5))
    with pytest.raises(DataError, match="0 x 5 pixels"):
        read_image(path)


def test_a_config_can_allow_larger_pictures(tmp_path):
    from tiny_kitti import write_kitti

    from perception.datasets.kitti.reader import KittiFrames

    root = write_kitti(tmp_path, train=1, val=1)
    with pytest.raises(DataError, match="64 x 32 pixels, expected 1 to 2047"):
        KittiFrames(root, max_pixels=2047)[0]
    assert KittiFrames(root, max_pixels=2048)[0].image_size == (32, 64)


def test_weights_that_claim_more_than_they_hold(tmp_path):
    path = tmp_path / "a.pth"
    torch.save({"w": torch.zeros(1).expand(10**6, 10**6)}, path)
    with pytest.raises(DataError, match="w claims more values than the file holds"):
        load_checkpoint(path)
    torch.save({"w": torch.zeros(3).to_sparse()}, path)
    with pytest.raises(DataError, match="w is no plain tensor"):
        load_checkpoint(path)


def test_a_compressed_checkpoint_is_a_bomb(tmp_path):
    torch.save({"w": torch.zeros(10**6)}, tmp_path / "a.pth")
    with (
        zipfile.ZipFile(tmp_path / "a.pth") as one,
        zipfile.ZipFile(tmp_path / "b.pth", "w", zipfile.ZIP_DEFLATED) as two,
    ):
        for name in one.namelist():
            two.writestr(name, one.read(name))
    assert load_checkpoint(tmp_path / "a.pth")["state_dict"]["w"].shape == (10**6,)
    with pytest.raises(DataError, match="it is compressed"):
        load_checkpoint(tmp_path / "b.pth")


def test_the_entry_that_is_wrong_is_named():
    assert checked(dict[str, tuple[int, ...]], {"a": [1]}, "f", what="x") == {"a": (1,)}
    for content in ({"a": ["1"]}, {"a": [1.5]}, {"a": None}, [], np.nan):
        with pytest.raises(DataError, match=r"f: damaged x: (a|the file)"):
            checked(dict[str, tuple[int, ...]], content, "f", what="x")
