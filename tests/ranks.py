"""Run tools as ranks, as torchrun does, but by forks of one process.

    python ranks.py '[[2, "train", ["CONFIG", "--launcher", "pytorch"]]]'

Each entry is a number of ranks, a tool and its words. A fork of a process that has
imported everything, and done nothing yet, begins at once.
"""

import importlib
import json
import multiprocessing
import os
import socket
import sys

import perception.apis  # noqa: F401
from perception.cli.options import run_tool
from perception.evaluation.certificate import frames  # noqa: F401
from perception.evaluation.detection import recorded  # noqa: F401
from perception.evaluation.robustness import grid  # noqa: F401
from perception.training import adversarial, runner  # noqa: F401


def one_of(ranks, rank, port, tool, words):
    """A process as torchrun starts it."""
    known = dict(RANK=rank, LOCAL_RANK=rank, WORLD_SIZE=ranks, MASTER_PORT=port)
    os.environ |= {name: str(value) for name, value in known.items()}
    os.environ["MASTER_ADDR"] = "127.0.0.1"
    run_tool(lambda: importlib.import_module(f"perception.cli.{tool}").main(words))


def run_ranks(count, tool, words):
    """Whether all of them ended well."""
    fork = multiprocessing.get_context("fork")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    ranks = [
        fork.Process(target=one_of, args=(count, rank, port, tool, words))
        for rank in range(count)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    return not any(process.exitcode for process in ranks)


if __name__ == "__main__":
    if not all(run_ranks(*one) for one in json.loads(sys.argv[1])):
        sys.exit(1)
