"""Pictures of frames, sensors, attacks and detections, as (H, W, 3) uint8 RGB arrays.

Drawing never changes its input. Panels (``*_panel``) compose into sheets through
``row``, ``stack``, ``grid`` and ``titled_sheet``. Whole sheets are made by
``draw_frame`` (what the sensors saw), ``draw_scene`` (what a detector believed, clean
and attacked) and ``draw_comparison`` (several detectors). In a notebook::

    from perception.apis import build_dataset, load_detector
    from perception.attacks import build_attack
    from perception.visualization import Judge, draw_scene
    from perception.visualization.observe import Observer

    detector = load_detector(CONFIG, CHECKPOINT)
    observer = Observer(detector, build_dataset(CONFIG, "test"), "my detector")
    attack = build_attack("camera_pgd", {"type": "PGD", "threat": {
        "type": "MapThreat", "sensor": "camera", "eps": 4.0}})
    judge = Judge.at_half_overlap(detector.dataset_meta["classes"])
    sheet = draw_scene(observer.attacked(0, attack).scene, judge)
"""

from perception.visualization.attack_sheet import draw_scene
from perception.visualization.bev import bev_panel
from perception.visualization.boxes import BoxLayer, draw_boxes, draw_boxes_3d
from perception.visualization.changes import PointChanges, change_legend, point_changes
from perception.visualization.compare import draw_comparison
from perception.visualization.detections import Judge, Verdict
from perception.visualization.frame import draw_frame
from perception.visualization.gate import gate_map_panel, gate_panel, sensor_legend
from perception.visualization.palette import sensor_colour
from perception.visualization.panels import depth_panel, image_panel, points_panel
from perception.visualization.rasters import difference_panel, raster_panels
from perception.visualization.scene import Scene, View
from perception.visualization.sheet import (
    box_legend,
    grid,
    row,
    stack,
    titled,
    titled_sheet,
)
from perception.visualization.video import write_video

__all__ = [
    "BoxLayer",
    "Judge",
    "PointChanges",
    "Scene",
    "Verdict",
    "View",
    "bev_panel",
    "box_legend",
    "change_legend",
    "depth_panel",
    "difference_panel",
    "draw_boxes",
    "draw_boxes_3d",
    "draw_comparison",
    "draw_frame",
    "draw_scene",
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
    "write_video",
]
