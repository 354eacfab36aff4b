"""Attacks and audits as jobs: done here, by several processes, ranks or machines.

Whatever the number of processes, a job runs on one CPU thread, computes the same
batches and draws its random numbers by frame, so its records are the same.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from perception.core.parallel import run_jobs
from perception.core.shards import WHOLE, Shard
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
        turn: Its number among all jobs: where shards begin to count its batches.
        shard: The share of it that is done now.
        writer: The shard whose files the records go to.
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
    turn: int = 0
    shard: Shard = WHOLE
    writer: Shard = WHOLE

    @property
    def is_audit(self) -> bool:
        """Whether it is no attack."""
        return isinstance(self.run, AuditRun)

    @property
    def folder(self) -> Path:
        """Where its records lie, or the audit's report."""
        out = Path(self.run.out)
        return out if self.is_audit else out / self.title

    @property
    def frame_ids(self) -> list[str]:
        """The frames of its share; of an audit, which is not divided, all or none."""
        names: list[str] = self.settings["frame_ids"]
        if self.is_audit:
            return names if self.shard.takes(self.turn) else []
        size = self.run.running.batch_size
        blocks = self.shard.frames(len(names), size, turn=self.turn)
        return [names[number] for block in blocks for number in block]

    def store(self, *, resume: bool = True) -> FrameStore:
        """Its records."""
        settings = self.settings
        return FrameStore(self.folder, settings, resume=resume, writer=self.writer)

    def done(self) -> bool:
        """Whether an earlier run, or another shard, has finished its share."""
        wanted = self.frame_ids
        if not wanted:
            return True
        if self.is_audit:
            report = read_audit(self.folder / "audit.json")
            return all(report.get(key) == one for key, one in self.settings.items())
        return self.folder.is_dir() and self.store().frame_ids() >= set(wanted)


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


def do_jobs(
    jobs: Sequence[Job], processes: int, shard: Shard = WHOLE, *, progress: bool = True
) -> dict[int, Ended]:
    """Do what is not done yet of a share; how those jobs ended, by their numbers."""
    parts = [replace(job, shard=shard) for job in jobs]
    pending = [number for number, part in enumerate(parts) if not part.done()]
    chosen = [parts[number] for number in pending]
    died = Ended("its process died, perhaps for lack of memory: try fewer --jobs")
    with _progress(parts if progress else []), _one_thread():
        ended = run_jobs(
            run_job,
            chosen,
            jobs=processes,
            setup=_use_one_thread,
            on_done=lambda number, how: _tell(chosen[number], how),
            if_died=lambda job: died,
        )
    return dict(zip(pending, ended, strict=True))


def joined(shares: Iterable[Mapping[int, Ended]]) -> dict[int, Ended]:
    """How jobs ended of which several did a share: as the share that failed, if any."""
    every: dict[int, Ended] = {}
    for share in shares:
        for number, how in share.items():
            if number not in every or how.reason is not None:
                every[number] = how
    return every


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
    share: dict[str, Any] = {"shard": job.shard, "turn": job.turn}
    fill(job.store(), subject, named, run.running, progress=False, **share)


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


@contextmanager
def _progress(jobs: Sequence[Job]) -> Iterator[None]:
    """A bar over all frames of all jobs with the time left, from what is on disk.

    A frame counts as many steps as its attack takes. Whoever attacks, in whatever
    process, appends its records to files; the bar looks at their lengths.
    """
    attacks = [job for job in jobs if not job.is_audit]
    totals = [job.cost * len(job.frame_ids) for job in attacks]
    counts = _LineCounts([job.folder for job in attacks])

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
    """Numbers of records in growing files of some folders; only new bytes are read."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = folders
        self._known: dict[Path, tuple[int, int]] = {}

    def __call__(self) -> list[int]:
        return [
            sum(self._count(path) for path in folder.glob("frames*.jsonl"))
            for folder in self._folders
        ]

    def _count(self, path: Path) -> int:
        read, lines = self._known.get(path, (0, 0))
        if path.is_file() and path.stat().st_size > read:
            with path.open("rb") as file:
                file.seek(read)
                new = file.read()
            self._known[path] = (read + len(new), lines + new.count(b"\n"))
        return self._known.get(path, (0, 0))[1]
