"""The sensors, by hand."""

from collections import OrderedDict

from ... import limits
from ..decimal import decimal
from ..refused import Refused

_OUTCOMES = {0: "ok", 1: "no answer", 2: "wrong answer", -1: "not measured yet"}
_STATES = ("normal", "high", "low", "sensor fails")
_WATCH_S = 2
_LONGEST_S = 3600


async def sensors(console, words):
    """Each sensor, where it is and how it did when it was last measured."""
    node = console.node
    rows = []
    for index, sensor in enumerate(node.settings["sensors"]):
        first = sensor["channels"][0]
        failed = limits.get(node.alarms.state, first) == limits.SENSOR_FAILS
        rows.append(OrderedDict(
            sensor=sensor["name"],
            driver=sensor["driver"],
            where="pin %d" % sensor["pin"] if "pin" in sensor else "%s 0x%02x" % (sensor["bus"], sensor["address"]),
            interval_s=sensor["interval"],
            last=_OUTCOMES[node.sampler.last[index]],
            state="fails" if failed else "works",
        ))  # fmt: skip
    return {"sensors": rows}


async def read(console, words):
    """One reading of each channel, or of one sensor's."""
    return {"readings": await _measure(console.node, _which(console.node, words))}


async def watch(console, words):
    """Readings until a key: an answer every so many seconds."""
    seconds = _WATCH_S
    if words and words[-1].isdigit():
        seconds = int(words[-1])
        words = words[:-1]
    if not 1 <= seconds <= _LONGEST_S:
        raise Refused("%d s; choose 1 to %d" % (seconds, _LONGEST_S))
    due = _which(console.node, words)
    times = 0
    while True:
        console.emit({"readings": await _measure(console.node, due)})
        times += 1
        if await console.pause(seconds * 1000):
            return OrderedDict(measured=times)


async def scan(console, words):
    """Who answers on the I2C buses."""
    node = console.node
    rows = []
    for bus in words or _buses():
        try:
            port = node.board.i2c(bus)
        except ValueError as error:
            if words:
                raise Refused(str(error))
            continue
        for address in port.scan():
            names = [sensor["name"] for sensor in node.settings["sensors"]
                     if (sensor.get("bus"), sensor.get("address")) == (bus, address)]  # fmt: skip
            rows.append(OrderedDict(bus=bus, address="0x%02x" % address, sensor=names[0] if names else None))
    return OrderedDict(found=rows)


def _buses():
    from ... import schema

    return schema.find("sensor[].bus").limit


def _which(node, words):
    """The indices of the sensors meant."""
    names = [sensor["name"] for sensor in node.settings["sensors"]]
    if not words:
        return list(range(len(names)))
    if len(words) > 1 or words[0] not in names:
        raise Refused("no sensor %r; there are %s" % (" ".join(words), ", ".join(names)))
    return [names.index(words[0])]


async def _measure(node, due):
    sampler = node.sampler
    await sampler.sample(due)
    rows = []
    for index in due:
        for number in node.settings["sensors"][index]["channels"]:
            _, name, unit, exponent = node.settings["channels"][number - 1]
            present = sampler.present >> (number - 1) & 1
            rows.append(OrderedDict(
                channel=name,
                value=decimal(sampler.values[number - 1], exponent) if present else None,
                unit=unit,
                outcome=_OUTCOMES[sampler.outcome[index]],
                limit=_STATES[limits.get(node.alarms.state, number)],
            ))  # fmt: skip
    return rows
