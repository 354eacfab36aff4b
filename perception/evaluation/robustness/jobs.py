"""Doing jobs: in this process, in several, or shared among torchrun's ranks.

Whatever the number of processes, a job runs on one CPU thread and draws its random
numbers by frame, so its records are the same.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch

from perception.cli.options import one_line
from perception.core.structures import DataError
from perception.evaluation.robustness.cell import evaluate_attack
from perception.evaluation.robustness.old_spec import Job
from perception.evaluation.robustness.prepare import prepare
from perception.evaluation.robustness.run import audit_attacks


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
    others = set(multiprocessing.active_children())
    try:
        _run_together(jobs, processes, done, notify)
        # A process died and took the others along: each of the rest by itself.
        rest = [number for number in range(len(jobs)) if number not in done]
        with ThreadPoolExecutor(processes) as threads:
            alone = threads.map(_run_alone, [jobs[number] for number in rest])
            for number, outcome in zip(rest, alone, strict=True):
                done[number] = outcome
                notify(jobs[number], outcome)
    except BaseException:  # an interrupt; finished batches are on disk
        for process in set(multiprocessing.active_children()) - others:
            process.terminate()
        raise
    return [done[number] for number in range(len(jobs))]


def _run_together(
    jobs: Sequence[Job], processes: int, done: dict[int, Outcome], notify: Notify
) -> None:
    """Do jobs in processes that take one after another, until one of them dies."""
    pool = _pool(min(processes, len(jobs)))
    futures = {pool.submit(run_job, job): number for number, job in enumerate(jobs)}
    try:
        for future in as_completed(futures):
            number = futures[future]
            done[number] = future.result()
            notify(jobs[number], done[number])
    except BrokenProcessPool:
        pass
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _run_alone(job: Job) -> Outcome:
    """Do a job in a process of its own."""
    try:
        with _pool(1) as pool:
            return pool.submit(run_job, job).result()
    except BrokenProcessPool:
        return Outcome("its process died, perhaps for lack of memory: try fewer --jobs")


def _pool(processes: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, context, _begin_process)


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
