"""Pictures of frames, sensors, attacks and detections, as (H, W, 3) uint8 RGB arrays.

Drawing never changes its input. Whole sheets are made by ``draw_frame`` (what the
sensors saw), ``draw_scene`` (what a detector believed, clean and attacked) and
``draw_comparison`` (several detectors); ``*_picture`` show one sensor. In a notebook::

    from perception.apis import build_dataset, load_target
    from perception.attacks import build_attack
    from perception.visualization import Judge, draw_scene
    from perception.visualization.observe import Observer

    target = load_target(CONFIG, CHECKPOINT)
    observer = Observer(target, build_dataset(CONFIG, "test"), "my detector")
    attack = build_attack("camera_pgd", {"type": "PGD", "threat": {
        "type": "MapThreat", "sensor": "camera", "eps": 4.0}})
    judge = Judge.at_half_overlap(target.classes)
    sheet = draw_scene(observer.attacked(0, attack).scene, judge)
"""

from perception.visualization.attack_figure import draw_scene
from perception.visualization.boxes import BoxLayer
from perception.visualization.compare_figure import draw_comparison
from perception.visualization.frame_figure import draw_frame
from perception.visualization.images import (
    depth_picture,
    difference_picture,
    gate_picture,
    image_picture,
    points_picture,
    raster_picture,
)
from perception.visualization.scene import Judge, Scene, Verdict, View
from perception.visualization.sheet import Sheet, write_picture
from perception.visualization.style import sensor_colour
from perception.visualization.video import write_video

__all__ = [
    "BoxLayer",
    "Judge",
    "Scene",
    "Sheet",
    "Verdict",
    "View",
    "depth_picture",
    "difference_picture",
    "draw_comparison",
    "draw_frame",
    "draw_scene",
    "gate_picture",
    "image_picture",
    "points_picture",
    "raster_picture",
    "sensor_colour",
    "write_picture",
    "write_video",
]
