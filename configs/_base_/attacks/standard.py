"""Every threat model that tables, reports and tools/attack.py know by name.

`attacks` maps a name to an attack and its threat model; `suites` are lists of names,
which --threat takes as well. A file of your own may start from this one:

    _base_ = "<path>/standard.py"
    attacks = dict(camera_weak=dict(type="PGD", threat=dict(
        type="MapThreat", sensor="camera", eps=4.0)))

Budgets of maps are 16/255 of each channel's range; those of points are metres and
numbers of points per frame.
"""

steps = 20
part = 16.0 / 255
lidar_eps = dict(depth_m=80 * part, height_m=6 * part, reflectance=part)
l2 = 3.0  # Euclidean norm of the change, each value in units of its channel's range
queries = 200

camera = dict(type="MapThreat", sensor="camera", eps=255 * part, steps=steps)
lidar = dict(type="MapThreat", sensor="lidar", eps=lidar_eps, steps=steps)
depth = dict(type="MapThreat", sensor="depth", eps=80 * part, steps=steps)
depth_px = dict(depth, eps=2.0, disparity=True)
camera_l2 = dict(camera, norm="l2", eps=255 * l2)
lidar_l2 = dict(
    lidar, norm="l2", eps=dict(depth_m=80 * l2, height_m=6 * l2, reflectance=l2)
)
depth_l2 = dict(depth, norm="l2", eps=80 * l2)
every_sensor = dict(type="JointThreat", parts=[camera, lidar, depth], steps=steps)
asked = dict(steps=queries)

# Every value of a sensor's map may change a little.
maps = dict(
    camera_pgd=dict(type="PGD", threat=camera),
    lidar_pgd=dict(type="PGD", threat=lidar),
    depth_pgd=dict(type="PGD", threat=depth),
    depth_pgd_px=dict(type="PGD", threat=depth_px),
    camera_pgd_l2=dict(type="PGD", threat=camera_l2),
    lidar_pgd_l2=dict(type="PGD", threat=lidar_l2),
    depth_pgd_l2=dict(type="PGD", threat=depth_l2),
    camera_apgd=dict(type="APGD", threat=camera),
    lidar_apgd=dict(type="APGD", threat=lidar),
    depth_apgd=dict(type="APGD", threat=depth),
    depth_apgd_px=dict(type="APGD", threat=depth_px),
    camera_apgd_l2=dict(type="APGD", threat=camera_l2),
    lidar_apgd_l2=dict(type="APGD", threat=lidar_l2),
    depth_apgd_l2=dict(type="APGD", threat=depth_l2),
)

# Objects shall vanish, or appear where there are none.
goals = dict(
    camera_hide=dict(type="PGD", threat=dict(camera, goal="hide")),
    lidar_hide=dict(type="PGD", threat=dict(lidar, goal="hide")),
    depth_hide=dict(type="PGD", threat=dict(depth, goal="hide")),
    camera_create=dict(type="PGD", threat=dict(camera, goal="create")),
    lidar_create=dict(type="PGD", threat=dict(lidar, goal="create")),
    depth_create=dict(type="PGD", threat=dict(depth, goal="create")),
)

# For boxes in metres: the nearest object shall be detected elsewhere on the ground, or
# all shall, or face elsewhere; with the search that sees past a clamp, and without.
known = dict(camera=camera, lidar=lidar, depth=depth)
in_metres = dict(displace="displace", displace_all="displace:all", heading="heading")
displace = {
    f"{sensor}_{name}": dict(type="PGD", threat=dict(known[sensor], goal=goal))
    for name, goal in in_metres.items()
    for sensor in known
}
displace_interval = {
    f"{name}_interval": dict(
        type="IntervalPGD", threat=dict(displace[name]["threat"], steps=60)
    )
    for name in displace
}

# The attacker knows the gate and the experts; per frame the worst goal counts.
knowing = dict(type="Adaptive", search=dict(type="PGD"))
adaptive = dict(
    camera_adaptive=dict(**knowing, threat=camera),
    lidar_adaptive=dict(**knowing, threat=lidar),
    depth_adaptive=dict(**knowing, threat=depth),
    camera_adaptive_rank=dict(**knowing, threat=dict(camera, goal="rank")),
    lidar_adaptive_rank=dict(**knowing, threat=dict(lidar, goal="rank")),
    depth_adaptive_rank=dict(**knowing, threat=dict(depth, goal="rank")),
)

# Around a gate, from the clean input, where it raises no alarm: at a random start its
# alarm is attributed to the attacked sensor, which then moves the outputs no more, so
# that there is no gradient to follow. Small steps stay where the gate is quiet.
softly = dict(type="PGD", random_start=False)
around = dict(type="Adaptive", ways=("none",), patience=0)
quietly = dict(**around, search=dict(**softly, step_fraction=0.1), weights=(0.1,))
carefully = dict(
    **around, search=dict(**softly, step_fraction=0.05), weights=(0.03, 0.3)
)
quiet = dict(
    camera_pgd_quiet=dict(**quietly, threat=camera),
    lidar_pgd_quiet=dict(**quietly, threat=lidar),
    depth_pgd_quiet=dict(**quietly, threat=depth),
)
careful = dict(
    camera_pgd_careful=dict(**carefully, threat=dict(camera, steps=60)),
    lidar_pgd_careful=dict(**carefully, threat=dict(lidar, steps=60)),
    depth_pgd_careful=dict(**carefully, threat=dict(depth, steps=60)),
)

# Past the clamp of interval-bounded aggregators; elsewhere PGD that keeps a gate quiet.
# On consensus_robust it leaves the least AP of all attacks here.
interval = dict(
    camera_interval=dict(type="IntervalPGD", threat=dict(camera, steps=60)),
    lidar_interval=dict(type="IntervalPGD", threat=dict(lidar, steps=60)),
    depth_interval=dict(type="IntervalPGD", threat=dict(depth, steps=60)),
)

# Without gradients of the victim: steps are queries or draws.
source = dict(
    config="configs/synthetic/concat.py",
    checkpoint="data/zoo/concat.safetensors",
)
black_box = dict(
    camera_square=dict(type="SquareAttack", threat=dict(camera, **asked)),
    lidar_square=dict(type="SquareAttack", threat=dict(lidar, **asked)),
    depth_square=dict(type="SquareAttack", threat=dict(depth, **asked)),
    # All that they are told is boxes and scores: for detectors that say nothing else.
    camera_square_predictions=dict(
        type="SquareAttack", threat=dict(camera, **asked, goal="predictions")
    ),
    camera_noise_predictions=dict(
        type="RandomNoise", threat=dict(camera, goal="predictions")
    ),
    camera_noise=dict(type="RandomNoise", threat=camera),
    lidar_noise=dict(type="RandomNoise", threat=lidar),
    depth_noise=dict(type="RandomNoise", threat=depth),
)
transfer = dict(
    camera_transfer=dict(type="TransferAttack", source=source, threat=camera),
    lidar_transfer=dict(type="TransferAttack", source=source, threat=lidar),
    depth_transfer=dict(type="TransferAttack", source=source, threat=depth),
)

# The strongest attack here: the worst of these for every frame. Report this one.
members = [
    dict(type="IntervalPGD"),
    dict(type="IntervalPGD", step_fraction=0.02, warm=True, effort=0.7),
    dict(**softly, step_fraction=0.05, goal="detection|none*0.03"),
    dict(type="IntervalPGD", goal="rank", warm=True, effort=0.7),
    dict(type="APGD", goal="rank", effort=0.3),
    dict(type="TransferAttack", source=source, effort=0.3),
    dict(type="SquareAttack", effort=2.0),
]
together = dict(type="Ensemble", members=members, patience=3)
strongest = dict(
    camera_strongest=dict(**together, threat=dict(camera, steps=60)),
    lidar_strongest=dict(**together, threat=dict(lidar, steps=60)),
    depth_strongest=dict(**together, threat=dict(depth, steps=60)),
)

# Raw LiDAR points: moved along their ray or anywhere, added, dropped, repainted.
shift = dict(type="PointShift", sensor="lidar", radius_m=0.5, steps=steps)
add = dict(type="PointAdd", sensor="lidar", count=200, steps=steps)
drop = dict(type="PointDrop", sensor="lidar", count=1000, steps=steps)
repaint = dict(
    type="PointFeatures", sensor="lidar", eps=dict(reflectance=0.25), steps=steps
)
points = dict(
    lidar_shift=dict(type="PGD", threat=shift),
    lidar_shift_3d=dict(type="PGD", threat=dict(shift, along="free")),
    lidar_add=dict(type="PGD", threat=add),
    lidar_drop=dict(type="PGD", threat=drop),
    lidar_reflectance=dict(type="PGD", threat=repaint),
    lidar_shift_3d_quiet=dict(**quietly, threat=dict(shift, along="free")),
    lidar_add_quiet=dict(**quietly, threat=add),
    lidar_drop_quiet=dict(**quietly, threat=drop),
)

# A printed patch: on objects' faces, on the road, and free in the image.
patch = dict(type="PatchThreat", sensor="camera", steps=steps)
on_faces = dict(patch, placement=dict(on="face", size_m=(0.6, 0.6)))
# As large as the front or the rear of a car, which nobody would overlook.
on_cars = dict(
    patch,
    placement=dict(on="face", size_m=(1.6, 1.4), classes=["Car", "Van", "Truck"]),
)
on_road = dict(
    patch, placement=dict(on="road", size_m=(2.0, 4.0), distance_m=12.0), eot=dict()
)
in_image = dict(patch, placement=dict(on="image", size=(0.15, 0.3), center=(0.5, 0.75)))
patches = dict(
    camera_patch_face=dict(type="PGD", threat=dict(on_faces, goal="hide", eot=dict())),
    camera_patch_car=dict(type="PGD", threat=dict(on_cars, goal="hide", eot=dict())),
    camera_patch_road=dict(type="PGD", threat=on_road),
    camera_patch_free=dict(type="PGD", threat=in_image),
    camera_patch_grey=dict(type="FixedPatch", texture="grey", threat=on_faces),
    camera_patch_car_grey=dict(type="FixedPatch", texture="grey", threat=on_cars),
)

# More than one sensor: the left picture and the depth computed from it; all at once.
several = dict(
    stereo_pgd=dict(
        type="PGD",
        threat=dict(type="StereoThreat", sensor="camera", eps=255 * part, steps=steps),
    ),
    all_pgd=dict(type="PGD", threat=every_sensor),
)

# Corruptions, for example camera_blackout_5: severity 1 (hardly noticeable) to 5.
every_kind = ["blackout", "stale", "noise", "view_loss", "fog", "rain"]
every_kind += ["miscalibration", "time_offset"]
kinds = dict(camera=every_kind, lidar=[*every_kind, "beam_loss"], depth=every_kind)
failures = {
    f"{name}_{kind}_{severity}": dict(
        type="Corruption", sensor=name, kind=kind, severity=severity
    )
    for name in kinds
    for kind in kinds[name]
    for severity in (1, 2, 3, 4, 5)
}

# The same in time, for example lidar_late_2: frames have to follow each other.
in_time = {
    f"{name}_{kind}_{severity}": dict(
        type="TimeFailure", sensor=name, kind=kind, severity=severity
    )
    for name in kinds
    for kind in ("late", "jitter", "replay", "frozen", "drift")
    for severity in (1, 2, 3, 4, 5)
}

# Published suites by their names (perception/corruptions/published.py has the levels),
# for example multicorrupt_fog_2; those in time need frames that follow each other.
both, eye, laser = ("camera", "lidar"), ("camera",), ("lidar",)
suite_kinds = dict(
    multicorrupt_beamsreducing=(laser, 3),
    multicorrupt_brightness=(eye, 3),
    multicorrupt_dark=(eye, 3),
    multicorrupt_fog=(both, 3),
    multicorrupt_missingcamera=(eye, 3),
    multicorrupt_motionblur=(both, 3),
    multicorrupt_pointsreducing=(laser, 3),
    multicorrupt_spatialmisalignment=(laser, 3),
    kitti_c_density=(laser, 5),
    kitti_c_cutout=(laser, 5),
    kitti_c_gaussian=(laser, 5),
    kitti_c_uniform=(laser, 5),
    kitti_c_impulse=(laser, 5),
    kitti_c_crosstalk=(laser, 5),
    kitti_c_sunlight=(laser, 5),
    kitti_c_fog=(laser, 5),
    robobev_color_quant=(eye, 3),
    robobev_brightness=(eye, 3),
    robobev_low_light=(eye, 3),
    robobev_frame_lost=(eye, 3),
)
suites_in_time = dict(
    multicorrupt_temporalmisalignment=(both, 3),
    kitti_c_temporal=(laser, 5),
    nuscenes_r_stuck=(both, 5),
)
every_suite = dict(suite_kinds, **suites_in_time)
published = {
    f"{kind}_{severity}": dict(
        type="PublishedCorruption",
        sensors=every_suite[kind][0],
        kind=kind,
        severity=severity,
    )
    for kind in every_suite
    for severity in range(1, every_suite[kind][1] + 1)
}

attacks = dict(
    **maps,
    **goals,
    **displace,
    **displace_interval,
    **quiet,
    **careful,
    **interval,
    **adaptive,
    **black_box,
    **transfer,
    **strongest,
    **points,
    **patches,
    **several,
    **failures,
    **in_time,
    **published,
)

suites = dict(
    quick=["camera_pgd", "lidar_pgd", "depth_pgd"],
    quiet=list(quiet),
    standard=[
        *("camera_pgd", "lidar_pgd", "depth_pgd", "depth_pgd_px"),
        *("camera_apgd", "lidar_apgd", "depth_apgd"),
        *quiet,
        *careful,
        *interval,
        *strongest,
        *adaptive,
        *points,
        *("camera_patch_face", "camera_patch_road", "camera_patch_free"),
        "stereo_pgd",
        "all_pgd",
    ],
    displace=list(displace),
    displace_interval=list(displace_interval),
    full=[
        name
        for name in attacks
        if name not in {*transfer, *displace, *displace_interval}
    ],
    adaptive=[*adaptive, *careful, *interval],
    interval=list(interval),
    strongest=list(strongest),
    transfer=list(transfer),
    failures=list(failures),
    in_time=list(in_time),
    multicorrupt=[f"{k}_{s}" for k in suite_kinds if k[:2] == "mu" for s in (1, 2, 3)],
    kitti_c=[f"{k}_{s}" for k in suite_kinds if k[:2] == "ki" for s in (1, 2, 3, 4, 5)],
    robobev=[f"{k}_{s}" for k in suite_kinds if k[:2] == "ro" for s in (1, 2, 3)],
    published_in_time=[
        f"{k}_{s + 1}" for k in suites_in_time for s in range(suites_in_time[k][1])
    ],
)
