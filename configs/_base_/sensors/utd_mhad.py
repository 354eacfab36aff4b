"""What UTD-MHAD's sensors deliver: a video of depth, and a worn inertial sensor."""

axes = ("x", "y", "z")
sensors = dict(
    depth=dict(kind="array", channels=[("depth_mm", "mm", 0.0, 4000.0)]),
    accel=dict(kind="array", channels=[(f"accel_{a}", "g", -8.0, 8.0) for a in axes]),
    gyro=dict(
        kind="array", channels=[(f"gyro_{a}", "deg/s", -1000.0, 1000.0) for a in axes]
    ),
)
