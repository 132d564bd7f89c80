"""The watchdog of both families, counted in the chip's time from outside the VM."""

import time

import pytest
from simkit import Bench

from host_sim.hardware.watchdog import SLOWER, Watchdog

BOARDS = ("esp32", "pico_w")


@pytest.fixture(params=BOARDS)
def bench(tmp_path, request):
    return Bench(tmp_path, board=request.param)


def lines(text):
    return [line for line in text.splitlines() if line]


def reasons(bench):
    return [line.split(",")[1:] for line in (bench.folder / "power.csv").read_text().splitlines()[1:]]


def test_limits_of_the_timeout(tmp_path):
    """ports/esp32/machine_wdt.c: "WDT timeout too short"; ports/rp2/machine_wdt.c: at most 8388; nothing stops it:
    extmod/machine_wdt.c."""
    script = """
        import machine
        for timeout in TIMEOUTS:
            try:
                machine.WDT(timeout=timeout)
                print("taken")
            except ValueError as error:
                print(error)
        try:
            machine.WDT(1)
        except ValueError as error:
            print(error)
        print([name for name in dir(machine.WDT(timeout=8000)) if name[0] != "_"])
    """
    out = lines(Bench(tmp_path).run(script.replace("TIMEOUTS", "(0, 8389)")))
    assert out == ["WDT timeout too short", "taken", "WDT(1) doesn't exist", "['feed']"]
    (tmp_path / "flash.bin").unlink()
    out = lines(Bench(tmp_path, board="pico_w").run(script.replace("TIMEOUTS", "(8389, 8388)")))
    assert out == ["timeout exceeds 8388", "taken", "WDT(1) doesn't exist", "['feed']"]


WAITS = {
    "sleep": "time.sleep(9)",
    "in small steps": "[time.sleep_ms(100) for _ in range(90)]",
    "asleep in asyncio": "import asyncio\nasync def nap():\n await asyncio.sleep(9)\nasyncio.run(nap())",
    "polling the clock": "while time.ticks_diff(time.ticks_ms(), began) < 9000: pass",
    "spinning": "while True: pass",
    "flash": "for _ in range(200): erase()",
}


@pytest.mark.parametrize("how", WAITS)
def test_it_bites_whatever_the_firmware_does_meanwhile(bench, how):
    out = bench.run(f"""
        import machine, time
        def erase():
            if bench == "esp32":
                from esp32 import Partition
                Partition.find(Partition.TYPE_DATA, label="ring")[0].ioctl(6, 0)
            else:
                import rp2
                rp2.Flash().ioctl(6, 100)
        bench = {bench.board!r}
        began = time.ticks_ms()
        if machine.reset_cause() == 1:
            machine.WDT(timeout=8000)
            exec({WAITS[how]!r})
            print("survived")
        else:
            print("cause", machine.reset_cause())
    """)
    assert lines(out) == ["cause 3"]
    assert reasons(bench) == [["on", "power"], ["on", "watchdog"]]
    powered, bitten = [int(line.split(",")[0]) for line in (bench.folder / "power.csv").read_text().splitlines()[1:]]
    assert 8000 <= bitten - powered <= 8000 + 600


def test_fed_in_time_it_stays_quiet(bench):
    out = bench.run("""
        import machine, time
        w = machine.WDT(timeout=8000)
        for _ in range(40):
            time.sleep(7)
            w.feed()
        print("fed", machine.reset_cause())
    """, seconds=600)  # fmt: skip
    assert lines(out) == ["fed 1"]


def test_deep_sleep_and_reset_stop_it(tmp_path):
    out = Bench(tmp_path).run(
        """
        import machine, time
        if machine.reset_cause() == 1:
            machine.WDT(timeout=1000)
            machine.deepsleep(5000)
        time.sleep(20)
        print(machine.reset_cause())
    """
    )
    assert lines(out) == ["4"]


def test_it_bites_in_a_wait_on_the_network(bench):
    """In paced time as well: a peer that never answers must not hold the node."""
    import socket

    server = socket.create_server(("127.0.0.1", 0))
    bench.upstream = server.getsockname()
    out = bench.run("""
        import machine, network, select, socket, time
        if machine.reset_cause() == 1:
            w = network.WLAN(network.STA_IF)
            w.active(True)
            w.connect("net", "password")
            while not w.isconnected():
                time.sleep_ms(50)
            s = socket.socket()
            s.connect(socket.getaddrinfo("cloud.test", 1)[0][-1])
            machine.WDT(timeout=8000)
            p = select.poll()
            p.register(s, select.POLLIN)
            print("heard", p.poll(60000))
        else:
            print("cause", machine.reset_cause())
    """, seconds=300)  # fmt: skip
    server.close()
    assert lines(out) == ["cause 3"]


def test_a_starved_host_does_not_bite():
    """Paced: an hour went by in which the VM neither slept nor computed; then it slept past the timeout."""
    dog = Watchdog()
    dog.start(8000, 0, 0)
    assert not dog.went_on(3600_000_000, 1000, 0)
    assert not dog.went_on(3607_000_000, 2000, 7_000_000)
    assert dog.went_on(3609_000_000, 3000, 2_000_000)


def test_free_time_is_the_chips_to_the_last_microsecond():
    dog = Watchdog()
    dog.start(8000, 0, 0)
    assert not dog.went_on(8_000_000, 0, None)
    assert dog.went_on(8_000_001, 0, None)


def test_computing_counts_by_cpu_time_alone():
    dog = Watchdog()
    dog.start(8000, 0, 5000)
    assert not dog.computed(5000 + 8_000_000 // SLOWER)
    assert dog.computed(5001 + 8_000_000 // SLOWER)
    dog.stop()
    assert not dog.computed(1 << 40)


def test_a_spinning_vm_is_ended_within_seconds(tmp_path):
    began = time.monotonic()
    bench = Bench(tmp_path)
    bench.run("""
        import machine
        if machine.reset_cause() == 1:
            machine.WDT(timeout=2000)
            while True:
                pass
    """)
    assert time.monotonic() - began < 20
    assert ["on", "watchdog"] in reasons(bench)


def test_an_esp32s_watchdog_is_marked_before_it_runs(tmp_path):
    """A Ctrl-C between the two leaves a mark without a watchdog, never a watchdog that nobody feeds after it."""
    out = Bench(tmp_path).run("""
        import sys, time
        sys.path.append("/lib")
        import board, machine
        power = board.build().power
        power.retain(bytes(range(1, 29)))
        print(machine.RTC().memory()[28:])
        made = machine.WDT
        def watchdog(timeout):
            print(machine.RTC().memory() == bytes(range(1, 29)) + b"\\x01")
            return made(timeout=timeout)
        machine.WDT = watchdog
        power.feed()
        power.retain(bytes(28))
        print(power.armed(), machine.RTC().memory()[28:], power.retained() == bytes(28))
    """)
    assert lines(out) == ["b''", "True", r"True b'\x01' True"]
