# heap: 1024K
# vm31: no, it waits in asyncio and wants littlefs
"""Settings at the console: changed, checked, saved, taken back; secrets; the way back to what was deployed."""

import asyncio
import json
import os

from consolekit import Desk
from node import settings as stored
from node.console import keep
from node.console.candidate import Candidate
from node.console.decimal import decimal
from node.console.refused import Refused
from nodekit import Cut, Slept

LIMITS = ((1, 500, 2000, 100),)


def full():
    """A node with all kinds of settings."""
    return Desk(limits=LIMITS, more={
        "wifi": [["home", "tomatoes and basil"], ["open", ""]], "service": [10, None],
        "channels": [[1, "s0.voltage", "V", -3], [2, "s1.voltage", "V", -3], [3, "air.temperature", "degC", -2],
                     [4, "air.humidity", "%RH", -2], [5, "air.pressure", "Pa", 0]],
        "sensors": [
            {"name": "s0", "driver": "analog", "pin": 34, "interval": 60, "channels": [1]},
            {"name": "s1", "driver": "analog", "pin": 35, "interval": 300, "channels": [2]},
            {"name": "air", "driver": "bme280", "bus": "i2c0", "address": 0x76, "interval": 60, "channels": [3, 4, 5]},
        ],
    })  # fmt: skip


def values(desk):
    return {each["setting"]: each["value"] for each in desk.ask("config get")["settings"]}


def test_get_shows_every_setting_and_no_secret():
    desk = full()
    shown = values(desk)
    assert shown["wifi[0].ssid"] == "home" and shown["cloud.port"] == "1" and shown["report.interval"] == "3600"
    assert shown["sensor[s0].limits.voltage.low"] == "0.500" and shown["sensor[air].address"] == "0x76"
    assert shown["sensor[air].limits.pressure.high"] is None and shown["sensor[s1].pin"] == "35"
    assert shown["wifi[0].password"] == "(secret)" and shown["wifi[1].password"] is None
    assert desk.ask("config get wifi[0].password")["value"] == "(secret)"
    one = desk.ask("config get report.interval")
    assert (one["value"], one["unit"], one["range"], one["effect"]) == ("3600", "s", "60..86400 s", "next contact")
    assert desk.ask("config get sensor[2].limits.temperature.low")["unit"] == "degC"
    assert b"tomatoes" not in desk.stream.said
    for wrong in (
        "nosuch", "wifi", "wifi[7].ssid", "wifi[0].colour", "sensor[s9].interval", "sensor[s0].address",
        "sensor[s0].limits.colour.low", "sensor[s0].limits.voltage.middle", "wifi[x].ssid", "sensor[-1].pin",
    ):  # fmt: skip
        assert "no " in desk.refused("config get " + wrong), wrong


def test_when_to_report_changes_the_schedule_at_once():
    desk = full()
    node = desk.node
    for setting, value in (("report.interval", "60"), ("report.size", "3"), ("report.age", "120"),
                           ("power.alarm_contacts", "96")):  # fmt: skip
        desk.ask("config set %s %s" % (setting, value))
    assert desk.ask("config save")["restart"] is False
    assert (node.settings["size"], node.settings["age"], node.settings["alarm_contacts"]) == (3, 120, 96)
    assert node.contacts.latest() <= 60 + 90
    desk.ask("config set report.age none")
    desk.ask("config save")
    assert node.settings["age"] is None
    old = desk.file()
    del old["size"]
    with open(stored.PATH, "w") as file:
        json.dump(old, file)
    assert "no setting" in desk.refused("config get report.size") and "report.size" not in values(desk)


def test_set_diff_save_and_what_takes_effect_when():
    desk = full()
    node = desk.node
    assert desk.refused("config save") == "nothing was changed" and desk.ask("config diff")["changes"] == []
    for setting, value in (("report.interval", "600"), ("sensor[1].interval", "30"), ("sensor[s0].pin", "36"),
                           ("sensor[s0].limits.voltage.low", "0.75"), ("sensor[air].limits.temperature.high", "-3.5"),
                           ("wifi[1].password", "12345678"), ("sensor[air].address", "0x77")):  # fmt: skip
        assert desk.ask("config set %s %s" % (setting, value))["saved"] is False, setting
    assert desk.file() == desk.deployed and node.settings["report"] == 3600
    changes = {each["setting"]: each for each in desk.ask("config diff")["changes"]}
    assert len(changes) == 7 and changes["report.interval"]["saved"] == "3600"
    assert changes["wifi[1].password"] == {
        "setting": "wifi[1].password", "saved": None, "new": "(secret)", "effect": "next contact",
    }  # fmt: skip
    assert changes["sensor[air].limits.temperature.high"]["new"] == "-3.50"
    answer = desk.ask("config save")
    assert answer["restart"] is True and sorted(answer["waiting"]) == ["sensor[air].address", "sensor[s0].pin"]
    new = desk.file()
    assert (new["report"], new["sensors"][1]["interval"], new["sensors"][0]["pin"]) == (600, 30, 36)
    assert new["limits"] == [[1, 750, 2000, 100], [3, None, -350, 0]] and new["wifi"][1] == ["open", "12345678"]
    # What needs no restart is in force.
    assert node.settings["report"] == 600 and node.intervals == [60, 30, 60]
    assert node.alarms.limits == new["limits"] and node.settings["wifi"] == new["wifi"]
    assert node.settings["sensors"][0]["pin"] == 34
    assert desk.ask("config diff")["changes"] == [] and desk.ask("version")["changed_here"]
    desk.boot()
    assert desk.node.settings["sensors"][0]["pin"] == 36


def test_values_are_checked_against_the_schema_and_nothing_changes():
    desk = full()
    for words, why in (
        ("report.interval 59", "59 is out of range 60..86400 s"),
        ("report.interval soon", "'soon' is no number"),
        ("report.interval 1e3", "no number"),
        ("report.interval 99999999999999999999", "out of range"),
        ("report.interval none", None),
        ("cloud.port 0", "1..65535"),
        ("cloud.host none", "cannot be left out"),
        ("cloud.host a_b!", "character '_'"),
        ("wifi[0].password short", "has 5, not 8..63"),
        ("wifi[0].ssid ''", "is 0 long"),
        ("sensor[air].bus i2c7", "use one of i2c0, i2c1"),
        ("sensor[air].address 0x80", "out of range"),
        ("sensor[air].address 0xzz", "no number"),
        ("sensor[s0].limits.voltage.low 0.0005", "finer than the channel's steps of 0.001"),
        ("sensor[s0].limits.voltage.low 99999999", "out of range"),
        ("sensor[s0].limits.voltage.low 1,5", "no decimal number"),
        ("sensor[s0].limits.voltage.low --1", "no decimal number"),
        ("sensor[air].limits.pressure.low 0.5", "finer"),
        ("node.name other", "deploy it"),
        ("node.tenant other", "deploy it"),
        ("sensor[s0].driver bme280", "deploy it"),
        ("sensor[s0].name x", "deploy it"),
        ("console.pin 12", "4..12 digits"),
        ("console.pin abcdef", "4..12 digits"),
        ("report.interval", "config set report.interval VALUE"),
        ("report.interval 60 70", "quotes"),
        ("", "quotes"),
    ):
        answer = desk.ask("config set " + words)
        if why is None:
            assert answer["value"] == "3600"  # the default
        else:
            assert answer["ok"] is False and why in answer["error"], (words, answer)
    assert desk.ask("config diff")["changes"] == []


def test_what_does_not_fit_together_is_not_saved():
    for commands, why in (
        (("sensor[s0].limits.voltage.low 2.5",), "low 2.500 is not below high 2.000"),
        (("sensor[s0].limits.voltage.hysteresis 1.6",), "hysteresis is wider than the band"),
        (("sensor[s1].pin 34",), "s0 and s1 are both at pin 34"),
        (("service.pin 34",), "service.pin: 34 is taken by s0"),
        (("sensor[air].address 0x40",), "0x40 is no address of a bme280; use 0x76 or 0x77"),
        (("wifi[2].password 12345678",), "wifi[2].ssid is missing"),
    ):
        desk = full()
        for command in commands:
            assert desk.ask("config set " + command)["ok"], command
        assert why in desk.refused("config save"), commands
        assert any(why in fault for fault in desk.ask("config diff")["faults"])
        assert desk.file() == desk.deployed and desk.files() == ["bootlog", "settings.json"]
    # Through a state that does not fit to one that does.
    desk = full()
    desk.ask("config set sensor[s0].limits.voltage.low 2.5")
    desk.ask("config set sensor[s0].limits.voltage.high 3")
    assert desk.ask("config save")["ok"] and desk.file()["limits"] == [[1, 2500, 3000, 100]]


def test_none_takes_limits_out_and_a_limit_without_either_end_is_none():
    desk = full()
    desk.ask("config set sensor[s0].limits.voltage.low none")
    assert desk.ask("config save")["ok"] and desk.file()["limits"] == [[1, None, 2000, 100]]
    desk.ask("config set sensor[s0].limits.voltage.high none")
    assert desk.ask("config save")["ok"] and desk.file()["limits"] == []


def test_the_service_window_and_its_pin_can_be_set_and_the_pin_taken_out():
    desk = full()
    desk.ask("config set service.pin 15")
    desk.ask("config set service.window 60")
    answer = desk.ask("config save")
    assert sorted(answer["waiting"]) == ["service.pin", "service.window"] and desk.file()["service"] == [60, 15]
    assert desk.ask("config set service.pin none")["ok"] and desk.ask("config save")["ok"]
    assert desk.file()["service"] == [60, None]
    desk = Desk()  # settings from before there was any
    assert "no setting 'service.pin'" in desk.refused("config set service.pin 15")


def test_undo_takes_back_what_was_set_then_the_save_and_again():
    desk = full()
    assert desk.refused("config undo") == "nothing was saved since the deployment"
    desk.ask("config set report.interval 600")
    assert desk.ask("config undo")["undone"] == "what was not saved"
    assert desk.ask("config diff")["changes"] == []
    for interval in (600, 1200):
        desk.ask("config set report.interval %d" % interval)
        assert desk.ask("config save")["ok"]
    answer = desk.ask("config undo")
    assert [(each["saved"], each["new"]) for each in answer["changes"]] == [("1200", "600")]
    assert desk.file()["report"] == 600 == desk.node.settings["report"]
    assert desk.ask("config undo")["ok"] and desk.file()["report"] == 1200
    # A deployment replaces the settings: what was kept of the one before is not brought back.
    with open(stored.PATH, "w") as file:
        json.dump(dict(desk.deployed, report=900), file)
    assert desk.refused("config undo") == "nothing was saved since the deployment"
    assert keep.reset() is False and desk.file()["report"] == 900


def test_a_cut_while_saving_leaves_the_old_settings_or_the_new():
    class Power:
        """The supply fails at the `left`-th step on the filesystem."""

        def __init__(self, left):
            self.left = left
            self.open, self.rename = open, os.rename

        def step(self):
            self.left -= 1
            if self.left < 0:
                raise Cut

        def write(self, path, data):
            self.step()
            with open(keep._NEW, "wb") as file:
                file.write(data[: len(data) // 2])
            self.step()
            with open(keep._NEW, "wb") as file:
                file.write(data)
            self.step()
            os.rename(keep._NEW, path)

    write = keep._write
    seen = set()
    for action in ("save", "undo", "reset"):
        for left in range(12):
            desk = full()
            for interval in (600, 1200):
                desk.ask("config set report.interval %d" % interval)
                desk.ask("config save")
            keep._write = Power(left).write
            cut = False
            try:
                if action == "save":
                    candidate = Candidate()
                    candidate.set("report.interval", "1800")
                    keep.save(candidate.new)
                else:
                    getattr(keep, action)()
            except Cut:
                cut = True
            finally:
                keep._write = write
            new = {"save": 1800, "undo": 600, "reset": 3600}[action]
            report = stored.load()["report"]
            assert report in (1200, new) if cut else report == new, (action, left, report)
            seen.add((action, report))
            assert keep.reset() is (report != 3600) and stored.load() == desk.deployed
    assert len(seen) == 6


def test_the_real_write_is_whole_or_not_at_all():
    desk = full()

    class Os:
        pass

    def fails(old, new):
        raise OSError(28)

    candidate = Candidate()
    candidate.set("report.interval", "600")
    module, keep.os = keep.os, Os()
    keep.os.rename = fails
    try:
        keep.save(candidate.new)
        raise AssertionError("no error")
    except OSError:
        pass
    finally:
        keep.os = module
    assert desk.file() == desk.deployed
    keep.save(candidate.new)  # the same again
    assert desk.file()["report"] == 600


def test_wifi_set_puts_a_network_first_and_forget_takes_one_out():
    desk = full()
    assert desk.ask("wifi set 'my net' 'pass phrase'")["networks"] == ["my net", "home", "open"]
    assert desk.ask("wifi set home 'another one'")["networks"] == ["home", "my net", "open"]
    assert desk.ask("wifi set fourth ''")["ok"]
    assert desk.refused("wifi set fifth ''") == "4 networks are the most; wifi forget one"
    assert desk.refused("wifi set x short").endswith("leave it empty for an open network")
    assert desk.refused("wifi set").startswith("wifi set SSID")
    assert desk.refused("wifi forget nosuch").startswith("no network")
    assert desk.ask("wifi forget open")["networks"] == ["fourth", "home", "my net"]
    assert desk.ask("config save")["restart"] is False
    assert desk.file()["wifi"] == [["fourth", ""], ["home", "another one"], ["my net", "pass phrase"]]
    assert desk.node.settings["wifi"] == desk.file()["wifi"]
    for ssid in ("fourth", "home"):
        desk.ask("wifi forget " + ssid)
    assert desk.refused("wifi forget 'my net'") == "it is the only network; set another first"


def test_a_passphrase_can_be_asked_for_unseen():
    desk = full()

    async def talk():
        desk.stream.type(b"wifi set garden\r")
        await asyncio.sleep_ms(20)
        first = await desk.typing(b"unseen passphrase\r")
        desk.stream.type(b"config set wifi[0].password\r")
        await asyncio.sleep_ms(20)
        return first + await desk.typing(b"seen by no one\r")

    said = desk.during(talk())
    assert "unseen" not in said and b"unseen" not in desk.stream.said and b"by no one" not in desk.stream.said
    desk.ask("config save")
    assert desk.file()["wifi"][0] == ["garden", "seen by no one"]
    assert not [text for text in desk.console._editor._history if "wifi set" in text or "config set" in text]


def test_a_pin_is_set_kept_as_a_hash_and_taken_out():
    desk = full()
    desk.ask("config set console.pin 4711")
    assert desk.ask("config save")["ok"] and "4711" not in json.dumps(desk.file())
    assert desk.ask("lock")["locked"] and desk.refused("config get").startswith("the console is locked")
    desk.boot()
    assert desk.console.locked and desk.ask("unlock 4711")["ok"]
    desk.ask("config set console.pin none")
    assert desk.ask("config save")["ok"] and "pin" not in desk.file() and "pin" not in desk.node.settings
    assert desk.refused("lock").startswith("there is no PIN")


def test_factory_reset_brings_back_what_was_deployed_and_keeps_the_rest():
    desk = full()
    with open("key", "wb") as file:
        file.write(bytes(32))
    desk.node.store.append_row(0, 1, 5, 0, 0, desk.node.sampler.values)
    desk.node.store.sensor(0, 1)
    for interval in (600, 1200):
        desk.ask("config set report.interval %d" % interval)
        desk.ask("config save")
    for words in ("", " --data", " yes", " --yes now"):
        assert desk.refused("factory-reset" + words).startswith("factory-reset --yes")

    def reset(words):
        async def talk():
            desk.stream.type(b"factory-reset " + words + b" --json\r")
            await asyncio.sleep_ms(900)

        try:
            desk.during(talk())
        except Slept:
            pass
        desk.stream.said = desk.stream.said.replace(b"\r\n", b"\n")
        return json.loads(bytes(desk.stream.said).decode().rstrip("\n").rpartition("\n")[2])

    answer = reset(b"--yes")
    assert answer["ok"] and answer["restart"] and answer["erased_rows"] == 0 and desk.board.power.resets == 1
    assert desk.file() == desk.deployed
    desk.boot()
    store = desk.node.store
    assert (store.journal.range()[2], store.alerts.range()[2]) == (2, 2) and store.frames.range()[2] == 1
    desk.node.contacts.busy = lambda: True
    assert desk.refused("factory-reset --yes --data") == "a contact is under way; wait for its end"
    del desk.node.contacts.busy
    answer = reset(b"--yes --data")
    assert (answer["settings"], answer["erased_rows"], answer["erased_events"]) == ("were as deployed", 1, 1)
    desk.boot()
    store = desk.node.store
    assert [ring.range() for ring in (store.journal, store.alerts, store.frames)] == [(1, 0, 1)] * 3
    assert stored.key() == bytes(32) and desk.node.bootlog.boot == 3


def test_decimals_are_exact():
    for value, exponent, text in (
        (500, -2, "5.00"), (-29, -2, "-0.29"), (7, 0, "7"), (-1, -3, "-0.001"), (0, -1, "0.0"), (3, 2, "300"),
    ):  # fmt: skip
        assert decimal(value, exponent) == text
    desk = full()
    for text, scaled in (("5", 500), ("-0.29", -29), ("1.150", 115), ("+3", 300), (".5", 50), ("0", 0)):
        candidate = Candidate()
        candidate.set("sensor[air].limits.temperature.low", text)
        assert candidate.new["limits"][1][1] == scaled, text
    for text in ("", ".", "-", "1.2.3", "1 2", "0x5", "nan", "1.001"):
        try:
            Candidate().set("sensor[air].limits.temperature.low", text)
        except Refused:
            continue
        raise AssertionError(text)
    assert desk.files() == ["bootlog", "settings.json"]
