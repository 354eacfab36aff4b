"""Timing candidates for the same work against each other."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

Timed = dict[str, Callable[[], object]]


def interleaved(candidates: Timed, repeats: int) -> dict[str, np.ndarray]:
    """Seconds (repeats,) of each candidate, all taking turns after a first call."""
    for call in candidates.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(repeats):
        for name, call in candidates.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: np.array(values) for name, values in seconds.items()}


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


def peak_mb(call: Callable[[], object], device: str) -> float | None:
    """Memory in MB that a call takes beyond what was there; None where nobody tells."""
    if device != "cpu":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        call()
        return (torch.cuda.max_memory_allocated(device) - before) / 2**20
    try:  # Linux: the high-water mark of this process, begun anew
        Path("/proc/self/clear_refs").write_text("5")
        before = _status_kb("VmRSS")
        call()
        return (_status_kb("VmHWM") - before) / 1024
    except OSError:
        return None


def _status_kb(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(x.split()[1]) for x in lines if x.startswith(f"{name}:"))
