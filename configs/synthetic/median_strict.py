"""The median of the sensors' own predictions: the weights of median.py, no margin."""

_base_ = "median.py"
model = dict(aggregator=dict(margin=0.0, box_margin=0.0))
