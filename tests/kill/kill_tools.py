"""Kill -9 the tools at random moments, start them again, compare with runs left alone.

    python tests/kill/kill_tools.py --kills 200 --seed 0
    python tests/kill/kill_tools.py --kills 20 --seed 1 --tools train attack

After each kill no process may be left; after the run that is left to end, everything
that was finished before a kill is as it was, the results are those of a run that was
never killed, bit for bit, and there is no file more. Every run is a fork of this
process, which has imported everything, so that moments fall into the tools' own work.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time
import traceback
import types
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPOSITORY), str(REPOSITORY / "tests")]

import numpy as np  # noqa: E402
import torch  # noqa: E402
import torch.utils.tensorboard  # noqa: E402
from attacked_project import EXTRAS, STANDARD, make_project  # noqa: E402
from tiny_kitti import write_config, write_kitti  # noqa: E402

import perception.apis  # noqa: E402, F401
from perception.cli import attack, create_data, report, robustness, train  # noqa: E402
from perception.cli.options import run_tool  # noqa: E402
from perception.core.checkpoints import load_checkpoint  # noqa: E402
from perception.datasets.synthetic.kitti import generate  # noqa: E402
from perception.evaluation.robustness import grid  # noqa: E402, F401
from perception.training import runner  # noqa: E402, F401
from perception.visualization.report import page  # noqa: E402, F401

# What tells of a run itself, and not of its results.
VOLATILE = {"seconds", "seconds_per_frame", "wall_s", "finished", "command"}
OF_A_RUN = re.compile(
    r"^(?:(?:load_from|resume|work_dir) =|Reproduce:) .*|\d[\d:.T+-]* ?(s|min|h|UTC)\b"
    r"|\d{4}-\d\d-\d\d[T ][\d:+]*",
    re.MULTILINE,
)
LOGS = re.compile(r"\d{8}_\d{6}")
GONE_WITHIN_S = 30.0


@dataclass(frozen=True)
class Tool:
    """A tool that is killed.

    Attributes:
        main: Its main function.
        words: Its arguments for a folder of results.
        keeps: Patterns of files that are finished once they are there.
        writes: Pattern of files during whose writing it is killed every other time.
    """

    main: Callable[[list[str]], None]
    words: Callable[[Path], list[Any]]
    keeps: tuple[str, ...] = ()
    writes: str | None = None


def tools_of(base: Path) -> dict[str, Tool]:
    """All tools, which need what :func:`prepare` made."""
    attacked = [
        base / "project" / name for name in ("config.py", "weights.safetensors")
    ]
    return {
        "data": Tool(
            create_data.main,
            lambda out: (
                ["synthetic", "--out", out]
                + [
                    "--frames",
                    "3",
                    "--val-frames",
                    "1",
                    "--size",
                    "96x32",
                    "--jobs",
                    "2",
                ]
            ),
            keeps=("training/*/*",),
        ),
        "depth": Tool(
            create_data.main,
            lambda out: (
                ["kitti", "--root", base / "stereo", "--depth"]
                + ["--depth-dir", out.resolve(), "--jobs", 2]
            ),
            keeps=("*.png",),
        ),
        "train": Tool(
            train.main,
            lambda out: [base / "concat.py", "--work-dir", out, "--resume"],
            keeps=("epoch_*.pth",),
            writes=".*.tmp.pth",
        ),
        "attack": Tool(
            attack.main,
            lambda out: (
                [*attacked, "--out", out, "--resume"]
                + [
                    "--threat",
                    "camera_pgd",
                    "lidar_pgd",
                    "--steps",
                    "2",
                    "--batch-size",
                    "1",
                ]
                + ["--workers", 1, "--save-data"]
            ),
            keeps=("*/frames.jsonl",),
        ),
        "robustness": Tool(
            robustness.main,
            lambda out: (
                [*attacked, "--out", out]
                + ["--attacks", base / "few.py", "--suite", "few", "--batch-size", 1]
                + ["--jobs", 2]
            ),
            keeps=("*/*/frames.jsonl",),
        ),
        "report": Tool(
            report.main,
            lambda out: (
                [base / "whole_attack" / "results.json"]
                + ["--out", out / "report.html"]
            ),
        ),
    }


def prepare(base: Path) -> None:
    """Write what the tools read."""
    make_project(base / "project")
    kitti = write_kitti(base / "train_data")
    concat = REPOSITORY / "configs" / "synthetic" / "concat.py"
    config = write_config(base / "concat.py", kitti, concat)
    keep_all = "default_hooks = dict(checkpoint=dict(max_keep_ckpts=-1))\n"
    config.write_text(config.read_text() + EXTRAS + keep_all)
    generate(base / "stereo", frames=6, seed=1, size="96x32", progress=False)
    (base / "few.py").write_text(
        f"_base_ = {str(STANDARD)!r}\n"
        "attacks = dict(camera_pgd=dict(threat=dict(steps=2)), "
        "lidar_pgd=dict(threat=dict(steps=2)))\n"
        "suites = dict(few=['camera_pgd', 'lidar_pgd', 'camera_blackout_5'])\n"
    )


# ---- running and killing ----


def start(tool: Tool, out: Path, log: Path) -> int:
    """The id of a new process, and of its session, that runs the tool."""
    words = [str(word) for word in tool.words(out)]
    out.mkdir(exist_ok=True)
    return fork(lambda: run_tool(lambda: tool.main(words)), log)


def fork(work: Callable[[], object], log: Path) -> int:
    """The id of a new process, and of its session, that does this alone."""
    if process := os.fork():
        return process
    status = 1
    try:
        os.setsid()
        number = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(number, 1), os.dup2(number, 2)
        # Else workers would import this file first, and what it imports.
        sys.modules["__main__"] = types.ModuleType("__main__")
        work()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush(), sys.stderr.flush()
        os._exit(status)


def finish(process: int) -> int:
    """Wait for a process; its status."""
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def of_session(session: int) -> list[int]:
    """All processes of a session that are not dead."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            stat = (entry / "stat").read_text() if entry.name.isdigit() else ""
        except OSError:
            continue
        fields = stat.rpartition(")")[2].split()
        if fields and int(fields[3]) == session and fields[0] not in "ZX":
            found.append(int(entry.name))
    return found


def ended_within(process: int, seconds: float) -> int | None:
    """The status of a process that ends within some time, None if it does not."""
    end = time.monotonic() + seconds
    while True:
        done, status = os.waitpid(process, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if (rest := end - time.monotonic()) <= 0:
            return None
        time.sleep(min(rest, 0.005))


def kill(process: int, tool: Tool, out: Path, moment: random.Random, wall_s: float):
    """Kill a process at a random moment.

    Returns:
        How many of its session are left, and after how many seconds; the status of one
        that ended before.
    """
    status = None
    if tool.writes is not None and moment.random() < 0.5:
        writes, seen = moment.randint(1, 4), set[str]()
        while len(seen) < writes and status is None:
            seen |= {path.name for path in out.glob(tool.writes)}
            status = ended_within(process, 0.0005)
    else:
        status = ended_within(process, moment.uniform(0, wall_s))
    if status is not None:
        return status
    os.kill(process, signal.SIGKILL)
    finish(process)
    begin = time.monotonic()
    while (left := of_session(process)) and time.monotonic() < begin + GONE_WITHIN_S:
        time.sleep(0.01)
    for other in left:
        os.kill(other, signal.SIGKILL)
    return len(left), time.monotonic() - begin


# ---- comparing ----


def files_of(out: Path) -> dict[str, Path]:
    """All files of results by their names in the folder; logs left out."""
    return {
        str(path.relative_to(out)): path
        for path in sorted(out.rglob("*"))
        if path.is_file() and not LOGS.match(path.relative_to(out).parts[0])
    }


def content(path: Path, out: Path) -> Any:
    """What a file says of results, to be compared with that of another run."""
    if path.suffix == ".pth":
        loaded = load_checkpoint(path)
        names = ("state_dict", "optimizer", "param_schedulers")
        meta = {key: loaded["meta"][key] for key in ("epoch", "iter", "seed")}
        return [plain(loaded.get(name)) for name in names], meta
    if path.name == "frames.jsonl":
        return [lasting(json.loads(line)) for line in path.read_text().splitlines()]
    if path.suffix == ".json":
        return lasting(json.loads(path.read_text()))
    if path.name == "last_checkpoint":
        return Path(path.read_text()).name
    if path.suffix in (".md", ".py", ".html"):
        return OF_A_RUN.sub("", path.read_text())
    return path.read_bytes()


def lasting(value: Any) -> Any:
    """Without what tells of the run itself."""
    if isinstance(value, Mapping):
        return {k: lasting(v) for k, v in value.items() if k not in VOLATILE}
    return [lasting(one) for one in value] if isinstance(value, list) else value


def plain(value: Any) -> Any:
    """Tensors as their bytes."""
    if isinstance(value, torch.Tensor):
        return np.asarray(value.cpu()).tobytes(), tuple(value.shape)
    if isinstance(value, Mapping):
        return {key: plain(one) for key, one in value.items()}
    return [plain(one) for one in value] if isinstance(value, list | tuple) else value


def kept(tool: Tool, out: Path) -> dict[Path, Any]:
    """What is finished: of records the whole lines, of other files all, and when."""
    found: dict[Path, Any] = {}
    for path in (path for pattern in tool.keeps for path in out.glob(pattern)):
        if path.name.startswith("."):
            continue
        data = path.read_bytes()
        if path.suffix == ".jsonl":
            found[path] = data[: data.rfind(b"\n") + 1]
        else:
            found[path] = hashlib.sha256(data).hexdigest(), path.stat().st_mtime_ns
    return found


def lost(before: Mapping[Path, Any], now: Mapping[Path, Any]) -> list[str]:
    """What was finished and is not there any more, or was made again."""
    return [
        f"{path}: finished before the kill, and made again"
        for path, was in before.items()
        if not (
            now.get(path, b"").startswith(was)
            if isinstance(was, bytes)
            else now.get(path) == was
        )
    ]


def differences(whole: Path, out: Path) -> list[str]:
    """How results differ from those of a run that was left alone."""
    expected, found = files_of(whole), files_of(out)
    problems = [f"{out}/{name}: left over" for name in found.keys() - expected.keys()]
    problems += [f"{out}/{name}: missing" for name in expected.keys() - found.keys()]
    return problems + [
        f"{found[name]}: other than in {whole}"
        for name in expected.keys() & found.keys()
        if content(expected[name], whole) != content(found[name], out)
    ]


# ---- all of it ----


@dataclass
class Tally:
    """What came of it.

    Attributes:
        kills: Number by tool.
        runs: Runs that ended after kills, by tool.
        problems: Everything that should not be.
        slowest_s: Longest time until no process was left.
    """

    kills: Counter[str] = field(default_factory=Counter)
    runs: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    slowest_s: float = 0.0


def kill_tools(names: Sequence[str], kills: int, seed: int, base: Path) -> Tally:
    """Kill tools in turn, ``kills`` times in all."""
    tally, moment = Tally(), random.Random(seed)
    if status := finish(fork(lambda: prepare(base), base / "prepare.log")):
        tally.problems.append(f"no data: status {status}, see {base}/prepare.log")
        return tally
    tools, wall_s = tools_of(base), dict[str, float]()
    for name in dict.fromkeys([*(["attack"] if "report" in names else []), *names]):
        begin, whole = time.monotonic(), base / f"whole_{name}"
        if status := finish(start(tools[name], whole, base / f"{name}.log")):
            tally.problems.append(f"{name}: status {status}, see {base}/{name}.log")
            return tally
        wall_s[name] = time.monotonic() - begin
        print(f"{name}: {wall_s[name]:.1f} s left alone", flush=True)
    number = 0
    while sum(tally.kills.values()) < kills:
        name, out = names[number % len(names)], base / f"run_{number}"
        number += 1
        tool, log, problems = tools[name], base / f"run_{number}.log", []
        for _ in range(moment.randint(1, 4)):
            if sum(tally.kills.values()) >= kills:
                break
            before = kept(tool, out)
            how = kill(start(tool, out, log), tool, out, moment, wall_s[name])
            if isinstance(how, int):
                problems += [f"{name}: status {how}, see {log}"] if how else []
                continue
            tally.kills[name] += 1
            tally.slowest_s = max(tally.slowest_s, how[1])
            if how[0]:
                problems.append(f"{name}: {how[0]} processes left")
            problems += lost(before, kept(tool, out))
        before = kept(tool, out)
        if status := finish(start(tool, out, log)):
            problems.append(f"{name}: status {status} when started again, see {log}")
        problems += lost(before, kept(tool, out))
        problems += differences(base / f"whole_{name}", out)
        tally.runs[name] += 1
        tally.problems += problems
        for problem in problems:
            print("PROBLEM", problem, flush=True)
        if not problems:
            shutil.rmtree(out)
        print(f"{sum(tally.kills.values())} kills, last of {name}", flush=True)
    return tally


def main() -> None:
    """Read the command line, kill, say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    every = ("data", "depth", "train", "attack", "robustness", "report")
    parser.add_argument("--tools", nargs="+", choices=every, default=every)
    parser.add_argument("--folder", type=Path, help="kept; else a temporary one")
    args = parser.parse_args()
    base = args.folder or Path(tempfile.mkdtemp(prefix="kill_tools_"))
    base.mkdir(parents=True, exist_ok=True)
    tally = kill_tools(args.tools, args.kills, args.seed, base)
    print(f"kills: {dict(tally.kills)}; then left alone: {dict(tally.runs)}")
    print(f"no process left after {tally.slowest_s:.2f} s at most")
    print(f"{len(tally.problems)} problems", *tally.problems, sep="\n")
    if tally.problems:
        sys.exit(1)
    if args.folder is None:
        shutil.rmtree(base)


if __name__ == "__main__":
    main()
