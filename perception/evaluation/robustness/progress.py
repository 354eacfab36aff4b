"""How far a run is, from what its processes have put on disk."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from perception.evaluation.robustness.old_spec import Job

_LOOK_EVERY_S = 1.0


@contextmanager
def progress_of(jobs: Sequence[Job]) -> Iterator[None]:
    """A bar over all frames of all jobs with the time left, from what is on disk.

    A frame counts as many steps as its attack takes. Whoever attacks, in whatever
    process, appends its records to files; the bar looks at their lengths.
    """
    attacks = [job for job in jobs if job.kind == "attack"]
    totals = [job.cost * len(job.settings["frame_ids"]) for job in attacks]
    counts = _LineCounts([job.folder / "frames.jsonl" for job in attacks])

    def steps() -> int:
        found = zip(attacks, counts(), totals, strict=True)
        return sum(min(job.cost * lines, total) for job, lines, total in found)

    bar = tqdm(
        total=sum(totals),
        initial=steps(),
        desc="robustness",
        unit="step",
        unit_scale=True,
        smoothing=0,
        disable=None,
    )
    ended = threading.Event()

    def look() -> None:
        while not ended.wait(_LOOK_EVERY_S):
            bar.update(steps() - bar.n)

    thread = threading.Thread(target=look, daemon=True)
    if not bar.disable:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        if thread.is_alive():
            thread.join()
            bar.update(steps() - bar.n)
        bar.close()


class _LineCounts:
    """Numbers of lines of growing files; only new bytes are read."""

    def __init__(self, paths: Sequence[Path]) -> None:
        self._paths = paths
        self._known = [(0, 0)] * len(paths)

    def __call__(self) -> list[int]:
        for number, path in enumerate(self._paths):
            read, lines = self._known[number]
            if path.is_file() and path.stat().st_size > read:
                with path.open("rb") as file:
                    file.seek(read)
                    new = file.read()
                self._known[number] = (read + len(new), lines + new.count(b"\n"))
        return [lines for _, lines in self._known]
