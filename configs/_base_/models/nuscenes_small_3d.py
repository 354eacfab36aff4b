"""nuscenes_small.py with boxes in metres, of nuScenes' ten classes."""

_base_ = "nuscenes_small.py"

# height, width, length in metres, in the order of the classes
mean_sizes_m = [
    *([1.73, 1.96, 4.62], [2.83, 2.51, 6.93], [3.50, 2.95, 11.22]),  # car, truck, bus
    *([3.89, 2.94, 12.56], [3.21, 2.85, 6.68]),  # trailer, construction_vehicle
    *([1.77, 0.66, 0.73], [1.46, 0.78, 2.11], [1.29, 0.61, 1.70]),  # pedestrian, cycles
    *([1.08, 0.41, 0.41], [0.99, 2.52, 0.50]),  # traffic_cone, barrier
]
metric = dict(
    type="FCOS3DHead",
    mean_sizes_m=mean_sizes_m,
    mean_depth_m=20.0,
    focal_px=253.3,  # of all cameras but the one behind, at 320x176
)
bbox_head = dict(**metric)
branch_head = dict(**metric)
model = dict(bbox_head=bbox_head)
