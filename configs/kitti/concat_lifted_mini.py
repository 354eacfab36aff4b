"""KITTI at half size, the floor in metres: concat's image boxes, lifted untrained."""

_base_ = "concat_mini.py"
mean_sizes_m = [[1.53, 1.63, 3.88], [1.76, 0.66, 0.84], [1.74, 0.60, 1.76]]
model = dict(lift=dict(mean_sizes_m=mean_sizes_m))
