"""Readers of samples that are classified as a whole, and their augmentation."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from perception.core.structures import DataError
from perception.datasets.samples.jitter import JitterArray
from perception.datasets.samples.made_up import MadeUpFrames
from perception.datasets.samples.mosi import MosiFrames
from perception.datasets.samples.utd_mhad import UtdMhadFrames

SHARED = Path(__file__).resolve().parents[3] / "shared"
EVERYTHING = ("depth", "accel", "gyro", "skeleton")


@pytest.fixture
def archive(tmp_path):
    """Two clips as the archive has them; row t of every source holds t."""
    for action, subject, length in ((1, 1, 10), (27, 2, 7)):
        clip, times = f"a{action}_s{subject}_t1", np.arange(length)
        for folder, key, array in (
            ("Depth", "d_depth", np.full((240, 320, length), times * 100)),
            ("Inertial", "d_iner", np.repeat(times[:, None], 6, axis=1) / 10),
            ("Skeleton", "d_skel", np.full((20, 3, length), times / 10)),
        ):
            (tmp_path / folder).mkdir(exist_ok=True)
            savemat(tmp_path / folder / f"{clip}_{folder.lower()}.mat", {key: array})
    return tmp_path


def test_the_archive(archive):
    frames = UtdMhadFrames(
        root=archive, split="train", sensors=EVERYTHING, video=(5, 6, 8), moments=19
    )
    (frame,) = frames
    assert frame.frame_id == "a1_s1_t1" and frame.objects.names == ["swipe_left"]
    shapes = {name: array.shape for name, array in frame.sensors.items()}
    assert shapes == dict(
        depth=(30, 8), accel=(1, 19, 3), gyro=(1, 19, 3), skeleton=(20, 19, 3)
    )
    # Pictures 1, 3, 5, 7, 9 of 10; ten moments drawn out to nineteen.
    assert frame.sensors["depth"][::6, 0].tolist() == [100, 300, 500, 700, 900]
    assert np.allclose(frame.sensors["accel"][0, :, 0], np.arange(19) / 20)
    assert not frame.sensors["skeleton"].any()  # all joints where the hip is
    assert UtdMhadFrames(root=archive, split="test").names == ["squat"]


def test_packed_as_the_archive(archive, tmp_path):
    clip = UtdMhadFrames(root=archive, sensors=EVERYTHING)._sources(0)
    rows = {name: array[None] for name, array in clip.items()}
    one = np.array([1])
    path = tmp_path / "packed.npz"
    np.savez(path, **rows, action=one, subject=one, trial=one)
    (first,) = UtdMhadFrames(root=path, sensors=EVERYTHING)
    (second,) = UtdMhadFrames(root=archive, sensors=EVERYTHING)
    for name in EVERYTHING:
        assert np.array_equal(first.sensors[name], second.sensors[name])


def test_what_cannot_be_read(archive, tmp_path):
    with pytest.raises(DataError, match="expected UTD-MHAD"):
        UtdMhadFrames(root=tmp_path / "none")
    with pytest.raises(DataError, match="no split 'val'; expected train, test"):
        UtdMhadFrames(root=archive, split="val")
    with pytest.raises(DataError, match=r"\['radar'\]: UTD-MHAD has"):
        UtdMhadFrames(root=archive, sensors=("radar",))
    path = archive / "Depth/a1_s1_t1_depth.mat"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataError, match=r"a1_s1_t1_depth\.mat: not a MATLAB file"):
        UtdMhadFrames(root=archive)[0]
    bad = tmp_path / "bad.npz"
    np.savez(bad, depth=np.zeros(1))
    with pytest.raises(DataError, match=r"bad\.npz: lacks"):
        UtdMhadFrames(root=bad)
    bad.write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"bad\.npz: not a readable"):
        MosiFrames(root=bad)


@pytest.mark.parametrize(
    "name", ["utd_mhad/utd_mhad_full_depth60x80.npz", "mosi/mosi.npz"]
)
def test_the_real_ones(name):
    path = SHARED / name
    if not path.is_file():
        pytest.skip(f"no {name}")
    if "utd" in name:
        sizes = {s: len(UtdMhadFrames(root=path, split=s)) for s in ("train", "test")}
        assert sizes == dict(train=431, test=430)
        return
    parts = {
        s: MosiFrames(root=path, split=s) for s in ("train", "test", "fit", "tune")
    }
    assert len(parts["train"]) == 1447 and len(parts["test"]) == 752
    assert len(parts["fit"]) + len(parts["tune"]) == 1447
    videos = [
        {i.rsplit("_", 1)[0] for i in parts[s].frame_ids} for s in ("fit", "tune")
    ]
    assert not videos[0] & videos[1]
    train = np.stack([frame.sensors["text"] for frame in parts["train"]])
    assert np.allclose(train.std(axis=0), 1, atol=1e-3)


def test_made_up_clips_are_the_same_every_time():
    one, two = (MadeUpFrames(count=8)[3] for _ in range(2))
    assert one.objects.names == ["down"]
    for name in one.sensors:
        assert np.array_equal(one.sensors[name], two.sensors[name])
    other = MadeUpFrames(count=8, split="test")[3]
    assert not np.array_equal(one.sensors["accel"], other.sensors["accel"])
    with pytest.raises(DataError, match="read from nowhere"):
        MadeUpFrames(root="data")


def test_jitter():
    frame = MadeUpFrames(count=1)[0]
    before = {name: array.copy() for name, array in frame.sensors.items()}

    def changed(**how):
        rng = np.random.default_rng(0)
        jitter = JitterArray(sensor="gyro", **how)
        found = jitter.transform({"frame": frame, "rng": rng})["frame"].sensors
        assert all(np.array_equal(found[k], before[k]) for k in ("depth", "accel"))
        assert found["gyro"].dtype == np.float32
        return found["gyro"]

    gyro = before["gyro"]
    assert np.array_equal(changed(), gyro)
    turned = changed(turn_deg=90.0)
    assert not np.allclose(turned, gyro, atol=1)
    assert np.allclose(
        np.linalg.norm(turned, axis=2), np.linalg.norm(gyro, axis=2), rtol=1e-3
    )
    warped = changed(warp=5.0)
    assert np.allclose(warped[:, [0, -1]], gyro[:, [0, -1]], atol=1e-3)
    assert not np.allclose(warped, gyro, atol=1)
    shifted = changed(shift=(0, 4))
    assert np.array_equal(np.sort(shifted, axis=1), np.sort(gyro, axis=1))
    assert 0 < np.abs(changed(noise=1.0) - gyro).max() < 6
