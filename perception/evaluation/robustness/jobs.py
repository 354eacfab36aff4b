"""Attacks and audits as jobs: done here, by several processes, or by torchrun's ranks.

Whatever the number of processes, a job runs on one CPU thread and draws its random
numbers by frame, so its records are the same.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from perception.core.parallel import run_jobs
from perception.core.structures import DataError
from perception.evaluation.audit.run import audit_detector, read_audit
from perception.evaluation.robustness.cell import NotApplicableError, fill
from perception.evaluation.robustness.spec import AttackRun, AuditRun
from perception.evaluation.robustness.store import FrameStore
from perception.evaluation.robustness.subject import load_subject

_LOOK_EVERY_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Job:
    """One attack on one detector, or its audit; what a process is sent.

    Attributes:
        detector: The detector's name.
        run: The run that does this attack, or audit, alone.
        title: Name of the attack as it is run, e.g. ``camera_pgd@eps=4``.
        threat: Name of the attack in the attacks file.
        settings: What determines its results.
        description: The attack in plain values.
        attacked_sensors: Those that it may change.
        cost: About how many gradient steps a frame takes.
        scale: Factor of the budget; 1 for the attack as the file has it.
        asked: Whether it was asked for by name, not only as a point of a curve.
    """

    detector: str
    run: AttackRun | AuditRun
    title: str = "audit"
    threat: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    description: Mapping[str, Any] = field(default_factory=dict)
    attacked_sensors: tuple[str, ...] = ()
    cost: int = 1
    scale: float = 1.0
    asked: bool = True

    @property
    def is_audit(self) -> bool:
        """Whether it is no attack."""
        return isinstance(self.run, AuditRun)

    @property
    def folder(self) -> Path:
        """Where its records lie."""
        return Path(self.run.out) / self.title

    def store(self, *, resume: bool = True) -> FrameStore:
        """Its records."""
        return FrameStore(self.folder, self.settings, resume=resume)

    def done(self) -> bool:
        """Whether an earlier run has finished it."""
        wanted = self.settings["frame_ids"]
        if self.is_audit:
            report = read_audit(Path(self.run.out) / "audit.json")
            return all(report.get(key) == one for key, one in self.settings.items())
        return self.folder.is_dir() and len(self.store().records(wanted)) == len(wanted)


@dataclass(frozen=True)
class Ended:
    """How a job ended.

    Attributes:
        reason: Why it failed or does not apply; None if it was done.
        applies: Whether the detector has what it needs.
        wall_s: Seconds it took, loading included.
    """

    reason: str | None = None
    applies: bool = True
    wall_s: float = 0.0


def do_jobs(jobs: Sequence[Job], processes: int, ranks: Ranks) -> dict[int, Ended]:
    """Do what is not done yet; how the jobs of all ranks ended, by their numbers."""
    pending = [number for number in ranks.share(jobs) if not jobs[number].done()]
    chosen = [jobs[number] for number in pending]
    died = Ended("its process died, perhaps for lack of memory: try fewer --jobs")
    with _progress(jobs if ranks.rank == 0 else []), _one_thread():
        ended = run_jobs(
            run_job,
            chosen,
            jobs=processes,
            setup=_use_one_thread,
            on_done=lambda number, how: _tell(chosen[number], how),
            if_died=lambda job: died,
        )
    return ranks.gather(dict(zip(pending, ended, strict=True)))


def run_job(job: Job) -> Ended:
    """Do one job; an error is how it ends, so that other jobs go on."""
    begin, reason, applies = time.perf_counter(), None, True
    try:
        if isinstance(job.run, AuditRun):
            audit_detector(job.run)
        else:
            _attack(job, job.run)
    except DataError as error:
        applies = not isinstance(error, NotApplicableError)
        # PyTorch puts the traceback of a data loader's worker before the message.
        reason = str(error).strip().splitlines()[-1]
        reason = reason.removeprefix(f"{DataError.__module__}.DataError: ")
    except Exception as error:  # a defect in one attack must not lose the others
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    return Ended(reason, applies, round(time.perf_counter() - begin, 2))


def _attack(job: Job, run: AttackRun) -> None:
    subject = load_subject(run, run.attacks)
    (named,) = subject.attacks
    fill(job.store(), subject, named, run.running, progress=False)


def _tell(job: Job, ended: Ended) -> None:
    """A line about a job that ended."""
    bad = "FAILED" if ended.applies else "does not apply"
    how = "done" if ended.reason is None else f"{bad}: {ended.reason}"
    tqdm.write(f"{job.detector}  {job.title}: {how} ({ended.wall_s:.0f} s)")


def _use_one_thread() -> None:
    torch.set_num_threads(1)


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class Ranks:
    """The processes that torchrun started; a single one without it."""

    def __init__(self) -> None:
        self.rank = int(os.environ.get("RANK", 0))
        self.count = int(os.environ.get("WORLD_SIZE", 1))

    def __enter__(self) -> Ranks:
        if self.count > 1:  # a rank may wait for days until the others are done
            torch.distributed.init_process_group("gloo", timeout=timedelta(days=30))
        return self

    def __exit__(self, *_: object) -> None:
        if self.count > 1:
            torch.distributed.destroy_process_group()

    def share(self, jobs: Sequence[Job]) -> list[int]:
        """Numbers of the jobs that this rank does: every ``count``-th."""
        return list(range(self.rank, len(jobs), self.count))

    def gather(self, ended: dict[int, Ended]) -> dict[int, Ended]:
        """How the jobs of all ranks ended, on every rank; waits for them."""
        if self.count == 1:
            return ended
        shares: list = [None] * self.count
        torch.distributed.all_gather_object(shares, ended)
        return {number: one for share in shares for number, one in share.items()}

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.count > 1:
            torch.distributed.barrier()


@contextmanager
def _progress(jobs: Sequence[Job]) -> Iterator[None]:
    """A bar over all frames of all jobs with the time left, from what is on disk.

    A frame counts as many steps as its attack takes. Whoever attacks, in whatever
    process, appends its records to files; the bar looks at their lengths.
    """
    attacks = [job for job in jobs if not job.is_audit]
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
