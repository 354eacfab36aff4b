"""fcos_r18.py with boxes in metres: KITTI's mean sizes and full-size focal length."""

_base_ = "fcos_r18.py"

# height, width, length in metres of Car, Pedestrian, Cyclist
mean_sizes_m = [[1.53, 1.63, 3.88], [1.76, 0.66, 0.84], [1.74, 0.60, 1.76]]
metric = dict(
    type="FCOS3DHead", mean_sizes_m=mean_sizes_m, mean_depth_m=16.0, focal_px=725.0
)
model = dict(bbox_head=metric)
