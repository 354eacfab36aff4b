"""Corruptions of sensors, with a severity from 1 to 5, without an attacker."""

from perception.corruptions.base import (
    CORRUPTIONS,
    KINDS,
    Corruption,
    NoEffectError,
    build_perturbation,
)
from perception.corruptions.in_time import TimeFailure
from perception.corruptions.published import PublishedCorruption

__all__ = [
    "CORRUPTIONS",
    "KINDS",
    "Corruption",
    "NoEffectError",
    "PublishedCorruption",
    "TimeFailure",
    "build_perturbation",
]
