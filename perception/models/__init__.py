"""The multi-sensor detector."""
