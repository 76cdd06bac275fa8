from __future__ import annotations

import threading
import warnings

import pytest
import torch

from landscape._network import checked_device
from landscape.parallel import ProcessGrid, Serial, device


@pytest.mark.parametrize(
    ("asked", "local_rank", "ranks", "gpus", "expected"),
    [
        ("cuda", 0, 4, 4, "cuda:0"),
        ("cuda", 3, 4, 4, "cuda:3"),
        ("cuda", 5, 8, 4, "cuda:1"),  # they share
        ("cuda", 3, 4, 1, "cuda:0"),  # each sees its own only
        ("cuda:2", 3, 4, 4, "cuda:2"),
        ("cuda", 0, 1, 4, "cuda"),  # torch's current one
        ("cuda", 3, 4, 0, "cuda"),  # refused where it is used
        ("cpu", 3, 4, 4, "cpu"),
    ],
)
def test_cuda_means_one_gpu_per_rank(monkeypatch, asked, local_rank, ranks, gpus, expected):
    current = []
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    grid = ProcessGrid(Serial(), Serial(), facts={"local_rank": local_rank, "ranks_on_host": ranks})
    for place in (grid, grid.alone()):
        assert place.own_device(torch.device(asked)) == torch.device(expected)
    assert current == ([] if asked == expected else [torch.device(expected)] * 2)


def test_nothing_changes_on_the_host_and_on_one_rank():
    grid = ProcessGrid.serial()
    assert checked_device("cpu", grid) == torch.device("cpu")
    assert grid.for_device(torch.device("cpu")) is grid.for_device(torch.device("cuda")) is grid


def test_gpus_are_told_apart_by_what_is_on_them(monkeypatch):
    class Properties:
        uuid = "GPU-1"

    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: Properties())
    assert device.identity(torch.device("cuda:0"))[1] == "GPU-1"
    del Properties.uuid
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    one = device.identity(torch.device("cuda:0"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    assert one != device.identity(torch.device("cuda:0"))
    assert device.identity(torch.device("cpu")) == device.identity(torch.device("cpu"))


def test_what_never_returns_is_left_behind():
    never = threading.Event()
    assert device.within(0.05, never.wait) == ("no answer within 0.05 s", None)
    never.set()
    assert device.within(5.0, lambda: 7) == ("", 7)
    assert device.within(5.0, lambda: {}["x"]) == ("KeyError: 'x'", None)


def test_rank_0_is_found_at_the_address_that_answers():
    from datetime import timedelta

    dist = pytest.importorskip("torch.distributed")
    if not dist.is_available():
        pytest.skip("this torch has no torch.distributed")
    limit = timedelta(seconds=5)
    server = device._serve(limit)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        store = device._reach(["nowhere.invalid", "127.0.0.1"], server.port, limit)
    store.set("key", "value")
    assert server.get("key") == b"value"
    with pytest.raises(ConnectionError, match=r"rank 0 cannot be reached .* nowhere\.invalid"):
        device._reach(["nowhere.invalid"], server.port, limit)
    assert device._addresses()
