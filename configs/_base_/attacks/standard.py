"""Every threat model that tables, reports and tools/attack.py know by name.

`attacks` maps a name to an attack and its threat model. Budgets of maps are 16/255 of
each channel's range. A file of your own may start from this one:

    _base_ = "<path>/standard.py"
    attacks = dict(camera_weak=dict(type="PGD", threat=dict(
        type="MapThreat", sensor="camera", eps=4.0)))

`suites` are lists of names; --threat takes their names as well.
"""

steps = 20
grey_levels = 16.0
part = 16.0 / 255
lidar_eps = dict(depth_m=80 * part, height_m=6 * part, reflectance=part)
depth_eps = 80 * part
disparity_px = 2.0
l2 = 3.0  # Euclidean norm of the change, each value in units of its channel's range

camera = dict(type="MapThreat", sensor="camera", eps=grey_levels, steps=steps)
lidar = dict(type="MapThreat", sensor="lidar", eps=lidar_eps, steps=steps)
depth = dict(type="MapThreat", sensor="depth", eps=depth_eps, steps=steps)
depth_px = dict(depth, eps=disparity_px, disparity=True)
every_sensor = dict(type="JointThreat", parts=[camera, lidar, depth], steps=steps)

attacks = dict(
    # Every value of a sensor's map may change a little.
    camera_pgd=dict(type="PGD", threat=camera),
    lidar_pgd=dict(type="PGD", threat=lidar),
    depth_pgd=dict(type="PGD", threat=depth),
    depth_pgd_px=dict(type="PGD", threat=depth_px),
    # Likewise, in the Euclidean norm of the whole frame.
    camera_pgd_l2=dict(type="PGD", threat=dict(camera, norm="l2", eps=255 * l2)),
    lidar_pgd_l2=dict(
        type="PGD",
        threat=dict(
            lidar,
            norm="l2",
            eps=dict(depth_m=80 * l2, height_m=6 * l2, reflectance=l2),
        ),
    ),
    depth_pgd_l2=dict(type="PGD", threat=dict(depth, norm="l2", eps=80 * l2)),
    # Objects to vanish, or to appear where there are none.
    camera_hide=dict(type="PGD", threat=dict(camera, goal="hide")),
    lidar_hide=dict(type="PGD", threat=dict(lidar, goal="hide")),
    depth_hide=dict(type="PGD", threat=dict(depth, goal="hide")),
    camera_create=dict(type="PGD", threat=dict(camera, goal="create")),
    lidar_create=dict(type="PGD", threat=dict(lidar, goal="create")),
    depth_create=dict(type="PGD", threat=dict(depth, goal="create")),
    # The attacker knows the gate and the experts; the worst goal per frame counts.
    camera_adaptive=dict(type="Adaptive", search=dict(type="PGD"), threat=camera),
    lidar_adaptive=dict(type="Adaptive", search=dict(type="PGD"), threat=lidar),
    depth_adaptive=dict(type="Adaptive", search=dict(type="PGD"), threat=depth),
    # Out of scope of single-source robustness: all sensors at once.
    all_pgd=dict(type="PGD", threat=every_sensor),
)

suites = dict(
    quick=["camera_pgd", "lidar_pgd", "depth_pgd"],
    standard=[
        *("camera_pgd", "lidar_pgd", "depth_pgd", "depth_pgd_px"),
        *("camera_adaptive", "lidar_adaptive", "depth_adaptive"),
        "all_pgd",
    ],
    full=list(attacks),
)
