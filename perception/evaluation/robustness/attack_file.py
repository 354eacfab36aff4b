"""Named attacks from a config file, changed as the command line asks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

from mmengine.config import Config

from perception.attacks import ATTACKS, THREATS, Attack, build_attack
from perception.attacks.searches.black_box import with_sources
from perception.core.checkpoints import local_file, sha256
from perception.core.structures import DataError
from perception.core.words import did_you_mean
from perception.datasets.splits import listing as shortened
from perception.evaluation.robustness.cell import describe_attack
from perception.targets.loading import load_target


class AttackFile:
    """A file like ``configs/_base_/attacks/standard.py``.

    Args:
        path: The file; it defines ``attacks`` and may define ``suites``.

    Raises:
        DataError: If it is missing, cannot be read or defines no attacks.
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = path
        if not Path(path).is_file():
            raise DataError(
                f"{path}: no such attacks file; --attacks takes another one, and "
                "the standard one comes with the repository (pip install -e .)"
            )
        try:
            content = Config.fromfile(path).to_dict()
        except Exception as error:  # a config is code: anything can go wrong in it
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise DataError(f"{path}: not a usable attacks file ({reason})") from error
        self.attacks: dict[str, dict] = content.get("attacks", {})
        self.suites: dict[str, list[str]] = content.get("suites", {})
        if not self.attacks:
            raise DataError(f"{path}: defines no `attacks`")

    def names(
        self, wanted: Iterable[str], sensors: Sequence[str] | None = None
    ) -> list[str]:
        """Names of attacks from names of attacks and suites, each once.

        Args:
            wanted: What was asked for.
            sensors: A suite's attacks on other sensors than these are left out;
                attacks asked for by name are not.

        Raises:
            DataError: If a name is neither; says which is meant, or all that there are.
        """
        chosen: list[str] = []
        for name in wanted:
            if name in self.attacks:
                chosen.append(name)
            elif name in self.suites:
                chosen += [
                    one
                    for one in self.suites[name]
                    if sensors is None or self._touched(one) <= set(sensors)
                ]
            else:
                near = did_you_mean(name, [*self.attacks, *self.suites])
                names = f"; there are {', '.join(self.attacks)} and the suites "
                names += f"{', '.join(self.suites)}"
                raise DataError(f"{self.path}: no threat {name!r}{near or names}")
        return list(dict.fromkeys(chosen))

    def build(
        self,
        name: str,
        changes: Mapping[str, Any] | None = None,
        *,
        source: Mapping[str, str] | None = None,
        patch: str | None = None,
        device: str = "cpu",
    ) -> tuple[Attack, dict[str, Any]]:
        """An attack; with changes its name tells them: ``camera_pgd@eps=8``.

        Args:
            name: Name of the attack.
            changes: Fields of the threat model that replace the file's.
            source: ``config`` and ``checkpoint`` of the detector on which a transfer
                attack is crafted; None takes the file's.
            patch: Picture of a trained patch that a patch threat shows instead of
                searching for one; its name tells it: ``camera_patch_face@patch=sign``.
            device: Where the source detector runs.

        Returns:
            The attack and its description in plain values.

        Raises:
            DataError: If the threat model has no such field or refuses the value.
        """
        config = dict(self._config(name))
        if source is not None and "source" in config:
            config["source"] = source
        changes = dict(changes or {})
        self._check_changes(name, config["threat"], changes)
        told = [f"{field}={_told(value)}" for field, value in changes.items()]
        shown = patch if config["threat"]["type"] == "PatchThreat" else None
        if shown is not None:
            config = dict(type="FixedPatch", texture=shown, threat=config["threat"])
            told.append(f"patch={_told(Path(shown).stem)}")
        name = "@".join([name, ",".join(told)] if told else [name])
        loadable = with_sources(config, partial(load_target, device=device))
        try:
            attack = build_attack(name, loadable, **changes)
        except (ValueError, KeyError) as error:
            raise DataError(str(error)) from error
        description = describe_attack(attack, config)
        if description.get("texture", "grey") not in ("grey", "noise"):
            picture = description.pop("texture")
            description["patch"] = {"picture": picture, "sha256": sha256(picture)}
        if "source" in config:
            weights = local_file(config["source"]["checkpoint"])
            description["source"] = {**config["source"], "sha256": sha256(weights)}
        return attack, description

    def right_pictures(self, names: Iterable[str]) -> list[str]:
        """Names of the right pictures that attacks through a stereo matcher need."""
        threats = [self._config(name)["threat"] for name in names]
        stereo = [one for one in threats if one["type"] == "StereoThreat"]
        return list(dict.fromkeys(one.get("right", "right") for one in stereo))

    def listing(self) -> str:
        """One line per attack and suite; severities of one failure share a line."""
        rows = []
        for name in self.attacks:
            stem, _, severity = name.rpartition("_")
            if severity.isdigit() and severity != "1" and f"{stem}_1" in self.attacks:
                continue
            last = 1
            while severity == "1" and f"{stem}_{last + 1}" in self.attacks:
                last += 1
            rows.append((name if last == 1 else f"{name} … {last}", self._config(name)))
        width = max(len(title) for title, _ in rows) + 2
        lines = [
            f"{title:<{width}}{config['type']:<15}{_summary(config['threat'])}"
            for title, config in rows
        ]
        for suite, names in self.suites.items():
            lines.append(f"suite {suite}: {shortened(names, 8)}")
        return "\n".join(lines)

    def _config(self, name: str) -> dict[str, Any]:
        config = self.attacks[name]
        if "type" not in config or "type" not in config.get("threat", {}):
            raise DataError(
                f"{self.path}: attack {name!r} must be a dict with type and "
                "threat=dict(type=…, …)"
            )
        return config

    def _touched(self, name: str) -> set[str]:
        threat = self._config(name)["threat"]
        parts = threat.get("parts", [threat])
        return {part["sensor"] for part in parts if "sensor" in part}

    def _check_changes(
        self, name: str, threat: Mapping[str, Any], changes: Mapping[str, Any]
    ) -> None:
        threat_class = THREATS.get(threat["type"])
        if threat_class is None or ATTACKS.get(self.attacks[name]["type"]) is None:
            return  # build_attack names the unknown type
        known = [field.name for field in fields(threat_class) if field.init]
        for field, value in changes.items():
            if field not in known or field == "name":
                raise DataError(
                    f"threat {name!r} has no {field} to change, only "
                    f"{', '.join(known[1:])}"
                )
            budgets = threat.get(field)
            if isinstance(budgets, Mapping) and not isinstance(value, Mapping):
                each = " ".join(f"{k}={v:.3g}" for k, v in budgets.items())
                raise DataError(
                    f"threat {name!r} has one {field} per channel: give {field} as "
                    f"CHANNEL=VALUE …, e.g. {each}"
                )


def _summary(threat: Mapping[str, Any]) -> str:
    """The kind of a threat, its sensor and its other fields, in one line."""
    told = dict(threat)
    kind, sensor = told.pop("type"), told.pop("sensor", "")
    if parts := told.pop("parts", None):
        sensor = "+".join(part.get("sensor", "?") for part in parts)
    fields = " ".join(f"{field}={_told(value)}" for field, value in told.items())
    return f"{kind:<14}{sensor:<19}{fields}"


def _told(value: Any) -> str:
    """A value as part of a name."""
    if isinstance(value, Mapping):
        return "+".join(f"{key}-{_told(one)}" for key, one in value.items())
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return "".join(c if c.isalnum() or c in "._-+" else "_" for c in text)
