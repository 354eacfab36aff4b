"""Trust in each sensor, live: messages come one by one, here from a bag.

PYTHONPATH=. python data/examples/live_monitor.py CONFIG CHECKPOINT MONITOR BAG TOPICS
"""

import sys

from perception.apis import LiveMonitor
from perception.datasets.bags.live import LiveFrames
from perception.datasets.bags.storage import Bag
from perception.datasets.bags.topics import read_topics

watch, live = LiveMonitor(*sys.argv[1:4]), LiveFrames(read_topics(sys.argv[5]))
with Bag(sys.argv[4]) as bag:
    for raw in bag.messages(bag.topics):  # or a subscriber's callback
        frame = live.take(raw.topic, bag.decode(raw))
        if frame is not None:
            state = watch.update(frame)
            print(frame.frame_id, state.alarm or "-", state.trust)
