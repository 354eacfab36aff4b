"""Jobs in several processes: the same results, one error, nothing left behind."""

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from perception.core.parallel import Bar, run_in_threads, run_jobs
from perception.core.structures import DataError


def _square(number):
    return number * number


def _fail_at(bad, number):
    if number == bad:
        raise DataError(f"item {number} is bad")
    return number


def _die_at(bad, number):
    if number in bad:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def _threads(_):
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return os.environ["OMP_NUM_THREADS"], os.environ.get("SET_UP"), ignored, os.getpid()


def _set_up():
    os.environ["SET_UP"] = "yes"


def _note_then_wait(folder, number):
    half = Path(folder, f"{number}.half")
    try:
        half.touch()
        time.sleep(60)
    finally:
        half.unlink()


@pytest.mark.parametrize("run", [run_jobs, run_in_threads])
@pytest.mark.parametrize("jobs", [1, 2])
def test_results_are_in_order_whatever_the_number_of_jobs(run, jobs):
    assert run(_square, range(7), jobs=jobs) == [0, 1, 4, 9, 16, 25, 36]
    assert run(_square, [], jobs=jobs) == []


def test_each_job_is_told_as_it_gets_done(capsys):
    told = {}
    bar = Bar("squares", unit="number", before=4)
    run_jobs(_square, [3, 4], jobs=2, on_done=told.__setitem__, bar=bar)
    assert told == {0: 9, 1: 16}
    assert "squares: 100%" in (shown := capsys.readouterr().err)
    assert "6/6" in shown


def test_workers_use_one_thread_and_ignore_interrupts(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    ((threads, set_up, ignored, process),) = run_jobs(
        _threads, [None], jobs=1, always_spawn=True, setup=_set_up
    )
    assert (threads, set_up, ignored) == ("1", "yes", True)
    assert process != os.getpid()
    assert "OMP_NUM_THREADS" not in os.environ
    assert "SET_UP" not in os.environ


@pytest.mark.parametrize("run", [run_jobs, run_in_threads])
@pytest.mark.parametrize("jobs", [1, 2])
def test_the_first_error_ends_it(run, jobs):
    with pytest.raises(DataError, match="item 2 is bad"):
        run(partial(_fail_at, 2), range(50), jobs=jobs)


def test_a_dying_process_is_one_clear_error():
    with pytest.raises(DataError, match="a worker process died"):
        run_jobs(partial(_die_at, {1}), range(4), jobs=2)


def test_only_the_guilty_jobs_are_blamed():
    told = {}
    results = run_jobs(
        partial(_die_at, {1, 4}),
        range(6),
        jobs=2,
        if_died="died with {}".format,
        on_done=told.__setitem__,
    )
    assert results == [0, "died with 1", 2, 3, "died with 4", 5]
    assert told == dict(enumerate(results))


@pytest.mark.parametrize("alone", [False, True])
def test_an_interrupt_ends_all_and_lets_them_clean_up(tmp_path, alone):
    """As in a terminal: all processes of the group get Ctrl-C."""
    wait = f"partial(test_parallel._note_then_wait, {str(tmp_path)!r})"
    die = f"partial(test_parallel._die_first, {str(tmp_path)!r}, {wait})"
    script = (
        # Whoever started the tests in the background may have had it ignored.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import test_parallel\n"
        "from functools import partial\n"
        "from perception.core.parallel import run_jobs\n"
        "if __name__ == '__main__':\n"
        f"    run_jobs({die if alone else wait}, range(6), jobs=2, if_died=repr)\n"
    )
    path = [str(Path(__file__).parent), *sys.path]
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("*.half"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGINT
    assert errors.count("Traceback") == 1, errors
    assert not list(tmp_path.glob("*.half"))
    with pytest.raises(ProcessLookupError):  # the resource tracker ends by itself
        for _ in range(200):
            os.killpg(process.pid, 0)
            time.sleep(0.02)


def _die_first(folder, then, number):
    """The very first job kills its process, so that each runs alone."""
    try:
        Path(folder, "died").touch(exist_ok=False)
    except FileExistsError:
        return then(number)
    os.kill(os.getpid(), signal.SIGKILL)


def _touch_then_wait(folder, number):
    Path(folder, f"{number}.{os.getpid()}.pid").touch()
    time.sleep(120)


@pytest.mark.parametrize(
    "start",
    [
        "run_jobs(wait, range(4), jobs=2)",
        "[context.Process(target=begin, args=(0, wait)).start() for _ in range(2)]",
    ],
    ids=["spawned", "forked"],
)
def test_no_worker_outlives_a_parent_that_is_killed(tmp_path, start):
    script = (
        "import multiprocessing, test_parallel\n"
        "from functools import partial\n"
        "from perception.core.parallel import end_with_parent, run_jobs\n"
        f"wait = partial(test_parallel._touch_then_wait, {str(tmp_path)!r})\n"
        "def begin(number, then):\n"
        "    end_with_parent()\n"
        "    then(number)\n"
        "context = multiprocessing.get_context('fork')\n"
        f"if __name__ == '__main__':\n    {start}\n"
    )
    path = [str(Path(__file__).parent), *sys.path]
    process = subprocess.Popen(
        [sys.executable, "-c", script],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path)},
        start_new_session=True,
    )
    deadline = time.monotonic() + 60
    while len(list(tmp_path.glob("*.pid"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.02)
    workers = [int(file.suffixes[0][1:]) for file in tmp_path.glob("*.pid")]
    assert len(workers) == 2 and all(map(_lives, workers))
    process.kill()
    process.wait()
    deadline = time.monotonic() + 30
    while any(map(_lives, workers)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(map(_lives, workers))


def _lives(process):
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"
