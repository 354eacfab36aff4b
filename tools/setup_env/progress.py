"""Run a long command: its output in a log, its progress on one line."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

from machine import SYSTEM_LIBRARIES


class SetupError(Exception):
    """The set-up cannot go on; the message is one line that says what to do."""


def elapsed(seconds: float) -> str:
    """``75`` as ``1:15``."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def activity(output: str) -> str:
    """What pip is doing, from its latest output; empty if that does not show."""
    counts = re.findall(r"^\s*\[(\d+)/(\d+)\]", output, re.MULTILINE)
    if counts:
        return "{} of {} steps".format(*counts[-1])
    lines = re.findall(
        r"^\s*((?:Collecting|Downloading|Installing) .+)", output, re.MULTILINE
    )
    return lines[-1][:50] if lines else ""


def show(line: str, last: bool = False) -> None:
    """Print a progress line; on a terminal the next one overwrites it."""
    if sys.stdout.isatty():
        print(f"\r\033[K{line}", end="\n" if last else "", flush=True)
    else:
        print(line, flush=True)


def failure(title: str, output: str, log: Path) -> str:
    """One line that says why a step failed, with the package to install if known."""
    libraries = re.findall(r"(lib\S+\.so[.\d]*): cannot open shared object", output)
    if libraries:
        package = SYSTEM_LIBRARIES.get(libraries[-1], f"what holds {libraries[-1]}")
        return f"{libraries[-1]} is missing: sudo apt-get install {package}"
    if re.search(r"Killed signal|internal compiler error: Killed", output):
        return f"{title} ran out of memory: try again with MAX_JOBS=1"
    errors = re.findall(r"^.*(?:error|Error|ERROR): .+$", output, re.MULTILINE)
    # Pip closes with lines that only say that something failed.
    telling = [e for e in errors if not re.search("Failed (to )?build|subprocess-", e)]
    reason = (telling or errors or ["no reason given"])[-1].strip()[:300]
    return f"{title} failed: {reason} (all output: {log})"


def run(title: str, command: list[str], env: dict[str, str], log: Path) -> None:
    """Run a command and show how long it takes and what it does.

    Raises:
        SetupError: If it fails, with the last error it printed.
    """
    start, shown, doing, output = time.monotonic(), 0.0, "", ""
    pause = 1.0 if sys.stdout.isatty() else 30.0
    with log.open("ab") as sink, log.open(encoding="utf-8", errors="replace") as tail:
        sink.write(f"\n$ {' '.join(command)}\n".encode())
        sink.flush()
        tail.seek(0, os.SEEK_END)
        process = subprocess.Popen(
            command,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while process.poll() is None:
                time.sleep(0.2)
                output = (output + tail.read())[-20_000:]
                doing = activity(output) or doing
                if time.monotonic() - start - shown >= pause:
                    shown = time.monotonic() - start
                    show(f"  {title}: {elapsed(shown)}  {doing}")
            output = (output + tail.read())[-20_000:]
        finally:  # interrupted: leave no compiler running behind our back
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGTERM)
                process.wait()
    if process.returncode:
        raise SetupError(failure(title, output, log))
    show(f"  {title}: done in {elapsed(time.monotonic() - start)}", last=True)
