"""Sensor failures: corruptions with a severity from 1 to 5, without an attacker."""

from perception.corruptions.base import Failure, FailureThreat

__all__ = ["Failure", "FailureThreat"]
