"""Timing candidates for the same work against each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from itertools import accumulate

import numpy as np
import torch
from torch.profiler import ProfilerActivity, profile

Timed = dict[str, Callable[[], object]]


def interleaved(
    candidates: Timed, repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, np.ndarray]:
    """Seconds (repeats,) of each candidate, all taking turns after a first call.

    Args:
        candidates: Calls by their names, the reference first.
        repeats: Of every call.
        clock: Tells seconds, see :func:`own_clock`.
    """
    for call in candidates.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, call in candidates.items():
            start = clock()
            call()
            seconds[name].append(clock() - start)
    return {name: np.array(values) for name, values in seconds.items()}


def own_clock(device: str) -> Callable[[], float]:
    """The process's own time on one CPU thread, whatever else runs; else wall time."""
    alone = device == "cpu" and torch.get_num_threads() == 1
    return time.process_time if alone else time.perf_counter


def speed_table(seconds: Mapping[str, np.ndarray]) -> str:
    """Median, fastest, and the median of the ratios to the first candidate."""
    reference = next(iter(seconds.values()))
    return "\n".join(
        f"  {name:<14} {np.median(values) * 1e3:8.2f} ms median "
        f"{values.min() * 1e3:8.2f} ms fastest "
        f"{np.median(values / reference):7.3f} x reference"
        for name, values in seconds.items()
    )


def wait_for(device: torch.device) -> None:
    """Until a GPU has done what it was told; a CPU has by now."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def peak_mb(call: Callable[[], object], device: str) -> float:
    """Most memory in MB that the tensors made by a call take at a time.

    On a CPU what PyTorch's allocator gave out, by its profiler; scratch memory of
    libraries and NumPy's arrays are no part of it.
    """
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        call()
    events = found.profiler.kineto_results.events()
    memory = sorted(
        (one.start_ns(), one.nbytes()) for one in events if one.name() == "[memory]"
    )
    return max(accumulate((size for _, size in memory), initial=0)) / 2**20
