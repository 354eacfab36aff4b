"""Pictures of frames, sensors, attacks and detections, as (H, W, 3) uint8 RGB arrays.

Drawing never changes its input. Panels (``*_panel``) compose into sheets through
``row``, ``stack``, ``grid`` and ``titled_sheet``; ``draw_frame`` is a whole sheet.
"""

from perception.visualization.bev import bev_panel
from perception.visualization.boxes import BoxLayer, draw_boxes, draw_boxes_3d
from perception.visualization.changes import PointChanges, change_legend, point_changes
from perception.visualization.frame import draw_frame
from perception.visualization.gate import gate_map_panel, gate_panel, sensor_legend
from perception.visualization.palette import sensor_colour
from perception.visualization.panels import depth_panel, image_panel, points_panel
from perception.visualization.rasters import difference_panel, raster_panels
from perception.visualization.sheet import (
    box_legend,
    grid,
    row,
    stack,
    titled,
    titled_sheet,
)

__all__ = [
    "BoxLayer",
    "PointChanges",
    "bev_panel",
    "box_legend",
    "change_legend",
    "depth_panel",
    "difference_panel",
    "draw_boxes",
    "draw_boxes_3d",
    "draw_frame",
    "gate_map_panel",
    "gate_panel",
    "grid",
    "image_panel",
    "point_changes",
    "points_panel",
    "raster_panels",
    "row",
    "sensor_colour",
    "sensor_legend",
    "stack",
    "titled",
    "titled_sheet",
]
