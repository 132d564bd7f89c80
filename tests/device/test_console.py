# heap: 1024K
# beside: 3
# vm31: no, it waits in asyncio and wants littlefs
"""The shell itself: lines, keys, noise, Ctrl-C, the PIN, and that it answers while the node works."""

import asyncio
import json
import sys
import time

from consolekit import Desk, Stream
from node import log
from node.console import attend, line, parse, serve, shell, show, stdio, table
from node.service import Service
from nodekit import FakeUplink, Slept


class Screen:
    """A terminal of one line: understands what the editor writes. A letter's bytes must come one after another."""

    def __init__(self):
        self.cells, self.at, self.open = [], 0, False

    def write(self, data):
        i = 0
        while i < len(data):
            byte = data[i]
            i += 1
            if byte == 27:
                end = i + 1
                while 48 <= data[end] < 58:
                    end += 1
                count = int(bytes(data[i + 1 : end]) or b"1")
                if data[end] == 75:
                    self.cells = self.cells[: self.at]
                else:
                    self.at += count if data[end] == 67 else -count
                assert 0 <= self.at <= len(self.cells)
                i = end + 1
                self.open = False
            elif byte & 0xC0 == 0x80 and self.open:
                self.cells[self.at - 1] += bytes([byte])
            else:
                self.cells[self.at : self.at + 1] = [bytes([byte])]
                self.at += 1
                self.open = byte >= 0xC0

    def shows(self):
        return b"".join(self.cells).decode()


def typed(*pieces):
    """(editor, screen, what the last byte gave) after the pieces."""
    screen = Screen()
    editor = line.Editor(screen.write)
    got = None
    for piece in pieces:
        for byte in piece:
            got = editor.feed(byte)
    return editor, screen, got


UP, DOWN, RIGHT, LEFT, HOME, END, DELETE = b"\x1b[A", b"\x1b[B", b"\x1b[C", b"\x1b[D", b"\x1b[H", b"\x1bOF", b"\x1b[3~"


def test_a_line_is_edited_where_the_cursor_is_and_the_screen_shows_it():
    for keys, text, cursor in (
        ((b"status",), "status", 6),
        ((b"stus", LEFT, LEFT, b"at"), "status", 4),
        ((b"xstatus", HOME, DELETE, END, b"!"), "status!", 7),
        ((b"statuss", b"\x7f"), "status", 6),
        ((b"stxatus", LEFT, LEFT, LEFT, LEFT, b"\x08"), "status", 2),
        ((b"ab", LEFT, LEFT, LEFT, b"\x7f", RIGHT, RIGHT, RIGHT, DELETE), "ab", 2),
        ((b"gone", b"\x15", b"new"), "new", 3),
        (("grün".encode(), LEFT, b"\x7f", "ü".encode(), RIGHT, b"!"), "grün!", 5),
        ((b"a\x1b[1;5Cb\x1bxc\x1b[200~d",), "abcd", 4),
    ):
        editor, screen, _ = typed(*keys)
        assert (editor.text(), screen.shows(), screen.at) == (text, text, cursor), (keys, screen.shows(), screen.at)


def test_history_goes_up_and_down_and_is_bounded():
    editor, screen, _ = typed()
    for number in range(12):
        editor.remember("line %d" % number)
    editor.remember("line 11")
    editor.begin(False)
    moves = (UP, "line 11"), (UP, "line 10"), (DOWN, "line 11"), (DOWN, ""), (DOWN, ""), (UP * 20, "line 4")
    for keys, text in moves:
        for byte in keys:
            editor.feed(byte)
        assert editor.text() == text and screen.shows() == text, (keys, editor.text())


def test_a_hidden_line_shows_nothing_and_has_no_history():
    editor, screen, _ = typed()
    editor.remember("old")
    editor.begin(True)
    for byte in b"sec" + UP + LEFT + b"x" + b"\x7f" + END + b"ret":
        editor.feed(byte)
    assert editor.text() == "secret" and screen.shows() == ""


def test_typing_at_the_end_allocates_nothing():
    import micropython

    editor = line.Editor(len)
    keys = b"status \x7f\x7f"
    micropython.heap_lock()
    try:
        for byte in keys:
            if byte >= 32 and byte != 127:
                editor.feed(byte)
    finally:
        micropython.heap_unlock()
    assert editor.text() == "status "


def test_a_line_too_long_is_not_taken_and_the_next_one_is():
    desk = Desk()
    assert desk.say("x" * 257).endswith("error: 257 bytes, at most 256; the line was not taken")
    assert desk.say("help " + "y" * 251).startswith("error: unknown command")
    assert desk.ask("python 1")["value"] == "1"


def test_noise_is_told_of_once_and_runs_nothing():
    desk = Desk()
    noise = bytes([(i * 89 + 7) % 256 for i in range(3000)])
    noise = bytes([byte for byte in noise if byte != 4])

    async def talk():
        desk.stream.type(b"\x00\x01reboot\r" + noise + b"\r\n\x06reboot\r")
        while desk.stream.typed:
            await asyncio.sleep_ms(1)
        assert desk.stream.said.count(b"error:") == 1, desk.stream.said
        return await desk.typing(b"\rpython 41+1 --json\r")

    said = desk.during(talk())
    assert desk.board.power.resets == 0 and b"bytes of noise" in desk.stream.said
    assert json.loads(said.split("\r\n")[-2])["value"] == "42"


def test_noise_does_not_stop_the_node():
    desk = Desk()

    async def talk():
        desk.stream.type(b"\xff\xfe\r\x03\x03\x03\xfe\r\x03")
        while desk.stream.typed:
            await asyncio.sleep_ms(1)
        return await desk.typing(b"\r")

    desk.during(talk())


def test_half_a_line_is_given_up_when_it_is_old():
    desk = Desk()

    async def talk():
        desk.stream.type(b"factory-reset --y")
        await asyncio.sleep_ms(5)
        desk.console._heard = time.ticks_add(time.ticks_ms(), -61000)
        return await desk.typing(b"python 7\r")

    said = desk.during(talk())
    assert "half a line was given up\r\nn> python 7\r\nvalue  7" in said, said


def test_return_and_line_feed_end_one_line_together_or_alone():
    desk = Desk()
    for end in (b"\r\n", b"\r", b"\n"):

        async def talk(end=end):
            desk.stream.type(b"python 1" + end)
            await asyncio.sleep_ms(20)

        start = len(desk.stream.said)
        desk.during(talk())
        said = bytes(desk.stream.said[start:])
        assert said.count(b"value  1") == 1 and said.count(b"n> ") == 2, said


def test_tab_completes_commands_sensors_and_settings():
    desk = Desk()
    for text, line_then in (
        ("stat\t", "status"),
        ("conf\tg\tcloud.h\t", "config get cloud.host"),
        ("read s\t1", "read s1"),
        ("config get sensor[s1].i\t", "config get sensor[s1].interval"),
        ("log w\t", "log warning"),
        ("nosuch\t", "nosuch"),
        ("read s0 s\t", "read s0 s"),
    ):

        async def talk(text=text):
            desk.stream.type(text.encode())
            await asyncio.sleep_ms(20)
            return desk.console._editor.text()

        assert desk.during(talk()) == line_then, text
    async def offers():
        desk.stream.type(b"config \t")
        await asyncio.sleep_ms(20)

    desk.during(offers())
    assert b"config get  config set  config diff  config save  config undo\r\nn> config " in desk.stream.said


def test_ctrl_c_clears_the_line_and_twice_leads_to_micropython():
    desk = Desk()

    async def clears():
        desk.stream.type(b"reboot\x03")
        await asyncio.sleep_ms(20)
        return await desk.typing(b"python 5\r")

    assert "value  5" in desk.during(clears()) and b"reboot^C\r\nn> " in desk.stream.said

    async def once():
        await asyncio.sleep_ms(600)  # longer than a program would wait after its return
        desk.stream.type(b"\x03")
        await asyncio.sleep_ms(20)
        return await desk.typing(b"python 6\r")

    said = desk.during(once())
    assert "value  6" in said and b"Ctrl-C again" in desk.stream.said, (said, bytes(desk.stream.said))
    for keys in (b"\x03\x03", b"\r\x03", b"half\r\x03"):  # the last two as mpremote sends it
        desk.boot()

        async def leaves(keys=keys):
            await asyncio.sleep_ms(0)
            desk.stream.type(keys + b"\r\x01")
            await asyncio.sleep_ms(500)

        try:
            desk.during(leaves())
        except KeyboardInterrupt:
            pass
        else:
            raise AssertionError("%r did not leave" % keys)
        assert desk.stream.typed == b"\r\x01"  # what follows is the REPL's


def test_the_end_of_the_stream_ends_the_console_and_nothing_else():
    desk = Desk()

    async def main():
        task = asyncio.create_task(serve(desk.node, desk.stream))
        await asyncio.sleep_ms(5)
        assert not log.printing
        desk.stream.type(b"half a li")
        desk.stream.close()
        await asyncio.wait_for(task, 1)

    asyncio.run(main())
    assert log.printing and desk.stream.interrupts == [False, True]


def test_a_fault_in_a_command_ends_that_command_only():
    desk = Desk()
    desk.node.store.mount_rest = lambda: 1 // 0
    assert desk.refused("ring").startswith("ZeroDivisionError: ")
    assert any("storage.py" in text for _, _, text in log.lines)
    del desk.node.store.mount_rest
    assert desk.ask("ring")["ok"]


def test_commands_leave_no_module_behind():
    desk = Desk()
    before = set(sys.modules)
    for command in ("status", "read", "nonsense", "ring", "python 1", "read nobody"):
        desk.ask(command)
    left = set(sys.modules) - before
    assert left <= {"node.console.commands", "node.release", "drivers", "drivers.analog"}, left
    for name in ("parse", "table", "show", "decimal", "candidate", "complete"):
        assert "node.console." + name not in sys.modules, name


def test_quotes_hold_words_together():
    assert parse.split("""wifi set "my net" 'a "b" c' "" x""") == ["wifi", "set", "my net", 'a "b" c', "", "x"]
    assert Desk().refused('wifi set "my net') == "a quote is not closed"


def test_unknown_commands_are_told_what_is_near():
    desk = Desk()
    assert desk.refused("stat") == "unknown command 'stat'; did you mean status?"
    assert desk.refused("xyz") == "unknown command 'xyz'; help lists them"
    assert desk.refused("net") == "net does not stand alone; there are: net ping"
    assert "json" not in desk.say("") and desk.say("   ") == ""


def test_every_command_of_the_table_has_its_handler_and_its_help():
    desk = Desk()
    listed = [each["command"] for each in desk.ask("help")["commands"]]
    assert len(listed) == len(table.COMMANDS)
    for command in table.COMMANDS:
        module, function = command.handler.split(".")
        made = getattr(getattr(__import__("node.console.commands." + module).console.commands, module), function)
        assert callable(made), command.name
        answer = desk.ask("help " + command.name)
        assert answer["help"] == command.help and answer["usage"].startswith(command.name)
    assert desk.refused("help nosuch").startswith("unknown command 'nosuch'")


def test_answers_for_people_carry_units():
    answer = {"uptime_s": 53, "ok": True, "battery_mv": None, "names": ["a", "b"], "none": [], "d": {"x_ms": 1}}
    lines = sorted(show.lines(answer))
    assert lines == ["battery  -", "d        x 1 ms", "names    a, b", "none     -", "ok       yes", "uptime   53 s"]



def locked():
    from node.console.pin import seal

    return Desk(more={"pin": seal("4711", bytes(range(8)))})


def test_a_locked_console_only_unlocks():
    desk = locked()
    for command in ("status", "config get", "python 1", "reboot", "lock", "nothing"):
        assert desk.ask(command)["ok"] is False
    assert desk.refused("status") == "the console is locked; unlock PIN"
    assert desk.ask("help unlock")["ok"] and desk.console.prompt() == "n (locked)> "
    assert desk.ask("unlock 4711")["locked"] is False
    assert desk.ask("status")["ok"] and desk.console.prompt() == "n> "
    assert desk.ask("lock")["locked"] and desk.refused("status")
    assert not [text for text in desk.console._editor._history if "4711" in text]


def test_a_pin_can_be_asked_for_unseen():
    desk = locked()

    async def talk():
        desk.stream.type(b"unlock\r")
        await asyncio.sleep_ms(20)
        return await desk.typing(b"4711\r")

    said = desk.during(talk())
    assert b"PIN: " in desk.stream.said and "4711" not in said and not desk.console.locked
    assert not any("unlock" in text for text in desk.console._editor._history)


def test_ctrl_c_does_not_lead_past_a_lock():
    desk = locked()

    async def talk():
        desk.stream.type(b"\x03\x03\r\x03\x03")
        await asyncio.sleep_ms(30)
        return await desk.typing(b"\r")

    desk.during(talk())


def test_three_wrong_pins_cost_half_a_minute_and_the_node_works_on():
    desk = locked()
    assert desk.ask("unlock 0000")["error"] == "wrong PIN; 2 more, then a pause"
    assert desk.say("unlock 0001") == "error: wrong PIN; 1 more, then a pause"

    async def talk():
        start = len(desk.stream.said)
        desk.stream.type(b"unlock 1234\runlock 4711\r")
        for _ in range(50):
            await asyncio.sleep_ms(2)
        return bytes(desk.stream.said[start:])

    said = desk.during(talk())
    assert b"error" not in said and desk.console.locked and desk.stream.typed, said


def test_it_answers_while_a_contact_is_under_way():
    desk = Desk()
    told = []

    async def slow(node):
        for _ in range(40):
            await asyncio.sleep_ms(5)
        told.append("contact over")
        return True

    run = FakeUplink.run
    FakeUplink.run = lambda self, fresh_from: slow(self._node)

    async def talk():
        desk.node.contacts.begin()
        for command in ("status", "read", "queue", "wifi status", "ring"):
            said = await desk.typing(command.encode() + b" --json\r")
            told.append(json.loads(said.split("\r\n")[-2])["ok"])
            assert desk.node.contacts.busy()
        while desk.node.contacts.busy():
            await asyncio.sleep_ms(1)

    try:
        desk.during(talk())
    finally:
        FakeUplink.run = run
    assert told == [True] * 5 + ["contact over"]


def test_the_node_measures_while_somebody_types_and_sleeps_when_nobody_is_there():
    desk = Desk(sensors=((34, 1),))
    kept = []

    async def talk():
        for _ in range(5):
            desk.board.clock.now += 1
            await desk.typing(b"status\r")
            await asyncio.sleep_ms(130)
        rows = desk.node.store.journal.range()[2] - 1
        assert rows >= 4 and desk.board.power.slept is None, rows
        desk.node.intervals[0] = 60
        desk.node.service.cable = False
        await asyncio.sleep_ms(1200)
        assert desk.node.service.session and desk.board.power.slept is None  # a line may follow
        kept.append("awake for a line")
        desk.console._used = time.ticks_add(time.ticks_ms(), -shell.SESSION_MS - 1)
        await asyncio.sleep_ms(3000)

    node = desk.node
    look, shell._LOOK_MS = shell._LOOK_MS, 50
    FakeUplink.script = lambda node: True

    async def main():
        served = asyncio.create_task(desk.console.run())
        talking = asyncio.create_task(talk())
        try:
            await node.live()
        finally:
            served.cancel()
            talking.cancel()

    try:
        asyncio.run(main())
    except Slept:
        pass
    finally:
        shell._LOOK_MS = look
    assert kept and desk.board.power.slept > 50000


def test_the_log_keeps_the_last_lines_and_its_memory():
    start = log.said
    log.printing = False
    for number in range(100):
        log.warning("%d %s" % (number, "x" * 300))
    log.printing = True
    assert log.said == start + 100 and len(log.lines) == 32
    level, _, text = log.lines[0]
    assert level == log.WARNING and text.startswith("68 x") and len(text) == 160
    try:
        raise ValueError("here")
    except ValueError as error:
        log.traceback(error)
    assert log.lines[-1][2] == "ValueError: here" and log.lines[-1][0] == log.ERROR and len(log.lines) == 32


def test_nothing_but_a_line_keeps_the_node_awake():
    desk = Desk()

    async def talk():
        desk.stream.type(b"\xfe\xff\r\x00\r\xfd\r half a li")
        await asyncio.sleep_ms(30)
        assert not desk.node.service.session
        await desk.typing(b"\x15\r")
        assert desk.node.service.session
        desk.stream.close()
        await asyncio.sleep_ms(10)
        assert not desk.node.service.session

    desk.during(talk())


def test_the_serial_port_is_left_to_micropython_until_the_console_comes():
    desk = Desk()
    pipe = Stream()

    class Port:
        buffer = pipe

    class Sys:
        stdin = stdout = Port

    class Micropython:
        calls = []
        kbd_intr = staticmethod(calls.append)

    async def ready(self):
        while not pipe.typed and not pipe.closed:  # the VM's poller takes no object for a file
            await asyncio.sleep_ms(1)

    class Bytes:
        """What a port's buffer offers."""

        write = pipe.write

        @staticmethod
        def read(n):
            got, pipe.typed = bytes(pipe.typed[:n]), pipe.typed[n:]
            return got

    Port.buffer = Bytes
    kept = stdio.sys, stdio.micropython, stdio.Stdio._ready
    stdio.sys, stdio.micropython, stdio.Stdio._ready = Sys, Micropython, ready

    async def main():
        pipe.type(b"\rpython 3\r")
        assert Micropython.calls == [] and log.printing
        task = asyncio.create_task(attend(desk.node))
        while b"value  3" not in pipe.said:
            await asyncio.sleep_ms(5)
        assert Micropython.calls[0] == -1 and not log.printing
        pipe.close()
        await asyncio.wait_for(task, 1)
        assert Micropython.calls[-1] == 3 and log.printing
        await attend(desk.node)  # a port that has ended

    try:
        asyncio.run(main())
    finally:
        stdio.sys, stdio.micropython, stdio.Stdio._ready = kept
    assert pipe.said.startswith(b"\r\nConsole of n; help lists the commands.\r\nn> ")


def test_the_console_is_imported_when_a_key_comes_and_the_window_waits_for_the_line():
    desk = Desk()
    service = Service(desk.board, 1, None)
    desk.node.service = service
    attended, polled = [], [[]]

    class Poll:
        def poll(self, ms):
            return polled[0]

    service._poll = Poll()

    async def talk():
        await asyncio.sleep_ms(500)
        assert service.active and not attended
        polled[0] = ["stdin"]
        await asyncio.sleep_ms(1500)
        assert attended == [1] and service.active  # longer than the window: somebody types
        service.session = True
        await asyncio.sleep_ms(300)
        assert not service._open and service.active

    async def main():
        task = asyncio.create_task(talk())
        await service.window(lambda: attended.append(1))
        await task

    asyncio.run(main())
    service.session = False
    assert not service.active
