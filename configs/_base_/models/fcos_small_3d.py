"""fcos_small.py with boxes in metres; mean sizes are the synthetic training set's."""

_base_ = "fcos_small.py"

# height, width, length in metres of Car (with Van), Pedestrian, Cyclist
mean_sizes_m = [[1.68, 1.92, 4.40], [1.65, 0.58, 0.76], [1.79, 0.63, 1.71]]
metric = dict(
    type="FCOS3DHead",
    mean_sizes_m=mean_sizes_m,
    mean_depth_m=16.0,
    focal_px=185.6,  # of the synthetic camera at 320x96
)
bbox_head = dict(**metric)
branch_head = dict(**metric)
model = dict(bbox_head=bbox_head)
