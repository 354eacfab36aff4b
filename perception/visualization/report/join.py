"""Several runs of one detector on the same frames become one."""

from __future__ import annotations

from dataclasses import replace

from perception.evaluation.robustness.audits import joined_audits
from perception.visualization.report.values import Attacked, Measured


def joined_runs(first: Measured, second: Measured) -> Measured:
    """Everything that two runs of a detector on the same frames say of it.

    Raises:
        ValueError: If they say different things of an attack.
    """
    for name in first.attacks.keys() & second.attacks.keys():
        _require_same(name, first.attacks[name], second.attacks[name])
    attacks = {**second.attacks, **first.attacks}
    order = dict.fromkeys([*first.attacks, *second.attacks])
    curves = {
        name: [*first.curves.get(name, ()), *second.curves.get(name, ())]
        for name in {**first.curves, **second.curves}
    }
    failed = {**second.failed, **first.failed}
    commands = dict.fromkeys([first.run["command"], second.run["command"]])
    return replace(
        first,
        run={**first.run, "command": "\n".join(commands)},
        attacks={name: attacks[name] for name in order},
        curves=curves,
        failed={name: why for name, why in failed.items() if name not in attacks},
        audit=joined_audits([one.audit for one in (first, second) if one.audit]),
        baseline=first.baseline or second.baseline,
        groups=(*first.groups, *second.groups),
    )


def _require_same(name: str, first: Attacked, second: Attacked) -> None:
    for what, one, other in (
        ("description", first.described, second.described),
        ("clean AP", first.clean, second.clean),
        ("AP", first.attacked, second.attacked),
    ):
        if one != other:
            raise ValueError(
                f"{name}: another {what} for this attack on the same detector and "
                "frames than an earlier file; make two pages, or leave one file out"
            )
