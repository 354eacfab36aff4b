"""Single-sensor attacks on any multi-sensor detector."""
