"""Predictions of each sensor and expert to one prediction."""
