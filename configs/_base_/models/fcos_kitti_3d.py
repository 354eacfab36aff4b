"""fcos_small_3d.py with KITTI's mean sizes and its focal length at half size."""

_base_ = "fcos_small_3d.py"

# height, width, length in metres of Car, Pedestrian, Cyclist
mean_sizes_m = [[1.53, 1.63, 3.88], [1.76, 0.66, 0.84], [1.74, 0.60, 1.76]]
metric = dict(mean_sizes_m=mean_sizes_m, focal_px=371.8)
bbox_head = dict(**metric)
branch_head = dict(**metric)
model = dict(bbox_head=bbox_head)
