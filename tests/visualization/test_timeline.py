import pytest
from PIL import Image

from perception.evaluation.recording import Moment, Recording, summarise
from perception.models.consensus.monitor import SensorMonitor
from perception.visualization.style import YELLOW, sensor_colour
from perception.visualization.timeline import Lane, lanes_of, write_timeline

SENSORS = ("camera", "radar")


def recording(count=3):
    monitor = SensorMonitor(
        sensors=SENSORS,
        threshold=0.0,
        smoothing=0.0,
        start=(0.0, 0.0),
        false_alarm_rate=0.1,
        frames=9,
    )
    moments = [
        Moment("scene-1", (0.1, 0.1, 0.8), 1.0, (), (), monitor.update((0.1, 0.1, 0.8)))
    ]
    for number in range(1, count):
        state = monitor.update(None, ["radar"])
        moments.append(Moment(f"scene-{number}", None, None, ("radar",), (), state))
    return Recording(monitor, moments, summarise(SENSORS, moments))


@pytest.mark.parametrize(
    ("held", "spans"),
    [
        pytest.param([0, 1, 1, 0, 1], [(0.5, 2.0), (3.5, 1.0)], id="two"),
        pytest.param([1, 1], [(-0.5, 2.0)], id="all"),
        pytest.param([0, 0], [], id="none"),
    ],
)
def test_spans(held, spans):
    assert Lane("alarm", YELLOW, [bool(h) for h in held]).spans() == spans


def test_lanes_tell_what_there_is():
    lanes = {lane.label: lane for lane in lanes_of(recording())}
    assert list(lanes) == [
        "alarm: camera",
        "alarm: radar",
        "alarm: unattributed",
        "no data: radar",
    ]
    assert lanes["alarm: radar"].held == [False, True, True]
    assert lanes["alarm: radar"].colour == sensor_colour("radar")
    assert lanes["alarm: unattributed"].held == [True, False, False]


@pytest.mark.parametrize("count", [1, 3, 200])
def test_picture(tmp_path, count):
    write_timeline(tmp_path / "trust.png", recording(count))
    assert [path.name for path in tmp_path.iterdir()] == ["trust.png"]
    with Image.open(tmp_path / "trust.png") as picture:
        assert picture.width == 1440
        colours = {colour for _, colour in picture.convert("RGB").getcolors(1 << 20)}
    assert sensor_colour("camera") in colours
    assert YELLOW in colours
