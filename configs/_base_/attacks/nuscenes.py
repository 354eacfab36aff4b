"""Threat models for camera, lidar and radar; see standard.py for what the words mean.

Maps: budgets are 16/255 of each channel's range, the gradient is exact. Raw points:
the image is the true one, and so is the gradient of what a point leaves in its pixels;
where it falls and whether it is there are steps, whose gradient is approximated
straight through (perception/attacks/threats/splat.py). A radar's point is an upright
line of such pixels, and its gradient their sum.

Radar: `radar_shift` moves each return along its ray, as an attacker who delays the echo
does; `radar_doppler` changes its radial velocity, as one who shifts its frequency does;
`radar_ghosts` adds returns of any range, velocity and cross-section; `radar_drop` takes
some away.
"""

steps = 20
part = 16.0 / 255
lidar_eps = dict(depth_m=80 * part, height_m=6 * part, reflectance=part)
radar_eps = dict(depth_m=100 * part, velocity_mps=60 * part, rcs_dbsm=70 * part)

camera = dict(type="MapThreat", sensor="camera", eps=255 * part, steps=steps)
lidar = dict(type="MapThreat", sensor="lidar", eps=lidar_eps, steps=steps)
radar = dict(type="MapThreat", sensor="radar", eps=radar_eps, steps=steps)
every_sensor = dict(type="JointThreat", parts=[camera, lidar, radar], steps=steps)
maps = dict(
    camera_pgd=dict(type="PGD", threat=camera),
    lidar_pgd=dict(type="PGD", threat=lidar),
    radar_pgd=dict(type="PGD", threat=radar),
    camera_apgd=dict(type="APGD", threat=camera),
    lidar_apgd=dict(type="APGD", threat=lidar),
    radar_apgd=dict(type="APGD", threat=radar),
    camera_hide=dict(type="PGD", threat=dict(camera, goal="hide")),
    lidar_hide=dict(type="PGD", threat=dict(lidar, goal="hide")),
    radar_hide=dict(type="PGD", threat=dict(radar, goal="hide")),
    camera_adaptive=dict(type="Adaptive", search=dict(type="PGD"), threat=camera),
    lidar_adaptive=dict(type="Adaptive", search=dict(type="PGD"), threat=lidar),
    radar_adaptive=dict(type="Adaptive", search=dict(type="PGD"), threat=radar),
    camera_noise=dict(type="RandomNoise", threat=camera),
    lidar_noise=dict(type="RandomNoise", threat=lidar),
    radar_noise=dict(type="RandomNoise", threat=radar),
    all_pgd=dict(type="PGD", threat=every_sensor),
)

# Around a gate, from the clean input, where it raises no alarm; see standard.py.
quietly = dict(
    type="Adaptive",
    search=dict(type="PGD", random_start=False, step_fraction=0.1),
    weights=(0.1,),
    ways=("none",),
    patience=0,
)
quiet = dict(
    camera_pgd_quiet=dict(**quietly, threat=camera),
    lidar_pgd_quiet=dict(**quietly, threat=lidar),
    radar_pgd_quiet=dict(**quietly, threat=radar),
)

# Ghosts lie in the radar's own plane: one row of cells as wide as the picture.
plane = dict(elevation_deg=(-0.5, 0.5), candidates=(1, 160), range_m=(2.0, 100.0))
shift = dict(type="PointShift", sensor="radar", radius_m=3.0, steps=steps)
doppler = dict(
    type="PointFeatures", sensor="radar", eps=dict(velocity_mps=5.0), steps=steps
)
ghosts = dict(type="PointAdd", sensor="radar", count=20, steps=steps, **plane)
drop = dict(type="PointDrop", sensor="radar", count=20, steps=steps)
radar_points = dict(
    radar_shift=dict(type="PGD", threat=shift),
    radar_doppler=dict(type="PGD", threat=doppler),
    radar_ghosts=dict(type="PGD", threat=ghosts),
    radar_drop=dict(type="PGD", threat=drop),
)
lidar_points = dict(
    lidar_shift=dict(
        type="PGD",
        threat=dict(type="PointShift", sensor="lidar", radius_m=0.5, steps=steps),
    ),
    lidar_add=dict(
        type="PGD", threat=dict(type="PointAdd", sensor="lidar", count=200, steps=steps)
    ),
    lidar_drop=dict(
        type="PGD",
        threat=dict(type="PointDrop", sensor="lidar", count=1000, steps=steps),
    ),
)

# Fog and rain hardly change a radar's returns; it has no beams of different elevation.
every_kind = ["blackout", "stale", "noise", "view_loss", "fog", "rain"]
every_kind += ["miscalibration", "time_offset"]
radar_kinds = [kind for kind in every_kind if kind not in ("fog", "rain")]
kinds = dict(camera=every_kind, lidar=[*every_kind, "beam_loss"], radar=radar_kinds)
failures = {
    f"{name}_{kind}_{severity}": dict(
        type="Corruption", sensor=name, kind=kind, severity=severity
    )
    for name in kinds
    for kind in kinds[name]
    for severity in (1, 2, 3, 4, 5)
}

in_time = {
    f"{name}_{kind}_{severity}": dict(
        type="TimeFailure", sensor=name, kind=kind, severity=severity
    )
    for name in kinds
    for kind in ("late", "jitter", "replay", "frozen", "drift")
    for severity in (1, 2, 3, 4, 5)
}

attacks = dict(**maps, **quiet, **radar_points, **lidar_points, **failures, **in_time)
blackouts = ["camera_blackout_5", "lidar_blackout_5", "radar_blackout_5"]
suites = dict(
    quick=["camera_pgd", "lidar_pgd", "radar_pgd"],
    quiet=list(quiet),
    table=["camera_pgd", "lidar_pgd", "radar_pgd", *blackouts],
    radar=[name for name in attacks if name.startswith("radar")],
    standard=[
        *("camera_pgd", "lidar_pgd", "radar_pgd"),
        *("camera_apgd", "lidar_apgd", "radar_apgd"),
        *quiet,
        *("camera_adaptive", "lidar_adaptive", "radar_adaptive"),
        *radar_points,
        *lidar_points,
        *blackouts,
        "all_pgd",
    ],
    full=list(attacks),
    failures=list(failures),
    in_time=list(in_time),
)
