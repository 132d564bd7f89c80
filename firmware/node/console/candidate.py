"""The settings as a person changes them: by the schema's paths, checked, and not yet saved.

    report.interval    sensor[0].interval    sensor[air].limits.temperature.low    wifi[1].password

A sensor goes by its number or its name. Decimals are exact: no value passes through a float.
"""

import json

from .. import schema, settings
from .decimal import decimal, scaled
from .refused import Refused

# What the node is known by in the cloud, and what its channels come from: the node file's, not the console's.
_FIXED = ("board", "node.name", "node.tenant", "sensor[].name", "sensor[].driver")
_LIMITS = ("low", "high", "hysteresis")
_PLAIN = {
    "node.name": ("node",),
    "node.tenant": ("tenant",),
    "cloud.host": ("cloud", 0),
    "cloud.port": ("cloud", 1),
    "report.interval": ("report",),
    "report.size": ("size",),
    "report.age": ("age",),
    "power.awake_cap": ("awake_cap",),
    "power.alarm_contacts": ("alarm_contacts",),
    "service.window": ("service", 0),
    "service.pin": ("service", 1),
    "console.pin": ("pin",),
}
_ADDED = ("report.size", "report.age", "power.alarm_contacts", "service.window", "service.pin")  # older files have none
_CAN_BE_NONE = ("report.age", "service.pin")
_WIFI = ("ssid", "password")


class Place:
    """Where a setting stands: `setting` of the schema, `keys` into the settings."""

    exponent = 0  # of a decimal

    def __init__(self, path, schema_path, keys):
        self.path = path
        self.setting = schema.find(schema_path)
        self.unit = self.setting.unit if self.setting.kind == "int" else ""
        self.keys = keys
        self.fixed = schema_path in _FIXED
        self.secret = self.setting.kind in ("passphrase", "pin")

    def value(self, held):
        """What stands there in the settings `held`; None if nothing does."""
        for key in self.keys:
            if isinstance(held, dict):
                held = held.get(key)
            else:
                held = held[key] if held is not None and key < len(held) else None
        return held

    def text(self, held):
        """The value as a person writes it; None if there is none. A secret is never told."""
        value = self.value(held)
        if self.secret:
            return "(secret)" if value else None
        if value is None:
            return None
        if self.setting.kind == "decimal":
            return decimal(value, self.exponent)
        return "0x%02x" % value if self.path.endswith(".address") else str(value)


class Limit(Place):
    """A limit of channel id `channel`; a channel without any has no row in the settings."""

    def __init__(self, path, key, channel, unit, exponent):
        super().__init__(path, "sensor[].limits.*." + key, None)
        self.channel = channel
        self.column = 1 + _LIMITS.index(key)
        self.unit = unit
        self.exponent = exponent

    def row(self, held):
        """The channel's [id, low, high, hysteresis], or None."""
        for row in held["limits"]:
            if row[0] == self.channel:
                return row
        return None

    def value(self, held):
        """As Place. No hysteresis is none, whether there is a row or not."""
        row = self.row(held)
        value = row and row[self.column]
        return None if self.column == 3 and not value else value


def _network(index, key):
    return Place("wifi[%d].%s" % (index, key), "wifi[]." + key, ("wifi", index, _WIFI.index(key)))


class Candidate:
    """Begins as what is saved. `new` are the settings with what was changed."""

    def __init__(self):
        self.saved = settings.load()
        self.new = json.loads(json.dumps(self.saved))

    def places(self):
        """Every setting that this node has, in the schema's order of sections."""
        for path in ("node.name", "node.tenant"):
            yield self.place(path)
        for i in range(len(self.new["wifi"])):
            for key in _WIFI:
                yield self.place("wifi[%d].%s" % (i, key))
        for path in ("cloud.host", "cloud.port", "report.interval", "power.awake_cap", "console.pin"):
            yield self.place(path)
        for path in _ADDED:
            if _PLAIN[path][0] in self.new:
                yield self.place(path)
        for sensor in self.new["sensors"]:
            for key in ("name", "driver", "bus", "address", "pin", "interval"):
                if key in sensor:
                    yield self.place("sensor[%s].%s" % (sensor["name"], key))
            for channel in sensor["channels"]:
                for key in _LIMITS:
                    yield self.place("sensor[%s].limits.%s.%s" % (sensor["name"], self._channel(channel), key))

    def place(self, path):
        """The Place of a path. Refused where there is none."""
        if path in _PLAIN and (_PLAIN[path][0] in self.new or path == "console.pin"):
            return Place(path, path, _PLAIN[path])
        head, _, rest = path.partition("].")
        kind, _, which = head.partition("[")
        if kind == "wifi" and rest in _WIFI and which.isdigit() and int(which) <= len(self.new["wifi"]):
            return _network(int(which), rest)
        if kind == "sensor" and rest:
            index = self._sensor(which)
            path = "sensor[%s].%s" % (self.new["sensors"][index]["name"], rest)
            if rest in self.new["sensors"][index]:
                return Place(path, "sensor[]." + rest, ("sensors", index, rest))
            parts = rest.split(".")
            if len(parts) == 3 and parts[0] == "limits" and parts[2] in _LIMITS:
                return self._limit(path, index, parts[1], parts[2])
        raise Refused("no setting %r; config get lists them" % path)

    def set(self, path, text):
        """Changes one setting. Refused, with what is wrong, leaves all as it was."""
        place = self.place(path)
        if place.fixed:
            raise Refused("%s is what the cloud knows the node by; change the node file and deploy it" % path)
        value = None if text == "none" else self._parse(place, text)
        if value is None and place.setting.default == schema.REQUIRED:
            raise Refused("%s cannot be left out; %s" % (path, schema.bounds(place.setting)))
        if value is None and place.setting.default is not schema.OPTIONAL:
            value = place.setting.default
        if place.setting.kind == "pin":
            self._set_pin(value)
        elif place.setting.kind == "decimal":
            self._set_limit(place, value)
        elif value is None and path not in _CAN_BE_NONE:
            raise Refused("%s cannot be left out" % path)
        else:
            self._put(place.keys, value)
        return self.place(path)

    def changes(self):
        """(Place, saved text, new text) of every setting that differs; a network's place in the list counts."""
        for place in self._all_places():
            if place.value(self.saved) != place.value(self.new):
                yield place, place.text(self.saved), place.text(self.new)

    def _all_places(self):
        yield from self.places()
        for i in range(len(self.new["wifi"]), len(self.saved["wifi"])):
            for key in _WIFI:
                yield _network(i, key)

    def _sensor(self, which):
        names = [sensor["name"] for sensor in self.new["sensors"]]
        if which in names:
            return names.index(which)
        if which.isdigit() and int(which) < len(names):
            return int(which)
        raise Refused("no sensor %r; there are %s" % (which, ", ".join(names)))

    def _channel(self, number):
        return self.new["channels"][number - 1][1].partition(".")[2]

    def _limit(self, path, index, channel, key):
        for number in self.new["sensors"][index]["channels"]:
            if self._channel(number) == channel:
                return Limit(path, key, number, *self.new["channels"][number - 1][2:])
        raise Refused("%s: no channel %r" % (path, channel))

    def _parse(self, place, text):
        setting = place.setting
        try:
            if setting.kind == "decimal":
                value = scaled(text, place.exponent)
            elif setting.kind == "int":
                value = int(text[2:], 16) if text[:2] in ("0x", "0X") else int(text)
            else:
                value = text
        except ValueError as error:
            raise Refused("%s: %s" % (place.path, error if setting.kind == "decimal" else "%r is no number" % text))
        wrong = schema.check(setting, value)
        if wrong:
            raise Refused("%s: %s" % (place.path, wrong))
        return value

    def _put(self, keys, value):
        held = self.new
        for key in keys[:-1]:
            if isinstance(held, list) and key == len(held):
                if key == schema.COUNTS["wifi[]"][1]:
                    raise Refused("%d networks are the most; forget one" % key)
                held.append(["", ""])
            held = held[key]
        held[keys[-1]] = value

    def _set_limit(self, place, value):
        rows = self.new["limits"]
        row = place.row(self.new)
        if row is None:
            row = [place.channel, None, None, 0]
            rows.append(row)
        row[place.column] = value
        if row[1] is None and row[2] is None:
            rows.remove(row)

    def _set_pin(self, value):
        self.new.pop("pin", None)
        if value:
            import os

            from .pin import seal

            self.new["pin"] = seal(value, os.urandom(8))

    # What must fit together

    def faults(self):
        """What is wrong with the whole, a line each; none: it can be saved."""
        new = self.new
        found = []
        for row in new["limits"]:
            name, exponent = new["channels"][row[0] - 1][1], new["channels"][row[0] - 1][3]
            if row[1] is not None and row[2] is not None:
                if row[1] >= row[2]:
                    found.append("%s: low %s is not below high %s" % (
                        name, decimal(row[1], exponent), decimal(row[2], exponent)))
                elif row[3] > row[2] - row[1]:
                    found.append("%s: hysteresis is wider than the band, so no alarm could end" % name)
        taken = {}
        for sensor in new["sensors"]:
            where = ("pin", sensor["pin"]) if "pin" in sensor else (sensor["bus"], sensor["address"])
            if where in taken:
                found.append("%s and %s are both at %s %d" % (taken[where], sensor["name"], where[0], where[1]))
            taken[where] = sensor["name"]
            if where == ("pin", new.get("service", (0, None))[1]):
                found.append("service.pin: %d is taken by %s" % (where[1], sensor["name"]))
            found += _no_address(sensor)
        for i in range(len(new["wifi"])):
            if not new["wifi"][i][0]:
                found.append("wifi[%d].ssid is missing" % i)
        return found


def _no_address(sensor):
    """A line, if the sensor's driver says that its chip is never at that address."""
    if "address" not in sensor:
        return []
    driver = getattr(__import__("drivers." + sensor["driver"]), sensor["driver"]).Driver
    if sensor["address"] in driver.ADDRESSES:
        return []
    known = " or ".join(["0x%02x" % address for address in driver.ADDRESSES])
    return ["%s: 0x%02x is no address of a %s; use %s" % (sensor["name"], sensor["address"], sensor["driver"], known)]
