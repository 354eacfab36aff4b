"""What a picture of an attack shows, as values: no detector, no file, no drawing.

Everything is at the resolution of the detector's input, except boxes and labels, which
are in pixels of the original image, as data sets and results have them.

Shape letters: S sensors; C, H, W model input; P, Q points; h, w gate map; N labelled
objects; D detections.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from perception.core.gate_state import ALARM, NOBODY, gate_state
from perception.core.geometry import inverse_transform, unproject_to_cam
from perception.core.structures import Calibration, Objects, SensorSpec
from perception.evaluation.detection.matching import match_frame
from perception.evaluation.detection.rules import (
    KITTI_DIFFICULTIES,
    ClassRule,
    Difficulty,
    rules_with_overlaps,
)
from perception.visualization.boxes import BoxLayer


@dataclass(frozen=True)
class View:
    """What a detector was given and what it made of it.

    Attributes:
        inputs: For each sensor (C, H, W) in physical units, without padding.
        points: For each point sensor its cloud (P, 3 + F).
        detections: In pixels of the original image, with scores.
        gate: (S + 1,) probabilities, None for a detector without a gate.
        gate_map: (S + 1, H, W) or (S + 1, h, w) over the image, None if it is not
            spatial.
        alarm: Above 0 if the gate is sure that some sensor is compromised, whether or
            not it tells which; None for a detector that has no such alarm.
        loss: Detection loss, None where there are no labels.
    """

    inputs: Mapping[str, np.ndarray]
    points: Mapping[str, np.ndarray]
    detections: Objects
    gate: np.ndarray | None = None
    gate_map: np.ndarray | None = None
    alarm: float | None = None
    loss: float | None = None

    def state(self, sensors: Sequence[str]) -> str | None:
        """What the gate makes of the frame, see ``core.gate_state``.

        None without a gate or alarm: such a gate has nothing to add to its likeliest.
        """
        if self.gate is None or self.alarm is None:
            return None
        return gate_state(self.gate.tolist(), sensors, self.alarm)


def state_text(state: str, *, brief: bool = False) -> str:
    """A gate's state in words; ``brief`` does not say what it means."""
    if state == NOBODY:
        return "no alarm"
    if state == ALARM:
        return "alarm" if brief else "alarm: some sensor is compromised"
    return f"alarm: {state}" if brief else f"alarm: {state} is compromised"


@dataclass(frozen=True)
class Scene:
    """One frame seen by one detector, clean and, if there was an attack, attacked.

    Attributes:
        frame_id: Name of the frame.
        sensors: The detector's sensors, in the order of its gate.
        calibration: Fits the model inputs.
        image_size: (H, W) of the model inputs without padding.
        original_size: (H, W) of the image that boxes are measured in.
        truth: Labels, None where there are none.
        clean: On the frame as it is.
        attacked: On the attacked frame, None without an attack.
        touched: Names of the sensors that the attacker may change.
        picture: (H, W, 3) uint8 RGB for a detector without a camera of its own.
        detector: What to call the detector.
        attack: What to call the attack.
        facts: Further (name, value) pairs to tell about the attack.
        regions: For each object certified in metres the polygon (K, 2) x, z in metres
            that no attack on a touched sensor, or on any one if none is, moves it out
            of.
    """

    frame_id: str
    sensors: Mapping[str, SensorSpec]
    calibration: Calibration
    image_size: tuple[int, int]
    original_size: tuple[int, int]
    truth: Objects | None
    clean: View
    attacked: View | None = None
    touched: tuple[str, ...] = ()
    picture: np.ndarray | None = None
    detector: str = ""
    attack: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    regions: tuple[np.ndarray, ...] = ()

    @property
    def last(self) -> View:
        """The attacked view, or the clean one where there was no attack."""
        return self.attacked or self.clean

    @property
    def is_in_space(self) -> bool:
        """Whether the detector says boxes in metres."""
        return any(
            one.detections.boxes_3d is not None for one in (self.clean, self.last)
        )

    def backdrop(self, view: View) -> np.ndarray | None:
        """(H, W, C) picture to draw boxes on, in 0 … 255; None without a camera."""
        for name, spec in self.sensors.items():
            if spec.kind == "image":
                return view.inputs[name].transpose(1, 2, 0)
        return self.picture

    def changed_points(self) -> dict[str, PointChanges]:
        """What the attack did to each attacked point sensor, in its own frame."""
        if self.attacked is None:
            return {}
        changes = {}
        for name in self.touched:
            spec = self.sensors.get(name)
            if spec is None or spec.kind != "points":
                continue
            before, after = self.clean.points[name], self.attacked.points[name]
            if before is not after:
                changes[name] = point_changes(before, after)
            elif any(channel.name == "depth_m" for channel in spec.channels):
                rasters = (self.clean.inputs[name], self.attacked.inputs[name])
                changes[name] = raster_changes(*rasters, spec, self.calibration)
        return changes


@dataclass(frozen=True)
class PointChanges:
    """Points in the sensor's frame, metres, that an attack changed.

    Attributes:
        moved_from: (M, 3) where moved points were.
        moved_to: (M, 3) where they are.
        added: (A, 3) points that were not there.
        removed: (R, 3) points that are gone.
    """

    moved_from: np.ndarray
    moved_to: np.ndarray
    added: np.ndarray
    removed: np.ndarray

    def count(self, kind: str) -> int:
        """How many points were ``moved``, ``added`` or ``removed``."""
        return len(getattr(self, "moved_to" if kind == "moved" else kind))


def point_changes(clean: np.ndarray, attacked: np.ndarray) -> PointChanges:
    """Compare two clouds (P, 3 + F) and (Q, 3 + F).

    Clouds of equal length are compared row by row: what differs in place has moved.
    Otherwise a row found in one cloud alone was removed or added.
    """
    before = np.ascontiguousarray(clean[:, :3], dtype=np.float32)
    after = np.ascontiguousarray(attacked[:, :3], dtype=np.float32)
    none = np.zeros((0, 3), dtype=np.float32)
    if len(before) == len(after):
        moved = (before != after).any(axis=1)
        return PointChanges(before[moved], after[moved], none, none)
    rows = np.dtype((np.void, before.dtype.itemsize * 3))
    # Adding 0 turns -0.0 into 0.0, which compare equal but differ in their bytes.
    keys_before = (before + 0).view(rows).ravel()
    keys_after = (after + 0).view(rows).ravel()
    added = after[~np.isin(keys_after, keys_before)]
    return PointChanges(none, none, added, before[~np.isin(keys_before, keys_after)])


def raster_changes(
    clean: np.ndarray, attacked: np.ndarray, spec: SensorSpec, calibration: Calibration
) -> PointChanges:
    """What an attack on a map of points would mean in space.

    A pixel whose depth changed is a point that moved on the pixel's ray; one that
    gained or lost its return is a point added or removed.

    Args:
        clean: (C, H, W) model input with a channel ``depth_m``.
        attacked: Likewise.
        spec: Of the point sensor.
        calibration: Fits the model input.
    """
    index = [channel.name for channel in spec.channels].index("depth_m")
    before, after = clean[index], attacked[index]
    sensor_T_cam = inverse_transform(calibration.cam_T_sensor[spec.name])

    def located(depth_m: np.ndarray, where: np.ndarray) -> np.ndarray:
        rows, columns = np.nonzero(where)
        pixels = np.stack([columns, rows], axis=-1).astype(np.float64)
        depths_m = depth_m[rows, columns]
        cam = unproject_to_cam(calibration.image_P_cam, pixels, depths_m)
        return cam @ sensor_T_cam[:3, :3].T + sensor_T_cam[:3, 3]

    moved = (before > 0) & (after > 0) & (before != after)
    return PointChanges(
        moved_from=located(before, moved),
        moved_to=located(after, moved),
        added=located(after, (before <= 0) & (after > 0)),
        removed=located(before, (before > 0) & (after <= 0)),
    )


@dataclass(frozen=True)
class Judge:
    """How detections are judged in pictures: by the same rules as the figures.

    Attributes:
        rules: What counts as found, per class; other classes are ignored.
        difficulty: What has to be found.
        score_threshold: Detections below it are not drawn.
    """

    rules: Sequence[ClassRule]
    difficulty: Difficulty = KITTI_DIFFICULTIES[-1]
    score_threshold: float = 0.3

    @classmethod
    def at_half_overlap(
        cls, classes: Sequence[str], score_threshold: float = 0.3
    ) -> Judge:
        """An overlap of 0.5 for each class."""
        rules = rules_with_overlaps(dict.fromkeys(classes, 0.5))
        return cls(rules, score_threshold=score_threshold)

    def __call__(self, truth: Objects | None, detections: Objects) -> Verdict:
        """Judge one frame; without labels everything is merely detected."""
        scores = detections.scores
        if scores is not None:
            detections = detections.select(scores >= self.score_threshold)
        if truth is None:
            status = np.full(len(detections), "detected", dtype=object)
            unjudged = np.zeros(0, dtype=object), detections, status
            return Verdict(None, *unjudged, 0, np.zeros(0, int))
        nothing, wanted = detections.select(np.zeros(len(detections), bool)), 0
        truth_state = np.full(len(truth), "ignored", dtype=object)
        state = np.full(len(detections), "ignored", dtype=object)
        taken_by = np.full(len(truth), -1)
        for rule in self.rules:
            match, none = (
                match_frame(truth, found, rule, self.difficulty, self.score_threshold)
                for found in (detections, nothing)
            )
            wanted += int((none.truth == "missed").sum())
            for word in ("found", "missed"):
                truth_state[match.truth == word] = word
            was_found = match.truth == "found"
            taken_by[was_found] = match.taken_by[was_found]
            state[match.detections == "right"] = "correct"
            state[match.detections == "wrong"] = "false"
        return Verdict(truth, truth_state, detections, state, wanted, taken_by)


@dataclass(frozen=True)
class Verdict:
    """What became of N labels and D detections of one frame.

    Attributes:
        truth: The labels, None where there are none.
        truth_state: (N,) ``found``, ``missed`` or ``ignored``.
        detections: Those that reach the score threshold.
        state: (D,) ``correct``, ``false``, ``ignored`` or ``detected`` (not judged).
        wanted: How many labels have to be found. More than are found or missed, if a
            detection that is ignored lies on one.
        taken_by: (N,) number of the detection of each label found, -1 for the others.
    """

    truth: Objects | None
    truth_state: np.ndarray
    detections: Objects
    state: np.ndarray
    wanted: int
    taken_by: np.ndarray

    def count(self, word: str) -> int:
        """How many labels and detections are in a state."""
        return int((self.truth_state == word).sum() + (self.state == word).sum())

    def __str__(self) -> str:
        """``3 of 4 found, 1 false``, or the number of detections without labels."""
        if self.truth is None:
            return f"{len(self.detections)} detected"
        found, false = self.count("found"), self.count("false")
        return f"{found} of {self.wanted} found, {false} false"

    def layers(self) -> list[BoxLayer]:
        """2D boxes: labels below, detections above; only what needs it is tagged."""
        layers = []
        if self.truth is not None:
            names = {"found": "ground_truth", "missed": "missed", "ignored": "ignored"}
            for word in ("ignored", "found", "missed"):
                objects = self.truth.select(self.truth_state == word)
                layers.append(BoxLayer(objects, names[word], tagged=word == "missed"))
        return [*layers, BoxLayer(self.detections, list(self.state))]

    @property
    def is_in_space(self) -> bool:
        """Whether detections are boxes in metres."""
        return self.detections.boxes_3d is not None

    def layers_in_space(self) -> list[BoxLayer]:
        """3D boxes: labels below, detections above; without any labels alone."""
        if not self.is_in_space:
            return self.truth_in_space()
        layers = []
        if self.truth is not None:
            styles = {"found": "ground_truth"}
            states = [styles.get(word, word) for word in self.truth_state]
            layers.append(BoxLayer(self.truth, states))
        return [*layers, BoxLayer(self.detections, list(self.state))]

    def moved_from(self, before: Verdict) -> np.ndarray:
        """(K, 2, 3) where labels found by both were said to be, before and now."""
        if not (self.is_in_space and before.is_in_space):
            return np.zeros((0, 2, 3))
        both = (self.taken_by >= 0) & (before.taken_by >= 0)
        places = [
            one.detections.location_m[one.taken_by[both]] for one in (before, self)
        ]
        return np.stack(places, axis=1)

    def truth_in_space(self) -> list[BoxLayer]:
        """3D boxes of the labels, styled by whether they were found."""
        if self.truth is None:
            return []
        styles = {"found": "correct", "missed": "missed", "ignored": "ignored"}
        return [BoxLayer(self.truth, [styles[word] for word in self.truth_state])]
