"""Runs as the functions of ``perception.evaluation`` still take them.

Goes as soon as they take the values of ``perception.evaluation.robustness.spec``.
"""

from __future__ import annotations

from typing import Any


def old(run: Any) -> Any:
    """The old ``AttackRun`` or ``RobustnessRun``."""
    from perception.evaluation.robustness import old_spec
    from perception.evaluation.robustness.prepare import AttackRun

    attacks = getattr(run, "attacks", getattr(run, "attack", None))
    detector = getattr(run, "detector", None) or run.detectors[0]
    frames = getattr(run, "frames", run)
    source = getattr(attacks, "source", None)
    many = hasattr(run, "detectors")
    names = ("out", "changes", "patch", "resume", "save_data", "score_threshold")
    single = AttackRun(
        config="" if many else detector.config,
        checkpoint="" if many else detector.checkpoint,
        cfg_options=detector.cfg_options,
        threats=() if many or attacks is None else attacks.threats,
        attacks_file="" if attacks is None else attacks.attacks_file,
        source=source and {"config": source[0], "checkpoint": source[1]},
        split=frames.split,
        frames=getattr(frames, "frames", None),
        num=None if hasattr(run, "monitor") else frames.num,
        **{name: getattr(run, name) for name in names if hasattr(run, name)},
        **vars(run.running),
    )
    if not many:
        return single
    names = ("names", "baseline", "curve", "probe", "audit", "audit_dir", "audit_num")
    return old_spec.RobustnessRun(
        detectors=[(one.config, one.checkpoint) for one in run.detectors],
        threats=attacks.threats,
        common=single,
        processes=run.processes,
        **{name: getattr(run, name) for name in names},
    )
