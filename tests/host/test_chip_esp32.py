"""The simulated ESP32 as firmware meets it: each behaviour with the source that says so."""

import socket
import threading

import pytest
from simkit import START_US, Bench


@pytest.fixture
def bench(tmp_path):
    return Bench(tmp_path)


def lines(text):
    return [line for line in text.splitlines() if line]


def test_asyncio_across_the_wrap_of_ticks(bench):
    """Sleeps, events and cancellation fire in order and in time while ticks go from 2^30 to 0."""
    out = bench.run("""
        import asyncio, time
        async def sleeper(name, ms):
            await asyncio.sleep_ms(ms)
            print(name, time.ticks_diff(time.ticks_ms(), began) // 100)
        async def waiter(event):
            try:
                await asyncio.wait_for_ms(event.wait(), 60000)
                print("event", time.ticks_diff(time.ticks_ms(), began) // 100)
            except asyncio.TimeoutError:
                print("timeout")
        async def main():
            event = asyncio.Event()
            tasks = [asyncio.create_task(sleeper(str(ms), ms)) for ms in (9000, 1000, 5000, 3000)]
            tasks.append(asyncio.create_task(waiter(event)))
            late = asyncio.create_task(sleeper("never", 20000))
            await asyncio.sleep_ms(6000)
            event.set()
            late.cancel()
            try:
                await late
            except asyncio.CancelledError:
                print("cancelled")
            await asyncio.gather(*tasks)
        began = time.ticks_ms()
        asyncio.run(main())
        print("wrapped", time.ticks_ms() < began)
    """)
    assert lines(out) == ["1000 10", "3000 30", "5000 50", "cancelled", "event 60", "9000 90", "wrapped True"]


def test_the_unix_ports_own_task_queue_fails_across_the_wrap(bench):
    """The test above can fail: with the C `_asyncio` in place the order is wrong (board facts)."""
    out = bench.run("""
        import sys
        for name in [name for name in sys.modules if "asyncio" in name]:
            del sys.modules[name]
        import asyncio, time
        async def sleeper(name, ms):
            await asyncio.sleep_ms(ms)
            print(name, time.ticks_diff(time.ticks_ms(), began) // 100)
        async def main():
            await asyncio.gather(*[sleeper(str(ms), ms) for ms in (9000, 1000, 5000, 3000)])
        began = time.ticks_ms()
        asyncio.run(main())
    """)
    assert lines(out) != ["1000 10", "3000 30", "5000 50", "9000 90"]


def test_clock_starts_in_2000_runs_through_deep_sleep_and_is_lost_with_power(bench):
    """Epoch: ports/esp32/modtime.c. Kept in deep sleep: ESP-IDF "System Time"."""
    out = bench.run(
        """
        import machine, time
        rtc = machine.RTC()
        cause = machine.reset_cause()
        if cause == machine.PWRON_RESET:
            print("at power-on", time.time() < 5, time.gmtime(0)[:6])
            rtc.datetime((2026, 6, 1, 0, 12, 0, 0, 0))
            machine.deepsleep(10000)
        print("cause", cause, rtc.datetime()[:3], rtc.datetime()[4:7])
    """
    )
    assert lines(out) == ["at power-on True (2000, 1, 1, 0, 0, 0)", "cause 4 (2026, 6, 1) (12, 0, 10)"]


def test_rtc_memory_survives_reset_and_sleep_but_its_content_is_only_the_nodes_to_check(bench):
    """RTC.memory: 2048 bytes, ports/esp32/machine_rtc.c."""
    out = bench.run("""
        import machine
        rtc = machine.RTC()
        cause = machine.reset_cause()
        print(cause, rtc.memory() if cause != 1 else "?")
        if cause == 1:
            rtc.memory(b"kept")
            machine.reset()
        if cause == 2:
            machine.deepsleep(1000)
        try:
            rtc.memory(bytes(2049))
        except ValueError:
            print("2049 refused")
    """)
    assert lines(out) == ["1 ?", "2 b'kept'", "4 b'kept'", "2049 refused"]


def test_flash_clears_bits_only_and_erases_only_when_told(bench):
    """Block protocol with an offset never erases: docs.micropython.org, vfs.AbstractBlockDev, the extended
    interface.
    """
    out = bench.run("""
        from esp32 import Partition
        p = Partition.find(Partition.TYPE_DATA, label="ring")[0]
        b = bytearray(4)
        p.writeblocks(3, b"\\xf0\\xff\\x0f\\xff", 100)
        p.writeblocks(3, b"\\xff\\x81\\xff\\xff", 100)
        p.readblocks(3, b, 100)
        print(b)
        p.ioctl(6, 3)
        p.readblocks(3, b, 100)
        print(b, p.ioctl(4, 0), p.ioctl(5, 0))
        for bad in (lambda: p.writeblocks(256, b"x", 0), lambda: p.readblocks(255, b, 4093)):
            try:
                bad()
                print("taken")
            except OSError:
                print("refused")
    """)
    assert lines(out) == [
        "bytearray(b'\\xf0\\x81\\x0f\\xff')",
        "bytearray(b'\\xff\\xff\\xff\\xff') 256 4096",
        "refused",
        "refused",
    ]


def test_no_socket_and_no_name_without_the_radio(bench):
    out = bench.run("""
        import socket
        for what in (lambda: socket.socket(), lambda: socket.getaddrinfo("cloud.test", 1883)):
            try:
                what()
                print("taken")
            except OSError as error:
                print("refused", error.errno)
    """)
    assert lines(out) == ["refused 113", "refused -202"]


def test_wrong_password_and_unknown_network(bench):
    out = bench.run("""
        import network, time
        w = network.WLAN(network.STA_IF)
        try:
            w.connect("net", "password")
        except OSError as error:
            print(error)
        w.active(True)
        for ssid, key in (("net", "wrong"), ("other", ""), ("net", "password")):
            w.connect(ssid, key)
            try:
                w.connect(ssid, key)
            except OSError as error:
                print(error)
            while w.status() == network.STAT_CONNECTING:
                time.sleep_ms(50)
            print(w.status(), w.isconnected())
            w.disconnect()
    """)
    error = "Wifi Internal Error"
    assert lines(out) == ["Wifi Not Started", error, "202 False", error, "201 False", error, "1010 True"]


def test_a_socket_reaches_the_cloud_and_dies_with_the_link(bench):
    """Bytes go through the proxy, time is paced, and a jump over a quiet wait costs no real time."""
    server = socket.create_server(("127.0.0.1", 0))
    server.settimeout(20)

    def echo():
        connection, _ = server.accept()
        connection.settimeout(20)
        while data := connection.recv(100):
            connection.sendall(data.upper())
        connection.close()

    thread = threading.Thread(target=echo)
    thread.start()
    bench.upstream = server.getsockname()
    out = bench.run("""
        import network, socket, time
        w = network.WLAN(network.STA_IF)
        w.active(True)
        w.connect("net", "password")
        while not w.isconnected():
            time.sleep_ms(50)
        try:
            socket.getaddrinfo("elsewhere.test", 1)
        except OSError as error:
            print("no name", error.errno)
        s = socket.socket()
        s.connect(socket.getaddrinfo("cloud.test", 1883)[0][-1])
        s.write(b"hello")
        print(s.read(5))
        began = time.ticks_ms()
        time.sleep(600)
        print("slept", time.ticks_diff(time.ticks_ms(), began) // 1000)
        w.disconnect()
        try:
            print(s.write(b"more"))
        except OSError:
            print("dead")
    """, seconds=3600)  # fmt: skip
    thread.join(20)
    server.close()
    assert lines(out) == ["no name -202", "b'HELLO'", "slept 600", "dead"]


def test_i2c_absent_device_and_open_adc_pin(bench):
    out = bench.run("""
        from machine import ADC, I2C, Pin
        i2c = I2C(0, scl=Pin(22), sda=Pin(21))
        try:
            i2c.readfrom_mem(0x76, 0xD0, 1)
        except OSError as error:
            print(error.errno, i2c.scan())
        a = ADC(Pin(34), atten=ADC.ATTN_11DB)
        print(len({a.read_uv() for _ in range(9)}) > 1)
        for bad in (lambda: Pin(24), lambda: ADC(Pin(4)), lambda: I2C(2)):
            try:
                bad()
            except ValueError as error:
                print(error)
    """)
    assert lines(out) == ["19 []", "True", "invalid pin", "invalid pin", "I2C(2) doesn't exist"]


def test_deep_sleep_ends_the_process_and_each_wake_is_a_boot(bench):
    bench.run(
        """
        import machine
        print("boot", machine.reset_cause())
        machine.deepsleep(60000)
    """,
        seconds=600,
    )
    node = bench.node
    assert node is not None
    assert 9 <= node.wakes <= 10 and node.boots == node.wakes
    power = (bench.folder / "power.csv").read_text().splitlines()
    assert power[1] == f"{START_US // 1000},on,power"
    assert [line.split(",")[1] for line in power[2:6]] == ["sleep", "wake", "sleep", "wake"]


def test_filesystem_is_littlefs_on_its_partition_and_kept(bench):
    out = bench.run("""
        import machine
        if machine.reset_cause() == 1:
            with open("note", "w") as f:
                f.write("kept")
            machine.reset()
        print(open("note").read())
    """)
    assert lines(out) == ["kept"]
