# heap: 1024K
# vm31: no, it waits in asyncio and wants littlefs
"""The node stays awake for whoever wants to talk to it, and no longer."""

import asyncio
import sys

from attendance import Attendance
from node import app, settings
from nodekit import Adc, Board, Slept, fresh_disk, without_network
from nodekit import settings as made_settings

app._ATTENTIVE_MS = 20
PIN = 15


class Bench:
    """A board just powered, whose settings name a window of `window_s` and the service pin."""

    def __init__(self, window_s=0, pin=PIN):
        fresh_disk()
        self.board = Board({34: Adc(1000)})
        made = made_settings(((34, 60),))
        made["service"] = [window_s, pin]
        settings.load = lambda: made
        self.settings = made
        without_network(lambda node: True)
        self.node = None

    def wake(self, beside=None):
        """One waking, with the task `beside` next to it; it ends in sleep."""
        asyncio.new_event_loop()
        self.node = node = app.Node(self.board)

        async def both():
            if beside is not None:
                asyncio.create_task(beside())
            await node.live()

        try:
            node.begin()
            asyncio.run(both())
        except Slept:
            return
        raise AssertionError("it did not sleep")

    def wake_later(self):
        """The next waking is one from sleep, a minute on."""
        self.board.clock.now += 60


def test_in_the_window_nothing_is_measured_nor_armed():
    bench = Bench(window_s=1)
    seen = []

    async def look():
        await asyncio.sleep_ms(700)
        seen.append((bench.node.service.active, bench.board.power.fed, bench.node.store.waiting_rows()))

    bench.wake(look)
    assert seen == [(True, 0, 0)]
    assert bench.board.power.fed > 0 and bench.board.power.slept and not bench.node.service.active


def test_a_wake_from_sleep_has_no_window_and_does_not_import_the_service():
    bench = Bench(pin=None)
    bench.wake()
    bench.settings["service"][0] = 600
    bench.wake_later()
    bench.wake()
    assert not bench.node.service.active and "node.service" not in sys.modules


def test_a_pin_held_low_keeps_it_awake_from_any_wake_until_it_is_let_go():
    bench = Bench()
    bench.wake()
    bench.wake_later()
    bench.board.low = (PIN,)
    steps = []

    async def hand():
        for _ in range(5):
            await asyncio.sleep_ms(40)
            steps.append((bench.board.power.slept is None, bench.node.service.active))
        bench.board.low = ()

    bench.board.power.slept = None
    bench.wake(hand)
    assert steps == [(True, True)] * 5 and bench.board.power.slept


def test_a_host_at_the_cable_keeps_it_awake():
    bench = Bench(pin=None)
    bench.board.power.host = True
    steps = []

    async def hand():
        for _ in range(3):
            await asyncio.sleep_ms(100)
            steps.append(bench.node.service.active)
        bench.board.power.host = False

    bench.wake(hand)
    assert steps == [True] * 3 and bench.board.power.slept


def test_a_session_at_the_console_keeps_it_awake():
    bench = Bench(pin=None)
    steps = []

    async def console():
        bench.node.serve()
        bench.node.service.session = True
        await asyncio.sleep_ms(200)
        steps.append(bench.board.power.slept)
        bench.node.service.session = False

    bench.wake(console)
    assert steps == [None] and bench.board.power.slept


def _run(board, live):
    """`app.run` with another `live`; what it raised."""
    asyncio.new_event_loop()
    was = app.Node.live
    app.Node.live = live
    try:
        app.run(board)
    except (KeyboardInterrupt, Slept) as error:
        return type(error)
    finally:
        app.Node.live = was


def test_ctrl_c_leaves_an_attended_console_and_no_crash():
    async def live(node):
        raise KeyboardInterrupt

    bench = Bench()
    assert _run(bench.board, live) is KeyboardInterrupt
    # What boot.py began is ended first, and begins anew for the host.
    assert bench.board.attended == [False, True] and bench.board.power.slept is None


def test_a_wake_touches_no_attendance():
    async def live(node):
        raise Slept

    bench = Bench()
    bench.board.power.cause = 3
    assert _run(bench.board, live) is Slept and bench.board.attended == []


class Timer:
    """machine.Timer in the hand of the test."""

    PERIODIC = 1

    def __init__(self):
        self.callback = None
        self.period = 0

    def init(self, period, mode, callback):
        """Begin."""
        self.period, self.callback = period, callback

    def deinit(self):
        """End."""
        self.callback = None


def test_attendance_feeds_well_within_the_watchdog_and_resets_at_its_bound():
    timer, did = Timer(), []
    attendance = Attendance(timer, lambda: did.append("feed"), lambda: did.append("reset"))
    attendance.begin(20)
    assert 0 < timer.period <= 4000
    for _ in range(20000 // timer.period):
        timer.callback(timer)
    assert did == ["feed"] * (len(did) - 1) + ["reset"] and len(did) * timer.period == 20000
    attendance.end()
    assert timer.callback is None
