"""Trust in each sensor, live: messages come one by one, here from a bag.

PYTHONPATH=. python data/examples/live_monitor.py CONFIG CHECKPOINT MONITOR BAG TOPICS
"""

import sys

from perception.apis import SensorMonitor, as_config, detect, load_detector
from perception.datasets.bags.live import LiveFrames
from perception.datasets.bags.storage import Bag
from perception.datasets.bags.topics import read_topics
from perception.datasets.frame_dataset import FrameDataset

config = as_config(sys.argv[1])
detector = load_detector(config, sys.argv[2])
monitor = SensorMonitor.load(sys.argv[3])
data = config.test_dataloader.dataset
with Bag(sys.argv[4]) as bag:
    live = LiveFrames(read_topics(sys.argv[5]))
    for raw in bag.messages(bag.topics):  # or a subscriber's callback
        frame = live.take(raw.topic, bag.decode(raw))
        if frame is not None:
            one = FrameDataset(
                frames=[frame], classes=data.classes, pipeline=data.pipeline
            )
            state = monitor.update(detect(detector, one)[0].gate)
            print(frame.frame_id, state.alarm or "-", state.trust)
