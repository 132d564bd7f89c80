# heap: 1024K
# beside: 3
# vm31: no, it waits in asyncio and wants littlefs
"""Each command of the console but those of the settings: its answer, and what it says to bad input."""

import asyncio
import json
import os

from consolekit import Desk, Light
from flashring import RingBusy
from mqttpeer import CONNACK
from node import log, tls
from nodekit import FakeUplink, Slept


def test_status():
    desk = Desk(limits=((1, None, 2000, 0),))
    answer = desk.ask("status")
    assert (answer["node"], answer["boot"], answer["reason"], answer["clock"]) == ("t/n", 1, "power-on", None)
    assert answer["contact"] is None and answer["rows_waiting"] == 0 and answer["battery_mv"] is None
    desk.ask("send")
    answer = desk.ask("status")
    assert answer["contact"].startswith("complete, 0 s") and answer["quality"] == "synchronised"
    assert answer["clock"] == "2026-05-03T19:33:20Z" and 0 <= answer["next_sample_s"] <= 60
    assert "\nnext sample " in desk.say("status")


def test_status_tells_the_wear_and_how_long_the_flash_lasts():
    desk = Desk()
    answer = desk.ask("status")
    assert answer["sector_erases"] == "journal 0..1, alerts 0..1, frames 0..1" and answer["flash_life_years"] is None
    journal = desk.node.store.journal
    while journal.opened() != (2, 2):
        try:
            journal.append(bytes(50))
        except RingBusy:
            journal.idle()
        journal.release(journal.range()[2] - 1, False)
    rows = journal.range()[2] - 1
    answer = desk.ask("status")
    assert answer["sector_erases"] == "journal 2, alerts 0..1, frames 0..1"
    wanted = 100000 * rows // (2 * 1440 * 365)  # a row a minute
    assert abs(answer["flash_life_years"] - wanted) <= wanted // 20 + 1, (answer["flash_life_years"], wanted)


def test_version():
    answer = Desk().ask("version")
    assert answer["firmware"] == "0.1.0" and answer["released"] == "2026-05-01" and answer["chip"] == "010203040506"
    assert answer["changed_here"] is False and answer["board"] == "fake"


def test_time_tells_the_clock_and_its_drift():
    desk = Desk()
    answer = desk.ask("time")
    assert answer["clock"] is None and answer["set_ago_s"] is None and answer["moved_s"] is None
    desk.node.set_clock(200000000, 0)
    answer = desk.ask("time")
    assert (answer["clock"], answer["quality"], answer["moved_s"]) == ("2026-05-03T19:33:20Z", "synchronised", None)
    at, moved, _ = desk.node.keeper.was_set
    desk.node.keeper.was_set = at, -2, 40000  # it ran ahead by 2 s in 40,000
    assert desk.ask("time")["drift_ppm"] == 50
    for seconds, shown in (
        (0, "2020-01-01T00:00:00Z"), (5097599, "2020-02-28T23:59:59Z"), (5097600, "2020-02-29T00:00:00Z"),
        (5184000, "2020-03-01T00:00:00Z"), (536543999, "2036-12-31T23:59:59Z"),
    ):  # fmt: skip
        desk.node.set_clock(seconds, 0)
        assert desk.ask("time")["clock"] == shown


def test_mem_and_df():
    desk = Desk()
    answer = desk.ask("mem")
    assert answer["used_bytes"] + answer["free_bytes"] == answer["total_bytes"] > 900000
    answer = desk.ask("df")
    assert answer["total_kb"] == 16 and answer["used_kb"] + answer["free_kb"] in (15, 16)


def test_log_shows_levels_and_follows():
    desk = Desk()
    log.printing = False
    log.say(log.INFO, "contact begins")
    log.warning("radio: no network")
    try:
        log.say(1 // 0, "")
    except ZeroDivisionError as error:
        log.traceback(error)
    lines = [each["line"] for each in desk.answers("log")[:-1]]
    assert lines[-5:-3] == ["contact begins", "radio: no network"] and lines[-1].startswith("ZeroDivisionError")
    assert "contact begins" not in desk.say("log warning") and "radio: no" in desk.say("log warning")
    assert desk.answers("log error")[0]["level"] == "error"
    assert desk.refused("log loud") == "log [-f] [debug|info|warning|error]" == desk.refused("log info error")

    async def talk():
        start = len(desk.stream.said)
        desk.stream.type(b"log -f error\r")
        await asyncio.sleep_ms(50)
        log.say(log.ERROR, "while it follows")
        log.say(log.INFO, "too low")
        await asyncio.sleep_ms(300)
        assert b"while it follows" in desk.stream.said[start:] and b"too low" not in desk.stream.said[start:]
        for number in range(40):  # more than are kept
            log.say(log.ERROR, "burst %d" % number)
        await asyncio.sleep_ms(700)  # several looks
        assert desk.stream.said.count(b"burst 39") == desk.stream.said.count(b"while it follows") == 1
        return await desk.typing(b"q")

    assert "lines" in desk.during(talk())
    log.printing = True


def test_sensors_tell_how_they_did():
    desk = Desk()
    assert [each["last"] for each in desk.ask("sensors")["sensors"]] == ["not measured yet"] * 2
    desk.adcs[35].mv = OSError(5)
    desk.ask("read")
    rows = desk.ask("sensors")["sensors"]
    assert [each["last"] for each in rows] == ["ok", "no answer"] and rows[1]["where"] == "pin 35"


def test_read_measures_and_stores_nothing():
    desk = Desk()
    desk.adcs[35].mv = OSError(5)
    first, second = desk.ask("read")["readings"]
    assert (first["channel"], first["value"], first["unit"], first["outcome"]) == ("s0.voltage", "1.034", "V", "ok")
    assert second["value"] is None and second["outcome"] == "no answer"
    desk.adcs[34].mv = -7
    assert [each["value"] for each in desk.ask("read s0")["readings"]] == ["-0.007"]
    assert desk.node.store.waiting_rows() == 0
    assert desk.refused("read s2") == "no sensor 's2'; there are s0, s1"
    assert desk.refused("read s0 s1").startswith("no sensor 's0 s1'")


def test_the_console_and_the_node_do_not_measure_at_once():
    desk = Desk()
    sampler = desk.node.sampler
    done = []
    sampler._driver(0).start = lambda ticks: 20  # ms

    async def measure(which):
        await sampler.sample(which)
        assert sampler.present == sum(1 << index for index in which), (which, sampler.present)
        done.append(which)

    async def main():
        await asyncio.gather(measure([0]), measure([0, 1]), measure([1]))

    asyncio.run(main())
    assert sorted(done) == [[0], [0, 1], [1]]


def test_watch_goes_on_until_a_key():
    desk = Desk()

    async def talk(command):
        start = len(desk.stream.said)
        desk.stream.type(command)
        await asyncio.sleep_ms(1150)
        said = await desk.typing(b"\x03")
        assert "MicroPython" not in said  # it ended the command, and was used up
        return bytes(desk.stream.said[start:]).decode().split("\r\n")

    answers = [json.loads(line) for line in desk.during(talk(b"watch s0 1 --json\r")) if line[:1] == "{"]
    assert [each["readings"][0]["value"] for each in answers[:-1]] == ["1.034"] * 2
    assert answers[-1] == {"ok": True, "measured": 2}
    assert desk.during(talk(b"watch\r")).count("s1.voltage  1.035  V     ok       normal") == 1
    assert desk.refused("watch 0") == "0 s; choose 1 to 3600" and desk.refused("watch x 5").startswith("no sensor 'x'")


def test_i2c_scan():
    desk = Desk(more={"sensors": [
        {"name": "air", "driver": "bme280", "bus": "i2c0", "address": 0x42, "interval": 60, "channels": [1]},
        {"name": "s1", "driver": "analog", "pin": 35, "interval": 60, "channels": [2]},
    ]})  # fmt: skip
    assert desk.ask("i2c scan")["found"] == [{"bus": "i2c0", "address": "0x42", "sensor": "air"}]
    assert desk.ask("i2c scan i2c0")["found"] and desk.refused("i2c scan i2c7") == "board: no bus i2c7; there are i2c0"


def test_wifi_status_and_scan():
    desk = Desk()
    assert desk.ask("wifi status") == {
        "ok": True, "radio": "off", "signal_dbm": None, "networks": [{"ssid": "x", "protected": False}],
    }  # fmt: skip
    found = [(each["ssid"], each["signal_dbm"], each["known"]) for each in desk.ask("wifi scan")["networks"]]
    assert found == [("x", -47, True), ("far", -88, False)]
    desk.board.the_radio.scan = lambda: 1 // 0
    assert desk.refused("wifi scan").startswith("ZeroDivisionError")


class Cloud:
    """A broker in this VM, in the clear: answers CONNECT, if it does not hang up."""

    def __init__(self, hangs_up):
        self._hangs_up = hangs_up
        self._server = None

    async def listen(self):
        self.port = 20000 + int.from_bytes(os.urandom(2), "big") % 12000
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    async def _serve(self, reader, writer):
        got = await reader.read(64)
        if got and not self._hangs_up:
            writer.write(CONNACK)
            await writer.drain()
            await reader.read(64)
        writer.close()
        await writer.wait_closed()


def pinged(desk, port, hangs_up=False):
    desk.node.settings["cloud"] = ["127.0.0.1", port]
    context, tls.context = tls.context, lambda: None

    async def talk():
        cloud = Cloud(hangs_up)
        if port is None:
            await cloud.listen()
            desk.node.settings["cloud"][1] = cloud.port
        said = await desk.typing(b"net ping --json\r")
        return json.loads(said.split("\r\n")[-2])

    try:
        return desk.during(talk())
    finally:
        tls.context = context


def test_net_ping_goes_step_by_step_and_turns_the_radio_off():
    desk = Desk()
    answer = pinged(desk, None)
    assert answer["ok"], answer
    assert [each["step"] for each in answer["steps"]] == ["radio", "name", "tcp", "tls and mqtt"]
    assert all(0 <= each["took_ms"] < 5000 for each in answer["steps"])
    radio = desk.board.the_radio
    assert (radio.ups, radio.downs) == (1, 1)
    answer = pinged(desk, 1)  # nobody listens there
    assert not answer["ok"] and answer["error"].startswith("tcp failed: ") and "radio 0 ms" in answer["error"], answer
    error = pinged(desk, None, hangs_up=True)["error"]
    assert error.startswith("tls and mqtt failed: ") and "tcp" in error, error
    assert (radio.ups, radio.downs) == (3, 3)


def test_net_ping_waits_for_a_contact_to_end_and_names_a_radio_that_fails():
    desk = Desk()
    desk.node.contacts.busy = lambda: True
    assert desk.refused("net ping").startswith("a contact is under way")
    del desk.node.contacts.busy

    async def up(networks, timeout_ms):
        raise OSError("radio: no network of 1 joined (status 201)")

    desk.board.the_radio.up = up
    error = desk.refused("net ping")
    assert error == "radio failed: radio: no network of 1 joined (status 201); before it went nothing"


def test_ring_and_queue_count_what_waits():
    desk = Desk()
    node = desk.node
    for second in range(3):
        node.store.append_row(0, 1, second, 0, 0, node.sampler.values)
    node.store.sensor(0, 1)
    journal, alerts, frames = desk.ask("ring")["rings"]
    assert (journal["oldest"], journal["released"], journal["newest"], journal["kept"]) == (1, 0, 3, 3)
    assert (alerts["kept"], frames["kept"], frames["sectors"]) == (1, 0, 4)
    answer = desk.ask("queue")
    assert (answer["events"], answer["frames"], answer["rows"], answer["contact_under_way"]) == (1, 0, 3, False)
    node.store.alerts.release(1)
    node.store.journal.release(2)
    answer = desk.ask("queue")
    assert (answer["events"], answer["rows"]) == (0, 1)


def test_send_makes_a_contact_and_tells_how_it_went():
    desk = Desk()
    desk.node.store.append_row(0, 1, 5, 0, 0, desk.node.sampler.values)

    def commits(node):
        for ring in (node.store.alerts, node.store.frames):
            ring.release(ring.range()[2] - 1)
        return True

    FakeUplink.script = commits
    assert desk.ask("send") == {"ok": True, "contact": "complete", "committed": 1, "rows_waiting": 0}
    FakeUplink.script = lambda node: False
    assert desk.ask("send")["contact"].startswith("incomplete")
    FakeUplink.script = lambda node: 1 // 0
    assert desk.ask("send")["contact"].startswith("incomplete")
    assert desk.answers("log error")[-2]["line"].startswith("ZeroDivisionError")
    assert desk.node.retained.conn == 3 and desk.node.retained.failures == 2
    assert FakeUplink.contacts == 3

    async def slow(self, fresh_from):
        await asyncio.sleep_ms(200)
        return True

    run, FakeUplink.run = FakeUplink.run, slow

    async def talk():
        desk.stream.type(b"send\r")
        await asyncio.sleep_ms(50)
        told = [await desk.typing(b" "), await desk.typing(b"send\r")]
        while desk.node.contacts.busy():
            await asyncio.sleep_ms(5)
        return told

    try:
        goes_on, refused = desk.during(talk())
    finally:
        FakeUplink.run = run
    assert "goes on" in goes_on and "error: a contact is under way" in refused
    assert desk.node.contacts.last[1] is True


def test_a_contact_of_the_console_does_not_confuse_those_of_the_node():
    desk = Desk(sensors=((34, 1),))
    contacts = []

    async def slow(self, fresh_from):
        contacts.append("begun")
        await asyncio.sleep_ms(150)
        contacts.append("over")
        return True

    run, FakeUplink.run = FakeUplink.run, slow
    async def main():
        living = asyncio.create_task(desk.node.live())
        while not contacts or desk.node.contacts.busy():  # the boot's own contact
            await asyncio.sleep_ms(0)
        for _ in range(4):  # each begins as the one before ends, before the node has seen that
            desk.node.contacts.begin()
            await asyncio.sleep_ms(10)
            assert desk.node.contacts.busy()
            desk.board.clock.now += 1
            while desk.node.contacts.busy():
                await asyncio.sleep_ms(0)
        living.cancel()

    try:
        asyncio.run(main())
    finally:
        FakeUplink.run = run
    assert contacts == ["begun", "over"] * 5, contacts


def test_identify_blinks_and_ends_with_a_key():
    desk = Desk()
    assert desk.refused("identify") == "this board has no light that the node can switch"
    desk.board.light = Light()
    assert desk.ask("identify 1")["blinks"] == 2 == desk.board.light.flashes
    for words in ("identify 0", "identify x", "identify 3601", "identify 1 2"):
        assert desk.refused(words) == "identify [SECONDS], 1 to 3600"

    async def talk():
        desk.stream.type(b"identify\r")
        await asyncio.sleep_ms(50)
        return await desk.typing(b" ")

    assert "blinks  1" in desk.during(talk())


def test_reboot_says_so_first():
    desk = Desk()

    async def talk():
        desk.stream.type(b"reboot --json\r")
        await asyncio.sleep_ms(500)

    try:
        desk.during(talk())
    except Slept:
        pass
    assert desk.board.power.resets == 1 and desk.stream.said.endswith(b'{"ok": true, "restart": true}\r\n')
    desk.boot()
    assert desk.ask("status")["reason"] == "restart" and desk.ask("status")["boot"] == 2


def test_python_runs_beside_the_node():
    desk = Desk()
    assert desk.ask("python node.settings['report'] + 1")["value"] == "3601"
    assert desk.ask("python await asyncio.sleep_ms(1, 7)")["ok"] is False
    assert desk.refused("python 1//0").startswith("ZeroDivisionError")

    async def typed(*lines):
        start = len(desk.stream.said)
        for line in lines:
            desk.stream.type(line.encode() + b"\r")
        while desk.stream.typed or not desk.stream.said.endswith(b">>> "):
            await asyncio.sleep_ms(2)
        return bytes(desk.stream.said[start:]).decode()

    async def talk():
        said = await typed("python", "x = 6", "x * 7", "_ + 1", "def f(a):", "    return a + 1", "", "f(1)", "1 // 0",
                           "while", "await asyncio.sleep_ms(2)", "node.settings['node']")  # fmt: skip
        for expected in ("\n42\r\n", "\n43\r\n", "\n2\r\n", "ZeroDivisionError", "SyntaxError", "\n'n'\r\n>>> "):
            assert expected in said, (expected, said)
        assert 'File "<console>", line 1' in said
        return await desk.typing(b"exit\r")

    desk.during(talk())
    assert desk.stream.interrupts[-1] is False and desk.stream.interrupts.count(True) > 8

    async def interrupts():
        desk.node.hit = lambda: (_ for _ in ()).throw(KeyboardInterrupt)
        said = await typed("python", "next(node.hit())", "5")
        assert "KeyboardInterrupt" in said and "\r\n5\r\n>>> " in said, said
        return await desk.typing(b"\x04")

    desk.during(interrupts())


def test_the_loop_runs_on_while_python_awaits():
    desk = Desk()
    ticks = []

    async def tick():
        while True:
            ticks.append(1)
            await asyncio.sleep_ms(2)

    answer = desk.during(desk.typing(b"python await asyncio.sleep_ms(100) --json\r"), tick())
    assert '{"ok": true, "value": "None"}' in answer and len(ticks) > 20
