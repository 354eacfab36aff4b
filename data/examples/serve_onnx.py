"""Serve an exported detector: numpy, OpenCV and onnxruntime, nothing of this project.

    python tools/export.py CONFIG CHECKPOINT --out model.onnx --points --boxes nms
    python data/examples/serve_onnx.py model.onnx data/synthetic/training 001200 001201

For camera, LiDAR and depth map in KITTI's layout; prints class, score and the box in
pixels, and which sensor the gate holds responsible.
"""

import sys

import cv2
import numpy as np
import onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
shapes = {one.name: one.shape for one in session.get_inputs()}
names = [one.name for one in session.get_outputs()]
height, width = shapes["camera"][2:]
for frame in sys.argv[3:]:
    base = f"{sys.argv[2]}/%s/{frame}"
    image = cv2.imread(base % "image_2" + ".png")[:, :, ::-1]
    depth_m = cv2.imread(base % "depth_2" + ".png", cv2.IMREAD_UNCHANGED) / 256
    cloud = np.fromfile(base % "velodyne" + ".bin", np.float32).reshape(-1, 4)
    with open(base % "calib" + ".txt") as file:
        lines = [line.split(":") for line in file if ":" in line]
    calib = {name: np.array(numbers.split(), float) for name, numbers in lines}
    scale = np.diag([width / image.shape[1], height / image.shape[0], 1.0])
    scale[:2, 2] = (scale.diagonal()[:2] - 1) / 2  # pixel centres are whole numbers
    rect, velo = np.eye(4), np.eye(4)
    rect[:3, :3] = calib["R0_rect"].reshape(3, 3)
    velo[:3] = calib["Tr_velo_to_cam"].reshape(3, 4)
    small = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
    depth_m = cv2.warpAffine(
        depth_m, scale[:2], (width, height), flags=cv2.INTER_NEAREST
    )
    inputs = {
        "camera": small.transpose(2, 0, 1)[None],
        "lidar": np.insert(cloud, 0, 0, axis=1),  # the frame's number in the batch
        "depth": depth_m[None, None],
        "lidar_projection": (scale @ calib["P2"].reshape(3, 4) @ rect @ velo)[None],
    }
    inputs = {name: value.astype(np.float32) for name, value in inputs.items()}
    found = dict(zip(names, session.run(None, inputs), strict=True))
    for _, label, location in found["selected"]:
        box = found["boxes"][0, location] / scale.diagonal()[[0, 1, 0, 1]]
        if (score := found["scores"][0, location, label]) >= 0.3:
            print(frame, label, f"{score:.3f}", *box.round(1))
    if "gate" in found:
        print(frame, "gate", *found["gate"][0].round(3))
