"""Node files: every fault at its line, decimals exact, and the settings that come out."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tools import catalogue
from tools.nodefile import NodeFileError, load
from tools.toml_lines import dotted, line_numbers

ROOT = Path(__file__).resolve().parents[2]

GOOD = """\
board = "esp32"
[node]
name = "n1"
tenant = "t"
[[wifi]]
ssid = "home"
password = "12345678"
[cloud]
host = "192.0.2.1"
[[sensor]]
name = "air"
driver = "bme280"
[sensor.limits.temperature]
low = 5.0
high = 35
hysteresis = 0.5
[[sensor]]
name = "light"
driver = "analog"
pin = 34
"""


@pytest.fixture(autouse=True)
def two_boards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rules are tested against boards of their own; a folder without a board package is none."""
    for folder in ("esp32/board", "pico_w/board", "notes"):
        (tmp_path / "boards" / folder).mkdir(parents=True)
    monkeypatch.setattr(catalogue, "BOARDS", tmp_path / "boards")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "x.toml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def faults(path: Path, overrides: dict | None = None) -> list[str]:
    """The lines of the error, without the file's folder."""
    with pytest.raises(NodeFileError) as e:
        load(path, overrides)
    return [line.removeprefix(f"{path.parent}/") for line in str(e.value).split("\n")]


def test_the_example_gives_the_compact_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "BOARDS", ROOT / "boards")
    node = load(ROOT / "nodes" / "greenhouse.toml")
    assert node.board == "esp32"
    assert node.settings() == {
        "v": 1,
        "version": 1,
        "node": "greenhouse",
        "tenant": "garden",
        "wifi": [["garden", "tomatoes and basil"]],
        "cloud": ["192.168.1.10", 8883],
        "report": 3600,
        "size": 48,
        "age": None,
        "awake_cap": 30,
        "alarm_contacts": 48,
        "service": [10, None],
        "channels": [
            [1, "air.temperature", "degC", -2],
            [2, "air.humidity", "%RH", -2],
            [3, "air.pressure", "Pa", 0],
            [4, "light.voltage", "V", -3],
        ],
        "sensors": [
            {
                "name": "air",
                "driver": "bme280",
                "bus": "i2c0",
                "address": 118,
                "interval": 60,
                "channels": [1, 2, 3],
            },
            {"name": "light", "driver": "analog", "pin": 34, "interval": 60, "channels": [4]},
        ],
        "limits": [[1, 500, 3500, 50]],
    }
    assert json.loads(json.dumps(node.settings())) == node.settings()
    assert node.channels()[3] == (4, "light.voltage", "V", -3)


def test_defaults_are_resolved_and_settings_are_the_callers_own(write: Callable[[str], Path]) -> None:
    node = load(write(GOOD))
    first = node.settings()
    assert (first["cloud"], first["report"], first["awake_cap"]) == (["192.0.2.1", 8883], 3600, 30)
    assert first["sensors"][0]["address"] == 0x76 and first["sensors"][0]["bus"] == "i2c0"
    first["sensors"].clear()
    assert len(node.settings()["sensors"]) == 2


def test_many_nodes_out_of_one_file(write: Callable[[str], Path]) -> None:
    node = load(write(GOOD))
    assert node.fleet(3) == ["n1-1", "n1-2", "n1-3"]
    assert node.settings("n1-2", version=7)["node"] == "n1-2"
    assert node.settings("n1-2", version=7)["version"] == 7
    assert node.settings()["node"] == "n1"
    with pytest.raises(NodeFileError, match="node.name"):
        node.settings("N1")
    long = load(write(GOOD.replace('"n1"', '"' + "n" * 30 + '"')))
    assert len(long.fleet(9)) == 9
    with pytest.raises(NodeFileError, match="33 long, not 1..32"):
        long.fleet(10)


def test_decimals_are_scaled_exactly(write: Callable[[str], Path]) -> None:
    # 0.29 * 100 is 28.999999999999996 in floating point.
    text = GOOD.replace("low = 5.0", "low = -0.29").replace("high = 35", "high = 1.15")
    assert load(write(text)).settings()["limits"] == [[1, -29, 115, 50]]
    one_sided = GOOD.replace("low = 5.0\n", "").replace("hysteresis = 0.5\n", "")
    assert load(write(one_sided)).settings()["limits"] == [[1, None, 3500, 0]]


FAULTS = [
    # (what is replaced, by what, the whole message or the messages)
    ('board = "esp32"', 'board = "esp23"', "1: board: no board 'esp23'; did you mean 'esp32'?"),
    ('board = "esp32"', 'board = "notes"', "1: board: no board 'notes'; known: esp32, pico_w"),
    ('name = "n1"', 'name = "N 1"', "3: node.name: 'N 1' has the character 'N'; use only a-z 0-9 _ -"),
    ('name = "n1"', 'nmae = "n1"', [
        "2: node.name: is missing; Name of the node, unique in its tenant; also its MQTT client id.",
        "3: node.nmae: unknown setting; did you mean 'name'?",
    ]),
    ('name = "n1"', "name = 1", "3: node.name: 1 is not text; write it in quotes"),
    ("[node]", "[nodes]", [
        "1: node.name: is missing; Name of the node, unique in its tenant; also its MQTT client id.",
        "1: node.tenant: is missing; Whose node it is: the account in the cloud.",
        "2: nodes: unknown setting; did you mean 'node'?",
    ]),
    ("[[wifi]]", "[wifi]", "5: wifi: is not an array of tables; write [[wifi]] above each"),
    ("[[wifi]]", "[[wifi]]\nssid='a'\n" * 4 + "[[wifi]]",
     "5: wifi: 5 of them, not 1..4; write [[wifi]] above each"),
    ('"home"', '"' + "\u00fc" * 17 + '"', "6: wifi[0].ssid: '" + "\u00fc" * 17
     + "' is 34 long, not 1..32 bytes; shorten or complete it"),
    ('"12345678"', '"geheim"',
     "7: wifi[0].password: has 6, not 8..63 characters; leave it empty for an open network"),
    ('"12345678"', '"geheim\\t\\t"',
     "7: wifi[0].password: has a character that is not printable ASCII; WPA allows no other"),
    ('"12345678"', "12345678", "7: wifi[0].password: this is not text; write it in quotes"),
    ('host = "192.0.2.1"', 'host = "mqtt://h"',
     "9: cloud.host: 'mqtt://h' has the character '/'; use only letters, digits, - . :"),
    ('host = "192.0.2.1"', 'host = "h"\nport = true',
     "10: cloud.port: True is not a whole number; write one, without quotes"),
    ('host = "192.0.2.1"', 'host = "h"\nport = 65536',
     "10: cloud.port: 65536 is out of range 1..65535; choose a value within"),
    ('driver = "bme280"', 'driver = "bme280"\ninterval = 0',
     "13: sensor[0].interval: 0 is out of range 1..86400 s; choose a value within"),
    ('driver = "bme280"', 'driver = "bme280"\ninterval = 1.5',
     "13: sensor[0].interval: 1.5 is not a whole number; write one, without quotes"),
    ('driver = "bme280"', 'driver = "bme208"', "12: sensor[0].driver: no driver 'bme208'; did you mean 'bme280'?"),
    ('driver = "bme280"', 'driver = "bme280"\npin = 4',
     "13: sensor[0].pin: driver 'bme280' is connected by bus and address; take this line out"),
    ('driver = "bme280"', 'driver = "bme280"\naddress = 0x40',
     "13: sensor[0].address: 0x40 is no address of a bme280; use 0x76 or 0x77"),
    ('driver = "bme280"', 'driver = "bme280"\nbus = "spi0"',
     "13: sensor[0].bus: 'spi0' is unknown; use one of i2c0, i2c1"),
    # One fault a place: neither "is missing" nor "is taken" may follow from a value out of range.
    ("pin = 34", "pin = 99", "20: sensor[1].pin: 99 is out of range 0..48; choose a value within"),
    ("pin = 34\n", 'pin = 34\n[[sensor]]\nname = "b"\ndriver = "bme280"\naddress = 512\n',
     "24: sensor[2].address: 512 is out of range 8..119; choose a value within"),
    ("pin = 34\n", "",
     "17: sensor[1].pin: is missing; GPIO number of the ADC input. ADC drivers only, which require it."),
    ("limits.temperature", "limits.temprature",
     "13: sensor[0].limits.temprature: driver 'bme280' has no channel 'temprature'; did you mean 'temperature'?"),
    ("[sensor.limits.temperature]\nlow = 5.0\nhigh = 35\nhysteresis = 0.5", "limits = 4",
     "13: sensor[0].limits: is not a table; write [sensor.limits] above its settings"),
    ("low = 5.0\nhigh = 35\n", "",
     "13: sensor[0].limits.temperature: has neither low nor high; give one of them, or take this table out"),
    ("low = 5.0", "low = 35.0",
     "14: sensor[0].limits.temperature.low: 35.0 is not below high, 35 degC; low must be the smaller of the two"),
    ("hysteresis = 0.5", "hysteresis = 30.01",
     "16: sensor[0].limits.temperature.hysteresis: 30.01 degC is wider than the band from low to high, "
     "so no alarm could end; make it smaller"),
    ("low = 5.0", "low = 5.001", "14: sensor[0].limits.temperature.low: 5.001 is finer than the channel; "
     "the channel is in degC, in steps of 0.01"),
    ("low = 5.0", "low = 5.00000000000000000000000000000000000000000001",
     "14: sensor[0].limits.temperature.low: 5.00000000000000000000000000000000000000000001 is finer than the "
     "channel; the channel is in degC, in steps of 0.01"),
    ("low = 5.0", "low = -1e999999999", "14: sensor[0].limits.temperature.low: -1E+999999999 is out of range "
     "-21474836.48..21474836.47; the channel is in degC, in steps of 0.01"),
    ("low = 5.0", "low = nan", "14: sensor[0].limits.temperature.low: nan is not a number; "
     "the channel is in degC, in steps of 0.01"),
    ("hysteresis = 0.5", "hysteresis = -1", "16: sensor[0].limits.temperature.hysteresis: -1 is out of range "
     "0.00..21474836.47; the channel is in degC, in steps of 0.01"),
    ('name = "light"', 'name = "air"', "18: sensor[1].name: 'air' is taken by sensor[0]; give each sensor its own"),
    ("pin = 34\n", 'pin = 34\n[[sensor]]\nname = "b"\ndriver = "analog"\npin = 34\n',
     "24: sensor[2].pin: 34 is taken by sensor[1]; give each sensor its own"),
    ("pin = 34\n", 'pin = 34\n[[sensor]]\nname = "b"\ndriver = "bme280"\naddress = 118\n',
     "24: sensor[2].address: i2c0 0x76 is taken by sensor[0]; give each sensor its own"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "expected"), FAULTS)
def test_a_fault_is_named_with_its_line(
    write: Callable[[str], Path], old: str, new: str, expected: str | list[str]
) -> None:
    assert GOOD.count(old) == 1
    wanted = [expected] if isinstance(expected, str) else expected
    assert faults(write(GOOD.replace(old, new))) == ["x.toml:" + line for line in wanted]


def test_all_faults_come_at_once_in_the_order_of_the_file(write: Callable[[str], Path]) -> None:
    text = GOOD.replace('"n1"', '""').replace("low = 5.0", 'low = "5"').replace("pin = 34", "pin = 99")
    text = text.replace("hysteresis = 0.5", "hysteresis = 0.001").replace('"esp32"', '"avr"')
    assert [line.split(": ")[:2] for line in faults(write(text))] == [
        ["x.toml:1", "board"],
        ["x.toml:3", "node.name"],
        ["x.toml:14", "sensor[0].limits.temperature.low"],
        ["x.toml:16", "sensor[0].limits.temperature.hysteresis"],
        ["x.toml:20", "sensor[1].pin"],
    ]


def test_too_many_channels(write: Callable[[str], Path]) -> None:
    more = "".join(
        f'[[sensor]]\nname = "b{bus}{address}"\ndriver = "bme280"\nbus = "{bus}"\naddress = {address}\n'
        for bus in ("i2c0", "i2c1")
        for address in (118, 119)
    )
    more += "".join(f'[[sensor]]\nname = "a{pin}"\ndriver = "analog"\npin = {pin}\n' for pin in range(12))
    head = GOOD[: GOOD.index("[[sensor]]")]
    assert faults(write(head + more)) == ["x.toml:10: sensor: 24 channels, not 1..16; use fewer sensors"]


def test_what_is_not_toml(write: Callable[[str], Path], tmp_path: Path) -> None:
    (fault,) = faults(write(GOOD.replace('"n1"', "n1")))
    assert fault.startswith("x.toml:3: is not TOML: ") and fault.endswith("; correct this line or the one before")
    (fault,) = faults(write('a = "'))
    assert fault.startswith("x.toml:1: is not TOML: ")
    (fault,) = faults(write(GOOD + "[node]\n"))
    assert fault.startswith("x.toml:21: is not TOML: ")
    path = tmp_path / "x.toml"
    path.write_bytes(b'a = 1\nb = "\xff"\n')
    assert faults(path) == ["x.toml:2: is not UTF-8; save the file as UTF-8"]
    (fault,) = faults(tmp_path / "absent.toml")
    assert fault == "absent.toml: No such file or directory; give the path of a node file, as in nodes/"


def test_overrides_replace_settings_and_are_checked_like_them(write: Callable[[str], Path]) -> None:
    path = write(GOOD)
    changes = {"cloud.port": 2883, "sensor[0].interval": 10, "sensor[0].limits.humidity.high": 80.5}
    settings = load(path, changes).settings()
    assert settings["cloud"] == ["192.0.2.1", 2883]
    assert settings["sensors"][0]["interval"] == 10
    assert [2, None, 8050, 0] in settings["limits"]
    assert faults(path, {"report.interval": 5}) == [
        "x.toml:override: report.interval: 5 is out of range 60..86400 s; choose a value within"
    ]
    (fault,) = faults(path, {"sensor[7].interval": 5})
    assert "no place for override 'sensor[7].interval'" in fault


@pytest.mark.parametrize("odd", [None, True, -1, 1 << 70, 0.1, "", "\n", "\u20ac", [], [1], [[]], {}, {"x": {"y": 1}}])
def test_no_value_anywhere_does_more_than_a_fault(write: Callable[[str], Path], odd: object) -> None:
    path = write(GOOD)
    places = [*line_numbers(GOOD.encode())][1:]
    assert ("sensor", 0, "limits", "temperature", "low") in places
    refused = 0
    for place in places:
        try:
            load(path, {dotted(place): odd})
        except NodeFileError as e:
            refused += 1
            assert all(line.startswith(f"{path}:") and "; " in line for line in str(e).split("\n"))
    assert refused > len(places) // 2


def test_the_command(write: Callable[[str], Path]) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "tools.nodefile", *arguments]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)

    good = run("nodes/greenhouse.toml")
    channels = "air.temperature, air.humidity, air.pressure, light.voltage"
    assert (good.returncode, good.stderr) == (0, "")
    assert good.stdout == f"ok: garden/greenhouse on esp32: {channels}\n"
    assert json.loads(run("nodes/greenhouse.toml", "--json").stdout)["v"] == 1
    bad = run(str(write(GOOD.replace('"n1"', '"N"').replace("pin = 34", "pin = 99"))))
    assert (bad.returncode, bad.stdout) == (2, "")
    assert [line.split(":")[1] for line in bad.stderr.splitlines()] == ["3", "20"]


TOML = '''\
# comment = 1
top.dotted . "quoted \\u0020key" = 1   # x = 2

[a]            # [not]
text = """
[b]
c = 1
"""
literal = \'\'\'
d = [[e]]\'\'\'
array = [   # a comment
    1,      # another, with ] and "
    { x = 1, y.z = [ { deep = 1 } ] },
]
inline = { p = { q = 1 }, r = "}" }

[[list]]
x = 1
[list.sub]
y = 2
[[list.sub2]]
z = 3
[[list]]
[[list.sub2]]
[[list.sub2]]
w = 4

[a.later."x.y"]
v = 5
'''


def test_lines_of_every_kind_of_toml() -> None:
    lines = line_numbers(TOML.encode())
    assert lines == {
        (): 1,
        ("top",): 2,
        ("top", "dotted"): 2,
        ("top", "dotted", "quoted  key"): 2,
        ("a",): 4,
        ("a", "text"): 5,
        ("a", "literal"): 9,
        ("a", "array"): 11,
        ("a", "array", 0): 12,
        ("a", "array", 1): 13,
        ("a", "array", 1, "x"): 13,
        ("a", "array", 1, "y"): 13,
        ("a", "array", 1, "y", "z"): 13,
        ("a", "array", 1, "y", "z", 0): 13,
        ("a", "array", 1, "y", "z", 0, "deep"): 13,
        ("a", "inline"): 15,
        ("a", "inline", "p"): 15,
        ("a", "inline", "p", "q"): 15,
        ("a", "inline", "r"): 15,
        ("list",): 17,
        ("list", 0): 17,
        ("list", 0, "x"): 18,
        ("list", 0, "sub"): 19,
        ("list", 0, "sub", "y"): 20,
        ("list", 0, "sub2"): 21,
        ("list", 0, "sub2", 0): 21,
        ("list", 0, "sub2", 0, "z"): 22,
        ("list", 1): 23,
        ("list", 1, "sub2"): 24,
        ("list", 1, "sub2", 0): 24,
        ("list", 1, "sub2", 1): 25,
        ("list", 1, "sub2", 1, "w"): 26,
        ("a", "later"): 28,
        ("a", "later", "x.y"): 28,
        ("a", "later", "x.y", "v"): 29,
    }
    assert line_numbers(TOML.replace("\n", "\r\n").encode()) == lines


def test_the_consoles_pin_is_kept_as_a_hash(write: Callable[[str], Path]) -> None:
    path = write(GOOD + '\n[console]\npin = "4711"\n')
    settings = load(path).settings()
    assert "4711" not in json.dumps(settings) and settings == load(path).settings()
    fits = catalogue.console_pin.fits
    assert fits("4711", settings["pin"]) and not fits("4712", settings["pin"])
    assert "pin" not in load(write(GOOD)).settings()
    for pin in ('"47"', '"47a1"', '"1234567890123"', "4711"):
        (fault,) = faults(write(GOOD + f"\n[console]\npin = {pin}\n"))
        assert "console.pin: " in fault and pin.strip('"') not in fault
