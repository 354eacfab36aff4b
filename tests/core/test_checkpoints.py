"""Checkpoints are read without running anybody's code."""

import functools
import http.server
import os
import pickle
import subprocess
import sys
import threading

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mmengine.runner import CheckpointLoader

from perception.core.checkpoints import (
    load_checkpoint,
    local_file,
    save_weights,
    secure_mmengine,
    sha256,
)
from perception.core.structures import DataError

WEIGHTS = {"a.weight": torch.arange(6.0).view(2, 3), "a.count": torch.tensor(3)}


@pytest.fixture(autouse=True)
def _secured() -> None:
    secure_mmengine()


class Malicious:
    """Unpickling it creates a folder."""

    def __init__(self, folder: str) -> None:
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (self.folder,)


def check_weights(loaded: dict) -> None:
    assert set(loaded["state_dict"]) == set(WEIGHTS)
    for name, value in WEIGHTS.items():
        assert torch.equal(loaded["state_dict"][name], value)
        assert loaded["state_dict"][name].dtype == value.dtype


def test_checkpoint_with_optimizer_comes_back(tmp_path):
    layer = torch.nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    meta = {"epoch": 1, "seed": 0, "dataset_meta": {"classes": ("Car",)}}
    saved = {"state_dict": WEIGHTS, "optimizer": optimizer.state_dict(), "meta": meta}
    torch.save(saved, tmp_path / "epoch_1.pth")
    loaded = load_checkpoint(tmp_path / "epoch_1.pth")
    check_weights(loaded)
    assert loaded["meta"] == meta
    expected = optimizer.state_dict()["state"][0]["exp_avg"]
    assert torch.equal(loaded["optimizer"]["state"][0]["exp_avg"], expected)


def test_bare_weights_become_a_checkpoint(tmp_path):
    torch.save(WEIGHTS, tmp_path / "bare.pth")
    check_weights(load_checkpoint(tmp_path / "bare.pth"))


def test_safetensors_round_trip(tmp_path):
    transposed = WEIGHTS | {"a.weight": WEIGHTS["a.weight"].T.contiguous().T}
    save_weights(tmp_path / "new" / "w.safetensors", transposed)
    check_weights(load_checkpoint(tmp_path / "new" / "w.safetensors"))
    assert os.listdir(tmp_path / "new") == ["w.safetensors"]


def test_importing_us_changes_nothing_of_mmengine():
    """Only who calls ``secure_mmengine`` gets MMEngine changed."""
    code = (
        "from mmengine.runner import CheckpointLoader as c; before = dict(c._schemes);"
        "import perception.apis; assert c._schemes == before"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_mmengine_loads_through_us(tmp_path):
    file = tmp_path / "w.safetensors"
    save_weights(file, WEIGHTS)
    check_weights(CheckpointLoader.load_checkpoint(str(file)))


@pytest.mark.parametrize("protocol", [2, 4])
def test_objects_are_refused_and_not_run(tmp_path, protocol):
    victim, file = tmp_path / "victim", tmp_path / "evil.pth"
    evil = {"state_dict": WEIGHTS, "meta": Malicious(str(victim))}
    torch.save(evil, file)
    plain = tmp_path / "plain.pth"
    plain.write_bytes(pickle.dumps(evil["meta"], protocol))
    for path in (file, plain):
        for load in (load_checkpoint, CheckpointLoader.load_checkpoint):
            with pytest.raises(DataError, match=rf"{path.name}: not a whole checkp"):
                load(str(path))
    assert not victim.exists()
    torch.load(file, weights_only=False)
    assert victim.exists()  # it would have worked


@pytest.fixture
def server(tmp_path):
    """Address of a folder, served over HTTP."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as one:
        threading.Thread(target=one.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{one.server_port}"
        one.shutdown()


def test_addresses_are_downloaded_once_and_read_as_safely(
    server, tmp_path, monkeypatch
):
    folder, address = server
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    torch.save({"state_dict": WEIGHTS}, folder / "good.pth")
    torch.save(Malicious(str(tmp_path / "victim")), folder / "evil.pth")
    check_weights(CheckpointLoader.load_checkpoint(f"{address}/good.pth"))
    (folder / "good.pth").unlink()
    check_weights(load_checkpoint(f"{address}/good.pth"))
    assert local_file(f"{address}/good.pth").parent == tmp_path / "hub" / "checkpoints"
    for load in (load_checkpoint, CheckpointLoader.load_checkpoint):
        with pytest.raises(DataError, match=r"evil.pth: not a whole checkpoint"):
            load(f"{address}/evil.pth")
    assert not (tmp_path / "victim").exists()
    with pytest.raises(DataError, match=r"nothing.pth: cannot download: .*404"):
        load_checkpoint(f"{address}/nothing.pth")


@pytest.mark.parametrize(
    "name", ["open-mmlab://resnet50", "torchvision://resnet18", "s3://x/y.pth"]
)
def test_other_schemes_are_missing_files(name):
    with pytest.raises(DataError, match="no such checkpoint"):
        CheckpointLoader.load_checkpoint(name)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), suffix=st.sampled_from([".pth", ".safetensors"]))
def test_damaged_files_are_one_clear_error(data, suffix, tmp_path):
    whole = tmp_path / f"whole{suffix}"
    if suffix == ".pth":
        torch.save(WEIGHTS, whole)
    else:
        save_weights(whole, WEIGHTS)
    contents = bytearray(whole.read_bytes())
    if data.draw(st.booleans(), "truncate"):
        contents = contents[: data.draw(st.integers(0, len(contents) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 5))):
            contents[data.draw(st.integers(0, len(contents) - 1))] ^= 0x55
    damaged = tmp_path / f"damaged{suffix}"
    damaged.write_bytes(contents)
    try:
        load_checkpoint(damaged)  # a flipped bit of a weight cannot be noticed
    except DataError as error:
        assert str(error).startswith(str(damaged))
        assert "\n" not in str(error)


def test_missing_and_senseless_files(tmp_path):
    with pytest.raises(DataError, match=r"none.pth: no such checkpoint"):
        load_checkpoint(tmp_path / "none.pth")
    with pytest.raises(DataError, match="no such checkpoint"):
        load_checkpoint(tmp_path)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(DataError, match=r"list.pth: expected a dict of weights"):
        load_checkpoint(tmp_path / "list.pth")


def test_sha256(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256(tmp_path / "abc").startswith("ba7816bf8f01cfea")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    "bad, told",
    [
        (torch.tensor([0.0, float("nan")]), "not finite"),
        (torch.tensor([float("inf")]), "not finite"),
        (torch.tensor([1, 2], dtype=torch.int8), "int8"),
    ],
)
def test_weights_that_are_no_numbers_are_refused(bad, told, suffix, tmp_path):
    file = tmp_path / f"w{suffix}"
    weights = WEIGHTS | {"b.weight": bad}
    if suffix == ".pth":
        torch.save({"state_dict": weights}, file)
    else:
        save_weights(file, weights)
    for load in (load_checkpoint, lambda x: CheckpointLoader.load_checkpoint(str(x))):
        with pytest.raises(DataError, match=rf"b\.weight .*{told}"):
            load(file)


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod."])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_wrappers_of_a_model_leave_no_trace_in_its_names(tmp_path, prefix, suffix):
    file = tmp_path / f"wrapped{suffix}"
    wrapped = {f"{prefix}{name}": value for name, value in WEIGHTS.items()}
    if suffix == ".pth":
        torch.save({"state_dict": wrapped}, file)
    else:
        save_weights(file, wrapped)
    check_weights(load_checkpoint(file))
    check_weights(CheckpointLoader.load_checkpoint(str(file)))


def test_a_part_called_module_keeps_its_name(tmp_path):
    weights = WEIGHTS | {"module.weight": torch.zeros(1)}
    torch.save(weights, tmp_path / "a.pth")
    assert set(load_checkpoint(tmp_path / "a.pth")["state_dict"]) == set(weights)
