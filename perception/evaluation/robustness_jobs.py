"""Doing jobs: in this process, in several, or shared among torchrun's ranks.

Whatever the number of processes, a job runs on one CPU thread and draws its random
numbers by frame, so its records are the same.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import torch
from tqdm import tqdm

from perception.cli import one_line
from perception.evaluation.attacked import evaluate_attack
from perception.evaluation.attacked_prepare import prepare
from perception.evaluation.attacked_run import audit_attacks
from perception.evaluation.robustness_setup import Job
from perception.structures import DataError

_TRIES = 2
_LOOK_EVERY_S = 1.0


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        reason: Why it failed; None if it did not.
        wall_s: Seconds it took, loading included.
    """

    reason: str | None = None
    wall_s: float = 0.0


Notify = Callable[[Job, Outcome], None]


def run_job(job: Job) -> Outcome:
    """Do one job; an error is its outcome, so that other jobs go on."""
    begin, reason = time.perf_counter(), None
    try:
        _audit(job) if job.kind == "audit" else _attack(job)
    except DataError as error:
        reason = one_line(error)
    except Exception as error:  # a defect in one attack must not lose the others
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    return Outcome(reason, round(time.perf_counter() - begin, 2))


def _attack(job: Job) -> None:
    ready = prepare(job.run)
    ((attack, description),) = ready.attacks
    evaluate_attack(
        ready.detector,
        ready.dataset,
        attack,
        ready.indices,
        scoring=ready.scoring,
        store=job.store(),
        description=description,
        batch_size=job.run.batch_size,
        workers=job.run.workers,
        progress=False,
    )


def _audit(job: Job) -> None:
    audit_attacks(job.run)


def execute(jobs: Sequence[Job], processes: int, notify: Notify) -> list[Outcome]:
    """Do all jobs; returns their outcomes in order.

    Args:
        jobs: What to do.
        processes: How many at a time; 1 does them here.
        notify: Called after each job.
    """
    if processes == 1 or len(jobs) < 2:
        outcomes = []
        with _one_thread():
            for job in jobs:
                outcomes.append(run_job(job))
                notify(job, outcomes[-1])
        return outcomes
    done: dict[int, Outcome] = {}
    for _ in range(_TRIES):
        pending = [number for number in range(len(jobs)) if number not in done]
        if pending:
            _run_pool(jobs, pending, processes, done, notify)
    lost = Outcome("its process died, perhaps for lack of memory: try fewer --jobs")
    return [done.get(number, lost) for number in range(len(jobs))]


def _run_pool(
    jobs: Sequence[Job],
    pending: Sequence[int],
    processes: int,
    done: dict[int, Outcome],
    notify: Notify,
) -> None:
    """Do jobs in processes of their own until all are done or a process dies."""
    context = multiprocessing.get_context("spawn")
    before = set(multiprocessing.active_children())
    pool = ProcessPoolExecutor(min(processes, len(pending)), context, _begin_process)
    try:
        futures = {pool.submit(run_job, jobs[number]): number for number in pending}
        for future in as_completed(futures):
            number = futures[future]
            done[number] = future.result()
            notify(jobs[number], done[number])
    except BrokenProcessPool:
        pass
    except BaseException:  # an interrupt: finished batches are on disk
        for process in set(multiprocessing.active_children()) - before:
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


def _begin_process() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends us
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

    def gather(self, outcomes: dict[int, Outcome]) -> dict[int, Outcome]:
        """The outcomes of all ranks, on every rank; waits for them."""
        if self.count == 1:
            return outcomes
        shares: list = [None] * self.count
        torch.distributed.all_gather_object(shares, outcomes)
        return {number: one for share in shares for number, one in share.items()}

    def wait(self) -> None:
        """Until all ranks are here."""
        if self.count > 1:
            torch.distributed.barrier()


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
