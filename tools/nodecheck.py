"""The rules of a node file: each setting alone, by the schema, then what must fit together."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable
from decimal import Context, Decimal, Inexact
from typing import Any

from tools.catalogue import DriverFacts, boards, console_pin, drivers, schema
from tools.toml_lines import KeyPath, dotted

_EXACT = Context(prec=40, traps=[Inexact])


class Checker:
    """Checks one parsed document. `faults` are {path: what is wrong; what to do}, in the order found."""

    def __init__(self) -> None:
        self.faults: dict[KeyPath, str] = {}
        self._drivers = drivers()
        self._channels: list[list[Any]] = []
        self._limits: list[list[Any]] = []

    def compact(self, document: dict[str, Any]) -> dict[str, Any]:
        """-> the settings as the node holds them; of use only if no fault was found."""
        values = self._table(document, _tree(), ())
        if "board" in values and values["board"] not in boards():
            self._fault(("board",), f"no board {values['board']!r}; {_meant(values['board'], boards())}")
        sensors = [self._sensor(sensor, ("sensor", i)) for i, sensor in enumerate(values["sensor"])]
        if len(self._channels) > schema.MAX_CHANNELS:
            most = schema.MAX_CHANNELS
            self._fault(("sensor",), f"{len(self._channels)} channels, not 1..{most}; use fewer sensors")
        self._unique(sensors)
        pin = values["service"].get("pin")
        if pin is not None and pin in [sensor.get("pin") for sensor in sensors]:
            self._fault(("service", "pin"), f"{pin} is taken by a sensor; give each its own")
        settings: dict[str, Any] = {
            "v": 1,
            "version": 1,
            "node": values["node"].get("name"),
            "tenant": values["node"].get("tenant"),
            "wifi": [[wifi.get("ssid"), wifi.get("password")] for wifi in values["wifi"]],
            "cloud": [values["cloud"].get("host"), values["cloud"].get("port")],
            "report": values["report"].get("interval"),
            "size": values["report"].get("size"),
            "age": values["report"].get("age"),
            "awake_cap": values["power"].get("awake_cap"),
            "alarm_contacts": values["power"].get("alarm_contacts"),
            "service": [values["service"].get("window"), values["service"].get("pin")],
            "channels": self._channels,
            "sensors": sensors,
            "limits": self._limits,
        }
        if values["console"].get("pin"):
            # The same file gives the same settings, so the salt is not random; it is the node's own.
            salt = hashlib.sha256(f"{settings['tenant']}/{settings['node']}".encode()).digest()[:8]
            settings["pin"] = console_pin.seal(values["console"]["pin"], salt)
        return settings

    def _fault(self, at: KeyPath, text: str) -> None:
        # The first fault of a place is its own; a later one only follows from it.
        self.faults.setdefault(at, text)

    def _table(self, table: Any, tree: dict[str, Any], at: KeyPath) -> dict[str, Any]:
        """Check one table against its branch of the schema -> its sound values, with defaults."""
        if not isinstance(table, dict):
            self._fault(at, f"is not a table; write {_header(at)} above its settings")
            return {name.removesuffix("[]"): [] for name in tree if name.endswith("[]")}
        if "*" in tree:
            checked = {key: self._table(value, tree["*"], (*at, key)) for key, value in table.items()}
            return {key: value for key, value in checked.items() if isinstance(table[key], dict)}
        known = [name.removesuffix("[]") for name in tree]
        for key in table:
            if key not in known:
                self._fault((*at, key), f"unknown setting; {_meant(key, known)}")
        values: dict[str, Any] = {}
        for name, branch in tree.items():
            key = name.removesuffix("[]")
            if name in schema.COUNTS:
                values[key] = self._array(table.get(key, []), branch, (*at, key), schema.COUNTS[name])
            elif isinstance(branch, dict):
                values[key] = self._table(table.get(key, {}), branch, (*at, key))
            elif key in table:
                # A decimal can be judged only with its channel's exponent: _scaled_limits.
                text = None if branch.kind == "decimal" else schema.check(branch, _plain(table[key]))
                if text:
                    self._fault((*at, key), text)
                else:
                    values[key] = table[key]
            elif branch.default == schema.REQUIRED:
                self._fault((*at, key), f"is missing; {branch.help}")
            elif branch.default is not schema.OPTIONAL:
                values[key] = branch.default
        return values

    def _array(self, array: Any, tree: dict[str, Any], at: KeyPath, count: tuple[int, int]) -> list[dict[str, Any]]:
        hint = f"write {_header((*at, 0))} above each"
        if not isinstance(array, list):
            self._fault(at, f"is not an array of tables; {hint}")
            return []
        if not count[0] <= len(array) <= count[1]:
            self._fault(at, f"{len(array)} of them, not {count[0]}..{count[1]}; {hint}")
        return [self._table(table, tree, (*at, index)) for index, table in enumerate(array)]

    def _sensor(self, values: dict[str, Any], at: KeyPath) -> dict[str, Any]:
        """-> one sensor's entry; its channels and limits join those of the sensors before."""
        name, driver = values.get("name"), values.get("driver")
        sensor = {"name": name, "driver": driver}
        if driver is None:
            return sensor
        if driver not in self._drivers:
            self._fault((*at, "driver"), f"no driver {driver!r}; {_meant(driver, self._drivers)}")
            return sensor
        facts = self._drivers[driver]
        sensor.update(self._place(values, facts, at))
        sensor["interval"] = values.get("interval")
        first = len(self._channels) + 1
        own = {
            channel: (first + index, unit, exponent) for index, (channel, unit, exponent) in enumerate(facts.channels)
        }
        sensor["channels"] = [number for number, _, _ in own.values()]
        self._channels += [[number, f"{name}.{channel}", *rest] for channel, (number, *rest) in own.items()]
        for channel, limits in values.get("limits", {}).items():
            place = (*at, "limits", channel)
            if channel in own:
                number, unit, exponent = own[channel]
                self._limits.append([number, *self._scaled_limits(limits, place, unit, exponent)])
            else:
                text = f"driver {driver!r} has no channel {channel!r}"
                self._fault(place, f"{text}; {_meant(channel, own)}")
        return sensor

    def _place(self, values: dict[str, Any], facts: DriverFacts, at: KeyPath) -> dict[str, Any]:
        """-> where the sensor is connected: bus and address, or pin."""
        wanted = ("bus", "address") if facts.bus == "i2c" else ("pin",)
        for key in ("bus", "address", "pin"):
            if key in values and key not in wanted:
                text = f"driver {facts.name!r} is connected by {' and '.join(wanted)}"
                self._fault((*at, key), f"{text}; take this line out")
        if facts.bus != "i2c":
            if "pin" not in values:
                self._fault((*at, "pin"), f"is missing; {schema.find('sensor[].pin').help}")
            return {"pin": values.get("pin")}
        address = values.get("address", facts.addresses[0])
        if address not in facts.addresses:
            possible = " or ".join(f"{known:#04x}" for known in facts.addresses)
            self._fault((*at, "address"), f"{address:#04x} is no address of a {facts.name}; use {possible}")
        return {"bus": values.get("bus", "i2c0"), "address": address}

    def _scaled_limits(self, values: dict[str, Any], at: KeyPath, unit: str, exponent: int) -> list[Any]:
        """-> [low, high, hysteresis] as integers of the channel's exponent."""
        scaled: dict[str, int] = {}
        for name, value in values.items():
            try:
                scaled[name] = _scaled(value, exponent, schema.find("sensor[].limits.*." + name).limit)
            except ValueError as e:
                self._fault((*at, name), f"{e}; the channel is in {unit}, in steps of {_step(exponent)}")
        if len(scaled) == len(values):
            if "low" not in scaled and "high" not in scaled:
                self._fault(at, "has neither low nor high; give one of them, or take this table out")
            elif "low" in scaled and "high" in scaled:
                band = scaled["high"] - scaled["low"]
                if band <= 0:
                    text = f"{values['low']} is not below high, {values['high']} {unit}"
                    self._fault((*at, "low"), f"{text}; low must be the smaller of the two")
                elif scaled["hysteresis"] > band:
                    text = f"{values['hysteresis']} {unit} is wider than the band from low to high"
                    self._fault((*at, "hysteresis"), f"{text}, so no alarm could end; make it smaller")
        return [scaled.get("low"), scaled.get("high"), scaled.get("hysteresis")]

    def _unique(self, sensors: list[dict[str, Any]]) -> None:
        """No two sensors may share a name, a pin, or an address on a bus."""
        seen: dict[tuple[Any, ...], int] = {}
        for index, sensor in enumerate(sensors):
            for keys in (("name",), ("pin",), ("bus", "address")):
                value = tuple(sensor.get(key) for key in keys)
                if None in value:
                    continue
                first = seen.setdefault((*keys, *value), index)
                if first != index:
                    what = f"{value[0]} {value[1]:#04x}" if len(value) == 2 else repr(value[0])
                    text = f"{what} is taken by sensor[{first}]; give each sensor its own"
                    self._fault(("sensor", index, keys[-1]), text)


def _tree() -> dict[str, Any]:
    """The schema's paths as nested dicts, keys as in the paths ("wifi[]", "*"), settings at the leaves."""
    tree: dict[str, Any] = {}
    for setting in schema.SETTINGS:
        *tables, last = setting.path.split(".")
        branch = tree
        for table in tables:
            branch = branch.setdefault(table, {})
        branch[last] = setting
    return tree


def _header(at: KeyPath) -> str:
    """How the header of a table is written: ("sensor", 0, "limits") -> [sensor.limits], ("wifi", 0) -> [[wifi]]."""
    name = dotted(tuple(part for part in at if isinstance(part, str)))
    return f"[[{name}]]" if isinstance(at[-1], int) else f"[{name}]"


def _meant(word: str, known: Iterable[str]) -> str:
    """What to do about an unknown word."""
    words = list(known)
    close = difflib.get_close_matches(word, words, 1)
    return f"did you mean {close[0]!r}?" if close else f"known: {', '.join(words) or 'none'}"


def _plain(value: Any) -> Any:
    """A Decimal, to be shown as the number that was written."""
    return float(value) if isinstance(value, Decimal) else value


def _step(exponent: int) -> Decimal:
    return Decimal(1).scaleb(exponent)


def _scaled(value: Any, exponent: int, limit: tuple[int, int]) -> int:
    """value x 10^-exponent, exactly, within the limit. Raises ValueError."""
    if isinstance(value, bool) or not isinstance(value, (int, Decimal)) or not Decimal(value).is_finite():
        raise ValueError(f"{_plain(value)!r} is not a number")
    low, high = (Decimal(bound).scaleb(exponent) for bound in limit)
    if not low <= value <= high:
        raise ValueError(f"{value} is out of range {low}..{high}")
    try:
        return int(_EXACT.to_integral_exact(_EXACT.scaleb(Decimal(value), -exponent)))
    except Inexact:
        raise ValueError(f"{value} is finer than the channel") from None
