"""The floor in metres: concat's image boxes and weights, lifted by the depth inside.

Nothing is trained for it; the mean sizes are those of fcos_small_3d.py.
"""

_base_ = "concat.py"
mean_sizes_m = [[1.68, 1.92, 4.40], [1.65, 0.58, 0.76], [1.79, 0.63, 1.71]]
model = dict(lift=dict(mean_sizes_m=mean_sizes_m))
