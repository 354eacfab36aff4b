"""Damage files of every kind and read them: one line or a value, nothing else.

    python tests/fuzz/fuzz_readers.py --inputs 100000 --seed 0 [--only NAME ...]
    python tests/fuzz/fuzz_readers.py --start 1898 --inputs 1 --seed 0   one of them

A finding is an exception that is no ``DataError`` (a traceback), a read of more than
``--limit`` seconds (a hang) or 2 GB, or numbers that are not finite; each is printed
with what makes it again. Exit status 1 if there is any.
"""

import argparse
import contextlib
import io
import logging
import random
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve()
sys.path[:0] = [str(HERE.parent), str(HERE.parents[2])]

from mutations import damaged  # noqa: E402
from readers import readers  # noqa: E402

from perception.core.structures import DataError  # noqa: E402

MOST_BYTES = 2 * 10**9


class HangError(Exception):
    """A read that does not end."""


def fuzz(
    inputs, seed, *, folder, start=0, only=(), limit_s=5, notify=lambda text: None
):
    """Findings {(kind, what): (how often, first input's number)}, and reads by kind."""
    kinds = [one for one in readers(Path(folder)) if not only or one.name in only]
    whole = {one.name: one.file.read_bytes() for one in kinds}
    for one in kinds:  # whole files are read
        outcome_of(one, limit_s * 10, strict=True)
    weights = [one.weight for one in kinds]
    findings, counts = {}, Counter()
    for number in range(start, start + inputs):
        rng = random.Random(f"{seed} {number}")
        (one,) = rng.choices(kinds, weights)
        one.file.write_bytes(damaged(whole[one.name], one.way, rng))
        what = outcome_of(one, limit_s)
        one.file.write_bytes(whole[one.name])
        counts[one.name, what[0]] += 1
        if what[0] not in ("read", "refused"):
            if (one.name, what[1]) not in findings:
                notify(f"{one.name}: {what[1]}, --seed {seed} input {number}")
            times, first, how = findings.get((one.name, what[1]), (0, number, what[2]))
            findings[one.name, what[1]] = times + 1, first, how
    return findings, counts


def outcome_of(one, limit_s, strict=False):
    """What reading a file ends in: (outcome, place, details)."""

    def hang(number, frame):
        raise HangError

    outcome, memory = "read", _peak_bytes()
    before = signal.signal(signal.SIGALRM, hang)
    signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = one.read(one.file)
        values = found.values() if isinstance(found, dict) else found
        for array in values if isinstance(values, list | tuple) else [values]:
            if hasattr(array, "shape") and not np.isfinite(np.asarray(array)).all():
                return "not finite", "not finite", ""
    except DataError:
        if strict:
            raise
        outcome = "refused"
    except HangError:
        return "hang", "hang", traceback.format_exc()
    except Exception as error:
        if strict:
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        ours = [
            f
            for f in traceback.extract_tb(error.__traceback__)
            if "perception" in f.filename
        ]
        place = ours[-1] if ours else last
        where = f"{Path(place.filename).name}:{place.lineno}"
        return "traceback", f"{type(error).__name__} at {where}", traceback.format_exc()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    if _peak_bytes() - memory > MOST_BYTES:
        return "memory", "more than 2 GB", ""
    return outcome, "", ""


def _peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--start", type=int, default=0, metavar="INPUT")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=float, default=5.0, metavar="SECONDS")
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME")
    parser.add_argument("--verbose", action="store_true", help="with tracebacks")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    start = time.monotonic()
    with tempfile.TemporaryDirectory(
        dir="/dev/shm" if Path("/dev/shm").is_dir() else None
    ) as folder:
        findings, counts = fuzz(
            args.inputs,
            args.seed,
            folder=folder,
            start=args.start,
            only=args.only,
            limit_s=args.limit,
            notify=print,
        )
    for (kind, what), (times, first, how) in sorted(findings.items()):
        print(f"{kind}: {what}, {times} times, first --seed {args.seed} input {first}")
        if args.verbose:
            print(how)
    total = Counter()
    for (_, what), count in counts.items():
        total[what] += count
    told = ", ".join(f"{count} {what}" for what, count in total.most_common())
    print(
        f"{args.inputs} inputs in {time.monotonic() - start:.0f} s: {told}; "
        f"peak {_peak_bytes() / 2**30:.2f} GB"
    )
    sys.exit(bool(findings))


if __name__ == "__main__":
    main()
