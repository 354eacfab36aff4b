"""Doing many jobs at a time, with the same results however many run together.

Worker processes are started afresh (``spawn``): forking after OpenCV or torch started
threads may hang. Each keeps to one thread, on which the last bits of a result may
depend. No process outlives the one that started it, however that ended.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    Future,
    ProcessPoolExecutor,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from tqdm import tqdm

from perception.core.structures import DataError

Item = TypeVar("Item")
Result = TypeVar("Result")
Note = Callable[[int, Any], None]

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


@dataclass(frozen=True)
class Bar:
    """A progress bar.

    Attributes:
        what: Its caption.
        unit: What a job makes one of.
        before: How many there were before.
    """

    what: str
    unit: str = "it"
    before: int = 0


def run_jobs(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    jobs: int,
    setup: Callable[[], object] | None = None,
    always_spawn: bool = False,
    on_done: Callable[[int, Result], None] | None = None,
    if_died: Callable[[Item], Result] | None = None,
    bar: Bar | None = None,
) -> list[Result]:
    """``function`` of every item, by ``jobs`` processes.

    The first error, or Ctrl-C, ends all of them and is raised: what is under way gets
    a ``SystemExit``, so that it removes half-written files, and is waited for.

    Args:
        function: What to do; can be pickled, as can items and results.
        items: What to do it with.
        jobs: Number of processes; one does the work in this process.
        setup: Called first in each worker, for limits on threads that the libraries'
            environment variables do not set. Can be pickled.
        always_spawn: Use a worker even for one job at a time, where results depend on
            the number of threads: some libraries read it when they are loaded.
        on_done: Called here after each job, with its number and its result.
        if_died: Gives the result of an item whose process died. A dying process takes
            the others along; what is left is then done by one process per job, so
            that only the guilty one gets this result. None makes it an error.
        bar: Shows progress.

    Returns:
        The results in the order of the items.

    Raises:
        DataError: If a process dies, unless ``if_died`` is given.
    """
    with _collecting(len(items), on_done, bar) as (results, note):
        if not always_spawn and (jobs <= 1 or len(items) <= 1):
            for number, item in enumerate(items):
                note(number, function(item))
        elif items:
            with _Workers(function, items, setup) as workers:
                workers.do_together(jobs, note)
                rest = [number for number in range(len(items)) if number not in results]
                if rest and if_died is None:
                    raise DataError(
                        "a worker process died, perhaps for lack of memory: run fewer "
                        "jobs at a time"
                    )
                if rest and if_died is not None:
                    workers.do_alone(rest, jobs, note, if_died)
    return [results[number] for number in range(len(items))]


def run_in_threads(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    *,
    jobs: int,
    bar: Bar | None = None,
) -> list[Result]:
    """As ``run_jobs``, by threads: for jobs that wait for the disk or share memory.

    After an error or Ctrl-C, jobs that have begun are finished, no others begin.
    """
    with _collecting(len(items), None, bar) as (results, note):
        pool = ThreadPoolExecutor(max(jobs, 1))
        try:
            for number, result in enumerate(pool.map(function, items)):
                note(number, result)
        finally:
            pool.shutdown(cancel_futures=True)
    return [results[number] for number in range(len(items))]


@contextmanager
def _collecting(
    count: int, on_done: Note | None, bar: Bar | None
) -> Iterator[tuple[dict[int, Any], Note]]:
    """Results by number, and what adds one to them, tells it and moves the bar."""
    shown = bar or Bar("")
    results: dict[int, Any] = {}
    with tqdm(
        total=shown.before + count,
        initial=shown.before,
        desc=shown.what,
        unit=shown.unit,
        smoothing=0.05,
        disable=bar is None,
    ) as line:

        def note(number: int, result: Any) -> None:
            results[number] = result
            line.update()
            if on_done is not None:
                on_done(number, result)

        yield results, note


class _Workers:
    """Processes that do one function of some items; they end with the context."""

    def __init__(
        self,
        function: Callable[[Any], Any],
        items: Sequence[Any],
        setup: Callable[[], object] | None,
    ) -> None:
        self.function, self.items, self.setup = function, items, setup
        self.pools: list[ProcessPoolExecutor] = []
        self.others = set(multiprocessing.active_children())

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            for process in set(multiprocessing.active_children()) - self.others:
                process.terminate()
        for pool in self.pools:
            pool.shutdown(cancel_futures=True)

    def do_together(self, jobs: int, note: Note) -> None:
        """Do all items until a process dies."""
        futures = self._start(min(jobs, len(self.items)), range(len(self.items)))
        for future in as_completed(futures):
            if not isinstance(future.exception(), BrokenProcessPool):
                note(futures[future], future.result())

    def do_alone(
        self,
        numbers: Sequence[int],
        jobs: int,
        note: Note,
        if_died: Callable[[Any], Any],
    ) -> None:
        """Do some items, each in a process of its own."""
        waiting = iter(numbers)
        running: dict[Future, int] = {}
        while True:
            for number in islice(waiting, jobs - len(running)):
                running |= self._start(1, [number])
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                number = running.pop(future)
                died = isinstance(future.exception(), BrokenProcessPool)
                note(number, if_died(self.items[number]) if died else future.result())

    def _start(self, workers: int, numbers: Sequence[int]) -> dict[Future, int]:
        """Items in new processes, by the future of their result."""
        context = multiprocessing.get_context("spawn")
        pool = ProcessPoolExecutor(
            workers, context, _begin, (pickle.dumps(self.setup),)
        )
        self.pools.append(pool)
        with _starting():
            return {
                pool.submit(_work, self.function, self.items[number]): number
                for number in numbers
            }


@contextmanager
def _starting() -> Iterator[None]:
    """Let processes started inside use one thread, and not hear of Ctrl-C."""
    before = {name: os.environ.get(name) for name in _THREAD_VARIABLES}
    os.environ.update(dict.fromkeys(_THREAD_VARIABLES, "1"))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def end_with_parent(parent: int | None = None) -> None:
    """Have the kernel kill this process as soon as its parent is gone, by kill -9 too.

    Called first in every process that another one starts. To the kernel the parent is
    the thread that started this process, which therefore has to outlive its work.

    Args:
        parent: The parent's id, where multiprocessing does not know it; it may be gone
            already.
    """
    if parent is None:
        known = multiprocessing.parent_process()
        parent = os.getppid() if known is None else known.pid
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)


def _begin(pickled_setup: bytes) -> None:
    """A worker's first act, before it imports much; it is its parent that ends it."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _end)
    setup = pickle.loads(pickled_setup)
    if setup is not None:
        setup()


def _end(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # cleaning up is not disturbed
    if not _at_work:
        # An exception while a result is sent would leave the pool's queue locked, and
        # the pool would try to send that exception: it would wait for itself.
        os._exit(1)
    sys.exit(1)


_at_work = False  # whether this worker is in a job, where there may be files to remove


def _work(function: Callable[[Item], Result], item: Item) -> Result:
    global _at_work
    _at_work = True
    try:
        return function(item)
    except SystemExit:
        # The pool would take it for a result and go on with another job.
        os._exit(1)
    finally:
        _at_work = False
