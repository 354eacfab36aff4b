"""Corruptions of sensors, with a severity from 1 to 5, without an attacker."""

from perception.corruptions.base import (
    CORRUPTIONS,
    KINDS,
    Corruption,
    NoEffectError,
    build_perturbation,
)

__all__ = ["CORRUPTIONS", "KINDS", "Corruption", "NoEffectError", "build_perturbation"]
