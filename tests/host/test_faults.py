"""What the faults do to data, supply and air, and what is written down of it."""

import asyncio
import time

import pytest

from host_sim.clock import SimClock
from host_sim.conductor import Conductor
from host_sim.contacts import ContactLog
from host_sim.faults.air import Air
from host_sim.faults.log import FaultLog
from host_sim.faults.path import Path, Reset
from host_sim.faults.plan import Fault
from host_sim.faults.supply import FLASH, REQUEST, Supply
from host_sim.proxy import Proxy

S = 1_000_000
START = 1_780_272_000 * S


def test_a_clean_path_lets_everything_through_at_once():
    path = Path()
    assert path.pieces(b"x" * 5000, START) == [b"x" * 5000]
    assert path.delivered_at(5000, True, START) == START


def test_a_fault_waits_for_data_and_lasts_from_there():
    log = FaultLog()
    path = Path([Fault(START, "stall", "n", 30 * S, count=2)], log=log)
    later = START + 1000 * S
    for _ in range(2):
        assert path.pieces(b"x", later) and path.delivered_at(1, True, later) == later
    assert not log.strikes
    path.pieces(b"x", later)
    assert path.delivered_at(1, True, later) == later + 30 * S
    assert path.delivered_at(1, False, later + 31 * S) == later + 31 * S
    (strike,) = log.strikes
    assert (strike.at_us, strike.until_us) == (later, later + 30 * S)


def test_a_slow_path_passes_20_kbit_a_second_and_direction():
    path = Path([Fault(START, "slow", "n", 3600 * S)])
    pieces = path.pieces(b"x" * 5000, START)
    assert b"".join(pieces) == b"x" * 5000 and max(map(len, pieces)) == 536
    times = [path.delivered_at(len(piece), True, START) for piece in pieces]
    assert times == sorted(times) and times[-1] == START + 2 * S + S // 4
    assert path.delivered_at(250, False, START) == START + S // 10 + S // 4


def test_a_drip_passes_40_bytes_a_second():
    path = Path([Fault(START, "drip", "n", 3600 * S)])
    pieces = path.pieces(b"x" * 100, START)
    assert list(map(len, pieces)) == [40, 40, 20]
    assert [path.delivered_at(len(each), True, START) - START for each in pieces] == [S, 2 * S, 5 * S // 2]


def test_a_reset_lets_half_a_packet_through_once():
    path = Path([Fault(START, "conn_reset", "n")])
    with pytest.raises(Reset) as caught:
        path.pieces(b"x" * 101, START)
    assert caught.value.passed == 50
    assert path.pieces(b"x", START + 1) == [b"x"]


def test_without_wifi_nothing_comes_through():
    air = Air([Fault(START, "wifi_out", "n", 60 * S)])
    path = Path(air=air)
    assert path.delivered_at(1, True, START + 10 * S) == START + 60 * S
    assert path.delivered_at(1, True, START + 60 * S) == START + 60 * S


def test_an_outage_is_logged_once_and_only_if_somebody_met_it():
    log = FaultLog()
    air = Air([Fault(START, "wifi_out", "n", 60 * S)], log)
    assert air.out_until(START - 1) is None and not log.strikes
    assert air.out_until(START) == air.out_until(START + 59 * S) == START + 60 * S
    assert air.out_until(START + 60 * S) is None and len(log.strikes) == 1


def test_a_power_cut_waits_for_a_flash_operation():
    supply = Supply([Fault(START, "power_cut", "n", count=1)])
    assert not supply.fails(FLASH, START - 1)
    assert not supply.fails(REQUEST, START) and not supply.fails(FLASH, START)
    assert supply.fails(FLASH, START + 1) and not supply.fails(FLASH, START + 2)


def test_a_brown_out_is_a_series_of_cuts_with_short_pauses():
    log = FaultLog()
    supply = Supply([Fault(START, "brown_out", "n", size=5)], log)
    now, cuts, pauses = START, 0, []
    for _ in range(500):
        now += 1000
        if supply.fails(REQUEST, now):
            cuts += 1
            now += supply.off_us
            pauses.append(supply.off_us)
    assert cuts == 5 and max(pauses) < 2 * S and len(set(pauses)) == 5
    assert [strike.until_us for strike in log.strikes] == [pytest.approx(now, abs=S)]


def test_the_log_tells_what_struck_what_is_over_and_what_never_came(tmp_path):
    told = []
    log = FaultLog(lambda *what: told.append(what), lambda *what: told.append(what))
    wifi, stall = Fault(START, "wifi_out", "n", 60 * S), Fault(START, "stall", "n", 30 * S)
    log.struck(wifi, START, START + 60 * S)
    log.tick(lambda _node: START + 59 * S)
    assert len(told) == 1
    log.tick(lambda _node: START + 60 * S)
    assert told == [(START // 1000, "wifi_out", "n", str(wifi)), ("wifi_out", "n")]
    assert log.missed([wifi, stall]) == [stall] and log.counts() == {"wifi_out": 1}
    log.write(tmp_path / "faults.csv", START + 10 * S)
    assert (tmp_path / "faults.csv").read_text().splitlines()[1].startswith(f"{START // 1000},{START // 1000 + 10_000}")


class Way:
    """A proxy between a client and an echo of upper case, with the conductor of one connected node."""

    def __init__(self, tmp_path, faults):
        self.clock = SimClock(tmp_path / "clock", START)
        self.conductor = Conductor(self.clock)
        self.faults = faults

    async def __aenter__(self):
        async def shout(reader, writer):
            while data := await reader.read(100):
                writer.write(data.upper())
            writer.close()

        self._echo = await asyncio.start_server(shout, "127.0.0.1", 0)
        self.proxy = Proxy(self._echo.sockets[0].getsockname()[:2], self.conductor, Path(self.faults))
        await self.proxy.start()
        self.conductor.connect("n", lambda: self.proxy.busy_until)
        self.clock.set(START, running=True)
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.proxy.port)
        return self

    async def __aexit__(self, *_exc):
        self.conductor.leave("n")
        self.writer.close()
        await self.proxy.stop()
        self._echo.close()

    def park(self, until):
        self.conductor.park("n", until, lambda: None)


def test_held_data_comes_out_when_simulated_time_has_jumped_there(tmp_path):
    async def scenario():
        async with Way(tmp_path, [Fault(START, "stall", "n", 3600 * S)]) as way:
            began = time.monotonic()
            way.writer.write(b"hello")
            way.park(START + 7200 * S)
            assert await asyncio.wait_for(way.reader.read(100), 10) == b"HELLO"
            assert time.monotonic() - began < 3
            assert START + 3600 * S <= way.clock.now() < START + 3610 * S

    asyncio.run(scenario())


def test_a_dripping_way_loses_and_reorders_nothing(tmp_path):
    text = bytes(range(97, 123)) * 20

    async def scenario():
        async with Way(tmp_path, [Fault(START, "drip", "n", 3600 * S)]) as way:
            way.writer.write(text)
            way.park(START + 7200 * S)
            assert await asyncio.wait_for(way.reader.readexactly(len(text)), 20) == text.upper()
            # 520 bytes at 40 a second, and the same back, the two overlapping but for the last piece.
            assert 13 * S <= way.clock.now() - START < 40 * S

    asyncio.run(scenario())


def test_a_reset_reaches_the_node_as_one(tmp_path):
    async def scenario():
        async with Way(tmp_path, [Fault(START, "conn_reset", "n")]) as way:
            way.writer.write(b"hello")
            way.park(START + 60 * S)
            with pytest.raises(ConnectionResetError):
                while await asyncio.wait_for(way.reader.read(100), 5):
                    pass

    asyncio.run(scenario())


def test_simulated_time_never_jumps_over_a_held_piece(tmp_path):
    async def scenario():
        clock = SimClock(tmp_path / "clock", START)
        conductor = Conductor(clock)
        order = []
        busy_until = time.monotonic()
        conductor.connect("n", lambda: busy_until)
        clock.set(START, running=True)

        async def piece():
            nonlocal busy_until
            await conductor.sleep_until(START + 10 * S)
            busy_until = time.monotonic()
            order.append("piece")

        held = asyncio.ensure_future(piece())
        await asyncio.sleep(0)
        conductor.park("n", START + 20 * S, lambda: order.append("timer"))
        await asyncio.wait_for(held, 5)
        assert order == ["piece"] and clock.now() < START + 11 * S
        conductor.leave("n")

    asyncio.run(scenario())


def test_bytes_that_come_through_late_belong_to_the_contact_that_sent_them(tmp_path):
    class Counts:
        bytes_up, bytes_down = 100, 10

    log = ContactLog(tmp_path / "contacts.csv", Counts())  # type: ignore[arg-type]
    log.joining(START)
    log.opened(START + S)
    Counts.bytes_up += 50
    log.ended(START + 2 * S)
    Counts.bytes_up += 7
    log.joining(START + 60 * S)
    Counts.bytes_down += 5
    log.ended(START + 63 * S)
    log.close()
    assert [line.split(",")[3:] for line in (tmp_path / "contacts.csv").read_text().splitlines()] == [
        ["bytes_up", "bytes_down"], ["57", "0"], ["0", "5"],
    ]  # fmt: skip
