"""What a run over detectors and attacks is about: the values it passes around."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from perception.evaluation.robustness.audits import read_audit
from perception.evaluation.robustness.cell import frame_ids_of
from perception.evaluation.robustness.prepare import AttackRun, Prepared
from perception.evaluation.robustness.records import FrameRecord
from perception.evaluation.robustness.store import FrameStore


@dataclass(frozen=True, kw_only=True)
class RobustnessRun:
    """Detectors, and what is done to each of them.

    Attributes:
        detectors: Config and checkpoint of each.
        threats: Names of attacks or suites in the attacks file.
        common: What all detectors have in common: frames, device, folder, …
        names: Names of the detectors; () takes them from the configs.
        baseline: Name of the detector that others are compared with; None: the first.
        curve: Factors of the budget of each of ``probe`` to try as well.
        probe: Attacks or suites that ``curve`` and ``audit`` work with.
        audit: Audit each detector as well.
        audit_dir: Folder with ``audit.json`` files of earlier audits.
        audit_num: Frames of an audit.
        processes: How many jobs are done at a time.
    """

    detectors: Sequence[tuple[str, str]]
    threats: Sequence[str]
    common: AttackRun
    names: Sequence[str] = ()
    baseline: str | None = None
    curve: Sequence[float] = ()
    probe: Sequence[str] = ("quick",)
    audit: bool = False
    audit_dir: str | None = None
    audit_num: int = 8
    processes: int = 1


@dataclass(frozen=True)
class Subject:
    """A detector of the run.

    Attributes:
        name: Its name everywhere.
        group: The name that all checkpoints of its config share.
        run: How it is attacked.
        ready: The detector and its frames.
        settings: What determines its results, apart from the attack.
        refused: {attack: why it does not apply}.
    """

    name: str
    group: str
    run: AttackRun
    ready: Prepared
    settings: dict[str, Any]
    refused: dict[str, str] = field(default_factory=dict)

    @property
    def frame_ids(self) -> list[str]:
        """The frames, in order."""
        names = frame_ids_of(self.ready.dataset)
        return [names[index] for index in self.ready.indices]


@dataclass(frozen=True, kw_only=True)
class Job:
    """One attack on one detector, or its audit; what a process is sent.

    Attributes:
        kind: Which of the two.
        subject: The detector's name.
        threat: Name of the attack in the attacks file.
        title: Name of the attack as it is run, e.g. ``camera_pgd@eps=4``.
        run: The run that does this attack alone.
        settings: What determines its results.
        description: The attack in plain values.
        touched: Sensors attacked.
        cost: About how many gradient steps a frame takes.
        eps_scale: Factor of the budget; 1 for the attack as the file has it.
        asked: Whether it was asked for by name, not only as a point of a curve.
    """

    kind: Literal["attack", "audit"] = "attack"
    subject: str
    threat: str
    title: str
    run: AttackRun
    settings: Mapping[str, Any] = field(default_factory=dict)
    description: Mapping[str, Any] = field(default_factory=dict)
    touched: tuple[str, ...] = ()
    cost: int = 1
    eps_scale: float = 1.0
    asked: bool = True

    @property
    def folder(self) -> Path:
        """Where its records lie."""
        return Path(self.run.out) / self.title

    def store(self, *, resume: bool = True) -> FrameStore:
        """Its records."""
        return FrameStore(self.folder, self.settings, resume=resume)

    def records(self, frame_ids: Sequence[str]) -> list[FrameRecord]:
        """Those of some frames; frames that are not done are left out."""
        if not self.folder.is_dir():
            return []
        found = self.store().read()
        return [found[name] for name in frame_ids if name in found]

    def done(self) -> bool:
        """Whether an earlier run has finished it."""
        wanted = self.settings["frame_ids"]
        if self.kind == "attack":
            return len(self.records(wanted)) == len(wanted)
        report = read_audit(Path(self.run.out) / "audit.json")
        return all(report.get(key) == value for key, value in self.settings.items())
