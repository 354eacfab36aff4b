"""Objects for the tests of the evaluation, and a slow evaluation to compare with."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from shapely.geometry import Polygon

from perception.core.structures import Objects
from perception.evaluation.detection.rules import KITTI_CLASSES, Difficulty

EASY = Difficulty("easy", 40, 0, 0.15)
MODERATE = Difficulty("moderate", 25, 1, 0.30)
CAR, PEDESTRIAN, CYCLIST = KITTI_CLASSES


def objects_of(
    names: str | Sequence[str],
    boxes_px: Sequence[Sequence[float]],
    scores: Sequence[float] | None = None,
    **columns: object,
) -> Objects:
    """Objects at hand: fully visible, and the other columns as given."""
    names = names.split() if isinstance(names, str) else list(names)
    known = {"truncation": np.zeros(len(names)), "occlusion": np.zeros(len(names), int)}
    known |= {name: np.asarray(value) for name, value in columns.items()}
    return replace(
        Objects.from_boxes(names, boxes_px, scores),
        **known,
    )


def random_frame(rng: np.random.Generator, is_detection: bool) -> Objects:
    """A crowded little frame full of ties, neighbours, regions and small boxes."""
    count = int(rng.integers(0, 7))
    choice = ["Car", "car", "Van", "Pedestrian", "Person_sitting", "Cyclist", "Tram"]
    names = rng.choice(choice if is_detection else [*choice, "DontCare"], count)
    corner = rng.choice([0.0, 4.0, 10.0], (count, 2))
    size = np.column_stack(
        [rng.choice([50.0, 56.0], count), rng.choice([20.0, 39.5, 40.0, 44.0], count)]
    )
    known = names != "DontCare"
    location = np.column_stack(
        [rng.choice([0, 0.3, 1.0], count), np.full(count, 1.6), np.full(count, 20.0)]
    )
    dimensions = rng.choice([1.5, 1.7], (count, 3)) * [1, 1, 2.5]
    return Objects(
        names=names.astype(object),
        boxes_px=np.hstack([corner, corner + size]),
        truncation=rng.choice([0.0, 0.2, 0.4], count),
        occlusion=rng.integers(0, 4, count),
        alpha=np.where(known, rng.uniform(-3, 3, count), -10),
        dimensions_m=np.where(known[:, None], dimensions, -1),
        location_m=np.where(known[:, None], location, -1000),
        rotation_y=np.where(known, rng.choice([0.0, 0.1, 3.0], count), -10),
        scores=rng.choice([0.1, 0.4, 0.5, 0.9], count) if is_detection else None,
    )


def ground_polygon(objects: Objects, i: int) -> Polygon:
    x, _, z = objects.location_m[i]
    _, width, length = np.abs(objects.dimensions_m[i])
    cos, sin = np.cos(objects.rotation_y[i]), np.sin(objects.rotation_y[i])
    signs = [(1, 1), (1, -1), (-1, -1), (-1, 1)]
    half = [(a * length / 2, b * width / 2) for a, b in signs]
    return Polygon([(x + cos * a + sin * b, z - sin * a + cos * b) for a, b in half])


def slow_overlap(det: Objects, i: int, gt: Objects, j: int, metric: str) -> float:
    if metric in ("2d", "aos"):
        a, b = det.boxes_px[i], gt.boxes_px[j]
        w, h = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
        shared = max(w, 0) * max(h, 0)
        sizes = [(c[2] - c[0]) * (c[3] - c[1]) for c in (a, b)]
    else:
        polygons = [ground_polygon(det, i), ground_polygon(gt, j)]
        shared = polygons[0].intersection(polygons[1]).area
        sizes = [polygon.area for polygon in polygons]
        if metric == "3d":
            low = [o.location_m[k, 1] for o, k in ((det, i), (gt, j))]
            tall = [o.dimensions_m[k, 0] for o, k in ((det, i), (gt, j))]
            top = max(low[0] - tall[0], low[1] - tall[1])
            shared *= max(0.0, min(low) - top)
            sizes = [np.prod(det.dimensions_m[i]), np.prod(gt.dimensions_m[j])]
    is_region = gt.names[j].lower() == "dontcare"
    whole = sizes[0] if is_region else sizes[0] + sizes[1] - shared
    return shared / whole if shared > 0 else 0.0


def slow_frame(gt, det, rule, level, metric, threshold):
    """Walk through one frame object by object: hits (pairs) and wrong detections."""
    least, counting = rule.overlap_for(metric), threshold is not None
    used = [counting and score < threshold for score in det.scores]
    below = list(used)
    small = [b[3] - b[1] < level.min_height_px for b in det.boxes_px]
    own = [name.lower() == rule.name.lower() for name in det.names]
    hits = []
    for j, name in enumerate(gt.names):
        same = name.lower() == rule.name.lower()
        if not same and name not in rule.neighbours:
            continue
        hard = (
            gt.boxes_px[j][3] - gt.boxes_px[j][1] < level.min_height_px
            or gt.occlusion[j] > level.max_occlusion
            or gt.truncation[j] > level.max_truncation
        )
        best, best_key = None, None
        for i in range(len(det)):
            if used[i] or not (own[i] or small[i]):
                continue
            if (overlap := slow_overlap(det, i, gt, j, metric)) <= least:
                continue
            if counting:
                key = (0, 0) if small[i] else (1, overlap)
            else:
                key = (det.scores[i],)
            if best is None or key > best_key:
                best, best_key = i, key
        if best is not None:
            used[best] = True
            if same and not hard and not small[best]:
                hits.append((j, best))
    regions = [j for j, name in enumerate(gt.names) if name == "DontCare"]
    wrong = [
        i
        for i in range(len(det))
        if own[i]
        and not (small[i] or used[i] or below[i])
        and not any(slow_overlap(det, i, gt, j, metric) > least for j in regions)
    ]
    return hits, wrong


def slow_ap(truth, found, rule, level, metric) -> tuple[float, float]:
    """R11 and R40 in percent, computed the long way."""
    frames = list(zip(truth, found, strict=True))
    scores, objects = [], 0
    for gt, det in frames:
        hits, _ = slow_frame(gt, det, rule, level, metric, None)
        scores += [det.scores[i] for _, i in hits]
        objects += sum(
            name.lower() == rule.name.lower()
            and box[3] - box[1] >= level.min_height_px
            and occlusion <= level.max_occlusion
            and truncation <= level.max_truncation
            for name, box, occlusion, truncation in zip(
                gt.names, gt.boxes_px, gt.occlusion, gt.truncation, strict=True
            )
        )
    scores.sort(reverse=True)
    curve, target = [], 0.0
    for i, score in enumerate(scores):
        here, after = (i + 1) / objects, (i + 2) / objects
        if i + 1 < len(scores) and after - target < target - here:
            continue
        target += 1 / 40
        gain, counted = 0.0, 0
        for gt, det in frames:
            hits, wrong = slow_frame(gt, det, rule, level, metric, score)
            counted += len(hits) + len(wrong)
            for j, k in hits:
                turn = gt.alpha[j] - det.alpha[k]
                gain += (1 + np.cos(turn)) / 2 if metric == "aos" else 1
        curve.append(gain / counted if counted else 0.0)
    curve += [0.0] * (41 - len(curve))
    curve = [max(curve[k:]) for k in range(41)]
    return 100 * sum(curve[::4]) / 11, 100 * sum(curve[1:]) / 40
