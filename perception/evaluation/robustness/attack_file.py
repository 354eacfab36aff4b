"""Named attacks from a config file, changed as asked, fitted to a target, described."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.utils import import_modules_from_strings

from perception.attacks import ATTACKS, THREATS, Attack, Perturbation
from perception.attacks.goals import Goal
from perception.attacks.searches.black_box import with_sources
from perception.core.checkpoints import local_file, sha256
from perception.core.config import require_config_file
from perception.core.files import path_part, read_json
from perception.core.structures import DataError, SensorSpec
from perception.core.words import did_you_mean
from perception.corruptions import CORRUPTIONS, build_perturbation
from perception.datasets.splits import listing as shortened
from perception.targets.loading import LoadedTarget, load_target

_SEARCH = ("steps", "restarts", "goal")  # fields that corruptions have none of


@dataclass(frozen=True)
class Named:
    """A perturbation and its description in plain values."""

    perturbation: Perturbation
    description: dict[str, Any]


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
        require_config_file(path, "attacks", (".py", ".json"))
        try:
            content = _content(path)
        except DataError:
            raise
        except Exception as error:  # a config is code: anything can go wrong in it
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise DataError(f"{path}: not a usable attacks file ({reason})") from error
        self.attacks: dict[str, dict] = content.get("attacks", {})
        self.suites: dict[str, list[str]] = content.get("suites", {})
        named = isinstance(self.attacks, dict) and isinstance(self.suites, dict)
        if not named or not all(isinstance(one, list) for one in self.suites.values()):
            raise DataError(
                f"{path}: expected `attacks` {{name: attack}} and `suites` "
                "{name: [attacks]}"
            )
        if not self.attacks:
            raise DataError(f"{path}: defines no `attacks`")
        for name in self.attacks:
            path_part(name, path)  # results of an attack lie in a folder of its name

    def names(
        self, wanted: Iterable[str], sensors: Iterable[str] | None = None
    ) -> list[str]:
        """Names of attacks from names of attacks and suites, each once.

        Args:
            wanted: What was asked for.
            sensors: A suite's attacks on other sensors than these are left out;
                attacks asked for by name are not.

        Raises:
            DataError: If a name is neither; says which is meant, or all that there are.
        """
        known = None if sensors is None else set(sensors)
        chosen: list[str] = []
        for name in wanted:
            if name in self.attacks:
                chosen.append(name)
            elif name in self.suites:
                chosen += [
                    one
                    for one in self.suites[name]
                    if known is None or self._touched(one) <= known
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
        source: tuple[str, str] | None = None,
        patch: str | None = None,
        smaller: Sequence[float] = (),
        target: LoadedTarget | None = None,
        replay: Any = None,
    ) -> Named:
        """An attack; with changes its name tells them: ``camera_pgd@eps=8``.

        Args:
            name: Name of the attack.
            changes: Fields of the threat model that replace the file's; those of a
                search (``steps``, ``restarts``, ``goal``) mean nothing to corruptions.
            source: Config and checkpoint of the detector on which a transfer attack
                is crafted; None takes the file's.
            patch: Picture of a trained patch that a patch threat shows instead of
                searching for one; its name tells it: ``camera_patch_face@patch=sign``.
            smaller: Factors of the budget to search first, see ``NestedBudgets``; its
                name tells them: ``camera_pgd@after=0.25+0.5``.
            target: What it must fit; source detectors run on its device.
            replay: Frames of which a stale sensor shows earlier ones.

        Raises:
            DataError: If the threat model has no such field or refuses the value, or
                does not fit the target.
        """
        config = dict(self._config(name))
        if source is not None and "source" in config:
            config["source"] = dict(zip(("config", "checkpoint"), source, strict=True))
        changes = dict(changes or {})
        if "threat" not in config:
            changes = {k: v for k, v in changes.items() if k not in _SEARCH}
        self._check_changes(name, changes)
        told = [f"{field}={_told(value)}" for field, value in changes.items()]
        if patch is not None and threat_of(config)["type"] == "PatchThreat":
            config = dict(type="FixedPatch", texture=patch, threat=config["threat"])
            told.append(f"patch={_told(Path(patch).stem)}")
        if smaller:
            if "threat" not in config:
                raise DataError(f"threat {name!r} has no budget, so no smaller one")
            search = {k: v for k, v in config.items() if k != "threat"}
            config = dict(
                type="NestedBudgets",
                search=search,
                smaller=tuple(smaller),
                threat=config["threat"],
            )
            told.append("after=" + "+".join(f"{factor:.3g}" for factor in smaller))
        if replay is not None and config["type"] in CORRUPTIONS.module_dict:
            changes["replay"] = replay
        title = "@".join([name, ",".join(told)] if told else [name])
        device = "cpu" if target is None else str(target.device)
        loadable = with_sources(config, partial(load_target, device=device))
        try:
            attack = build_perturbation(title, loadable, **changes)
            if target is not None:
                attack.check(target.sensors)
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            OverflowError,
        ) as error:
            raise DataError(str(error)) from error
        if target is not None:
            _check_unit(threat_of(self._config(name)), changes, target.sensors)
        return Named(attack, _with_files(describe(attack, config), config))

    def right_pictures(self, names: Iterable[str]) -> list[str]:
        """Names of the right pictures that attacks through a stereo matcher need."""
        threats = [threat_of(self._config(name)) for name in names]
        stereo = [one for one in threats if one["type"] == "StereoThreat"]
        return list(dict.fromkeys(one.get("right", "right") for one in stereo))

    def listing(self) -> str:
        """One line per attack and suite; severities of a corruption share a line."""
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
            f"{title:<{width}}{config['type']:<15}{_summary(threat_of(config))}"
            for title, config in rows
        ]
        for suite, names in self.suites.items():
            lines.append(f"suite {suite}: {shortened(names, 5)}")
        return "\n".join(lines)

    def _config(self, name: str) -> dict[str, Any]:
        config = self.attacks[name]
        threat = config.get("threat", {}) if isinstance(config, dict) else {}
        whole = _is_typed(config) and (
            config["type"] in CORRUPTIONS.module_dict
            or (_is_typed(threat) and _all_typed(threat.get("parts", [])))
        )
        if not whole:
            raise DataError(
                f"{self.path}: attack {name!r} must be a dict with type and "
                "threat=dict(type=…, …), or a corruption"
            )
        return config

    def _touched(self, name: str) -> set[str]:
        threat = threat_of(self._config(name))
        parts = threat.get("parts", [threat])
        named = {part["sensor"] for part in parts if "sensor" in part}
        return named | set(threat.get("sensors", ()))

    def _check_changes(self, name: str, changes: Mapping[str, Any]) -> None:
        threat = threat_of(self._config(name))
        made = THREATS.module_dict | CORRUPTIONS.module_dict
        types = ATTACKS.module_dict | CORRUPTIONS.module_dict
        if threat["type"] not in made or self.attacks[name]["type"] not in types:
            return  # build_perturbation names the unknown type
        known = [one.name for one in fields(made[threat["type"]]) if one.init]
        known.remove("name")
        for field, value in changes.items():
            if field not in known:
                shown = ", ".join(one for one in known if one != "replay")
                raise DataError(
                    f"threat {name!r} has no {field} to change, only {shown}"
                )
            budgets = threat.get(field)
            if isinstance(budgets, Mapping) and not isinstance(value, Mapping):
                each = " ".join(f"{k}={v:.3g}" for k, v in budgets.items())
                raise DataError(
                    f"threat {name!r} has one {field} per channel: give {field} as "
                    f"CHANNEL=VALUE …, e.g. {each}"
                )


def _content(path: str | os.PathLike) -> dict[str, Any]:
    """What an attacks file says; a ``.py`` file is run, a ``.json`` file is data."""
    content: dict[str, Any]
    if Path(path).suffix == ".json":
        known = {"attacks", "suites"}
        content = read_json(path, what="attacks")
        if not isinstance(content, dict) or not content.keys() <= known:
            raise DataError(
                f"{path}: expected `attacks` and `suites`, nothing else; a file that "
                "has a _base_ or imports is a .py"
            )
        return content
    content = Config.fromfile(path).to_dict()
    if "custom_imports" in content:  # attacks of one's own register themselves
        import_modules_from_strings(**content["custom_imports"])
    return content


def _is_typed(config: Any) -> bool:
    return isinstance(config, dict) and isinstance(config.get("type"), str)


def _all_typed(parts: Any) -> bool:
    return isinstance(parts, list | tuple) and all(map(_is_typed, parts))


def threat_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The threat model of an attack's config; a corruption is its own."""
    return dict(config.get("threat", config))


def describe(
    perturbation: Perturbation, config: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A perturbation in full, an attack with its threat model, as plain values.

    Args:
        perturbation: What to describe.
        config: What it was built from. Without it, parameters that it does not keep as
            plain values (a patch's texture, another attack) are left out.
    """
    described: dict[str, Any]
    if not isinstance(perturbation, Attack):
        described = plain(perturbation)
        return described
    told: dict[str, Any] = {"type": type(perturbation).__name__}
    told |= {k: v for k, v in (config or {}).items() if k not in ("type", "threat")}
    told |= {
        name: value
        for name, value in vars(perturbation).items()
        if name not in ("threat", "goal")
        and not name.startswith("_")
        and isinstance(value, bool | int | float | str | tuple | dict | None)
    }
    described = plain(told | {"threat": perturbation.threat})
    return described


def _with_files(
    description: dict[str, Any], config: Mapping[str, Any]
) -> dict[str, Any]:
    """Files that an attack was made of, with their SHA-256."""
    told = dict(description)
    if told.get("texture", "grey") not in ("grey", "noise"):
        picture = told.pop("texture")
        told["patch"] = {"picture": picture, "sha256": sha256(picture)}
    if "source" in config:
        weights = local_file(config["source"]["checkpoint"])
        told["source"] = {**config["source"], "sha256": sha256(weights)}
    if "members" in config:
        told["members"] = [_with_files(plain(one), one) for one in config["members"]]
    if isinstance(config.get("search"), Mapping):
        told["search"] = _with_files(plain(config["search"]), config["search"])
    return told


def plain(value: Any) -> Any:
    """What JSON can hold: NaN becomes None, a dataclass its ``type`` and fields.

    Fields that a dataclass leaves out of its own text are left out here as well.
    """
    if isinstance(value, Goal):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        shown = [f.name for f in fields(value) if f.repr]
        described = {name: plain(getattr(value, name)) for name in shown}
        return {"type": type(value).__name__} | described
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return str(value)


def _check_unit(
    threat: Mapping[str, Any],
    changes: Mapping[str, Any],
    sensors: Mapping[str, SensorSpec],
) -> None:
    """Raise DataError if the file's budget is meant for a sensor of another unit."""
    before = threat.get("sensor", "")
    now = changes.get("sensor", before)
    if before == now or "eps" not in threat or "eps" in changes:
        return
    units = {channel.unit for channel in sensors[now].channels}
    known = sensors[before].channels if before in sensors else ()
    if len(units) > 1 or units != {channel.unit for channel in known}:
        raise DataError(
            f"the file's eps is meant for {before!r}; to attack {now!r} give "
            f"--eps in its unit, {' or '.join(sorted(units))}"
        )


def _summary(threat: Mapping[str, Any]) -> str:
    """The kind of a threat, its sensor and its other fields, in one line."""
    told = dict(threat)
    kind, sensor = told.pop("type"), told.pop("sensor", "")
    sensor = sensor or "+".join(told.pop("sensors", ()))
    if parts := told.pop("parts", None):
        sensor = "+".join(part.get("sensor", "?") for part in parts)
    shown = " ".join(f"{field}={_shown(value)}" for field, value in told.items())
    return f"{kind:<14}{sensor:<19}{shown}"


def _shown(value: Any) -> str:
    """A value for people, figures with three digits."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{key} {_shown(one)}" for key, one in value.items())
        return f"({inner})"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_shown, value))}]"
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _told(value: Any) -> str:
    """A value as part of a name."""
    if isinstance(value, Mapping):
        return "+".join(f"{key}-{_told(one)}" for key, one in value.items())
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return "".join(c if c.isalnum() or c in "._-+" else "_" for c in text)
