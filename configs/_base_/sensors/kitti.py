"""What KITTI's sensors deliver: (name, unit, low, high) of each model input channel."""

sensors = dict(
    camera=dict(
        kind="image",
        channels=[
            ("red", "grey levels", 0.0, 255.0),
            ("green", "grey levels", 0.0, 255.0),
            ("blue", "grey levels", 0.0, 255.0),
        ],
    ),
    lidar=dict(
        kind="points",
        columns=("x", "y", "z", "reflectance"),
        channels=[
            ("depth_m", "m", 0.0, 80.0),
            ("height_m", "m", -3.0, 3.0),
            ("reflectance", "1", 0.0, 1.0),
        ],
    ),
    depth=dict(kind="depth", channels=[("depth_m", "m", 0.0, 80.0)]),
)
