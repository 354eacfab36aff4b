"""Scoring detections."""
