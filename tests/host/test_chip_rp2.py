"""The simulated RP2040 and RP2350 as firmware meets them: each behaviour with the source that says so."""

import json

import pytest
from simkit import START_US, Bench

from host_sim.hardware import rings
from host_sim.hardware.image import WrongImageError
from host_sim.node import SimulationError
from host_sim.run import ROOT
from tools import boards, build

CHIPS = {"pico_w": 0x40058000, "pico2_w": 0x400D8000}


@pytest.fixture(params=CHIPS)
def bench(tmp_path, request):
    return Bench(tmp_path, board=request.param)


@pytest.fixture
def pico(tmp_path):
    return Bench(tmp_path, board="pico_w")


def lines(text):
    return [line for line in text.splitlines() if line]


def test_every_reset_reads_as_the_watchdogs(bench):
    """reset() is watchdog_reboot() and deepsleep() ends in it; only PWRON 1 and WDT 3 exist: ports/rp2/modmachine.c."""
    out = bench.run(f"""
        import machine
        boot = machine.mem32[{CHIPS[bench.board]:#x} + 0x0c]
        machine.mem32[{CHIPS[bench.board]:#x} + 0x0c] = boot + 1
        print(machine.reset_cause(), hasattr(machine, "DEEPSLEEP_RESET"), hasattr(machine, "HARD_RESET"))
        if boot == 0:
            machine.reset()
        if boot == 1:
            machine.deepsleep(1000)
    """)
    assert lines(out) == ["1 False False", "3 False False", "3 False False"]


def test_only_seven_scratch_registers_remember_and_power_off_clears_them(bench):
    """Scratch 4 is cleared by watchdog_reboot, pico-sdk hardware_watchdog/watchdog.c; bases from addressmap.h."""
    base = CHIPS[bench.board]
    script = f"""
        import machine
        first = {base:#x} + 0x0c
        print([machine.mem32[first + 4 * i] for i in range(8)])
        if machine.reset_cause() == 1:
            for i in range(8):
                machine.mem32[first + 4 * i] = 0xffffff00 + i
            machine.reset()
        try:
            machine.mem32[{sum(CHIPS.values()) - base:#x} + 0x0c]
        except OSError:
            print("not there")
    """
    kept = [0xFFFFFF00 + i for i in range(8)]
    kept[4] = 0
    assert lines(bench.run(script)) == [str([0] * 8), str(kept), "not there"]
    chip = bench.node.chip
    assert chip.kept[12:16] == b"\x03\xff\xff\xff"
    chip.power_on(0)
    assert chip.kept == bytes(32)


def test_the_clock_reads_2021_at_every_boot_and_counts_from_1970(bench):
    """ports/rp2/main.c sets the RTC; MICROPY_EPOCH_IS_1970; no subseconds: ports/rp2/machine_rtc.c."""
    out = bench.run("""
        import machine, time
        print(time.gmtime(0)[0], time.time() - 1609459200 < 2, time.time() > 1 << 30)
        machine.RTC().datetime((2026, 6, 1, 0, 12, 0, 0, 0))
        time.sleep_ms(1500)
        print(machine.RTC().datetime())
        if machine.reset_cause() == 1:
            machine.reset()
    """)
    assert lines(out) == ["1970 True True", "(2026, 6, 1, 0, 12, 0, 1, 0)"] * 2


def test_the_rtc_of_an_rp2040_stands_still_in_lightsleep_and_ticks_go_on(bench):
    """modmachine.c clears clocks_hw->sleep_en0, and CLK_RTC with it (RP2040 datasheet, 2.15.7); the timer's bit in
    sleep_en1 stays."""
    out = bench.run("""
        import machine, time
        clock, ticks = time.time(), time.ticks_ms()
        machine.lightsleep(60000)
        print(time.time() - clock, time.ticks_diff(time.ticks_ms(), ticks) // 1000)
    """)
    slept = {"pico_w": "0", "pico2_w": "60"}[bench.board]
    clock, ticks = lines(out)[0].split()
    assert clock == slept and abs(int(ticks) - 60) <= 1


def test_one_lightsleep_takes_less_than_2_to_the_32_microseconds(bench):
    """ports/rp2/modmachine.c: ValueError("sleep too long")."""
    out = bench.run("""
        import machine
        machine.lightsleep(4294966)
        print("slept")
        try:
            machine.lightsleep(4294967)
        except ValueError as error:
            print(error)
    """, seconds=9000)  # fmt: skip
    assert lines(out) == ["slept", "sleep too long"]


def test_no_sleep_with_the_radio_on_and_only_deinit_turns_it_off(bench):
    """modmachine.c returns where cyw43_has_pending; active(False) leaves the chip up: micropython #9136."""
    out = bench.run("""
        import machine, network, time
        w = network.WLAN(network.STA_IF)
        for step in (lambda: None, lambda: w.active(True), lambda: w.active(False), lambda: w.deinit()):
            step()
            began = time.ticks_ms()
            machine.lightsleep(5000)
            print(time.ticks_diff(time.ticks_ms(), began) // 1000)
    """)
    assert [int(line) > 3 for line in lines(out)] == [True, False, False, True]


def test_status_codes_of_the_cyw43(bench):
    """CYW43_LINK_DOWN 0, JOIN 1, UP 3, NONET -2, BADAUTH -3: cyw43-driver, cyw43.h. EPERM when it is not up."""
    out = bench.run("""
        import network, time
        w = network.WLAN(network.STA_IF)
        try:
            w.connect("net", "password")
        except OSError as error:
            print(error.errno)
        w.active(True)
        print(w.status())
        for ssid, key in (("net", "wrong"), ("other", None), ("net", "password")):
            w.connect(ssid, key)
            first = w.status()
            while w.status() == 1:
                time.sleep_ms(50)
            print(first, w.status(), w.isconnected())
            w.disconnect()
        print(network.STAT_GOT_IP, network.STAT_WRONG_PASSWORD, network.STAT_NO_AP_FOUND, network.STAT_CONNECT_FAIL)
    """)
    assert lines(out) == ["-1", "0", "1 -3 False", "1 -2 False", "1 3 True", "3 -3 -2 -1"]


def test_no_socket_and_no_name_without_the_radio(bench):
    out = bench.run("""
        import network, socket
        network.WLAN(network.STA_IF).active(True)
        for what in (lambda: socket.socket(), lambda: socket.getaddrinfo("cloud.test", 1883)):
            try:
                what()
                print("taken")
            except OSError as error:
                print("refused", error.errno)
    """)
    assert lines(out) == ["refused 113", "refused -202"]


def test_pins_and_their_faults(bench):
    """IS_VALID_SCL and _SDA, EIO without an answer: ports/rp2/machine_i2c.c; no read_uv: ports/rp2/machine_adc.c; GPIO
    23 and 24 are the radio's: Pico W datasheet, 2.1."""
    out = bench.run("""
        from machine import ADC, I2C, Pin
        bad = (
            lambda: I2C(0, scl=Pin(4), sda=Pin(5)),
            lambda: I2C(0, scl=Pin(7), sda=Pin(4)),
            lambda: I2C(2),
            lambda: Pin(24),
            lambda: ADC(Pin(4)),
        )
        for each in bad:
            try:
                each()
                print("taken")
            except ValueError as error:
                print(error)
        try:
            I2C(0, scl=Pin(5), sda=Pin(4)).readfrom(0x76, 1)
        except OSError as error:
            print(error.errno)
        print(hasattr(ADC(Pin(26)), "read_uv"), 0 < ADC(Pin(26)).read_u16() < 65536)
    """)
    faults = ["bad SCL pin", "bad SCL pin", "I2C(2) doesn't exist", "invalid pin", "Pin doesn't have ADC capabilities"]
    assert lines(out) == [*faults, "5", "False True"]


def test_a_short_write_programs_the_ram_behind_it(bench):
    """rp2_flash.c hands length and address to flash_range_program, which programs whole pages (RP2040 datasheet,
    2.8.3.1.3)."""
    out = bench.run("""
        import rp2
        f = rp2.Flash()
        last = f.ioctl(4, 0) - 1
        page = bytearray(256)
        poisoned = 0
        for block in (last, last - 1, last - 2, last - 3):
            f.ioctl(6, block)
            f.writeblocks(block, b"x" * 16, 256)
            f.readblocks(block, page, 256)
            poisoned += page[:16] == b"x" * 16 and page[16:] != b"\\xff" * 240
        f.readblocks(last, page, 512)
        print(poisoned, page == b"\\xff" * 256)
    """)
    assert lines(out) == ["4 True"]


def test_an_unaligned_write_wraps_within_its_page(bench):
    """Page program, W25Q32JV datasheet, 8.2.13: past the end of the page it goes on at its start."""
    out = bench.run("""
        import rp2
        f = rp2.Flash()
        last = f.ioctl(4, 0) - 1
        f.ioctl(6, last)
        f.writeblocks(last, bytes(range(256)), 100)
        page = bytearray(512)
        f.readblocks(last, page, 0)
        print(page[100:103], page[0:3], page[256:] == b"\\xff" * 256)
    """)
    assert lines(out) == [r"bytearray(b'\x00\x01\x02') bytearray(b'\x9c\x9d\x9e') True"]


def test_nothing_checks_the_bounds_of_the_flash(bench):
    """rp2_flash.c: the first block behind the region is the start of the flash, where the firmware boots from."""
    bench.run("""
        import rp2
        f = rp2.Flash()
        f.ioctl(6, f.ioctl(4, 0))
    """)
    with pytest.raises(WrongImageError, match="unknown chip"):
        bench.run("")


def test_programming_only_clears_bits_and_never_erases(bench):
    """Block protocol with an offset; a write without one erases first."""
    out = bench.run("""
        import rp2
        f = rp2.Flash()
        last = f.ioctl(4, 0) - 1
        page = bytearray(256)
        f.ioctl(6, last)
        f.writeblocks(last, b"\\xf0" * 256, 0)
        f.writeblocks(last, b"\\x81" * 256, 0)
        f.readblocks(last, page, 0)
        print(page[:2])
        f.writeblocks(last, b"\\x42" * 4096)
        f.readblocks(last, page, 0)
        print(page[:2])
    """)
    assert lines(out) == [r"bytearray(b'\x80\x80')", "bytearray(b'BB')"]


def test_erases_are_counted_and_take_their_time(pico):
    """tSE typ. 45 ms, tPP typ. 0.4 ms: W25Q32JV datasheet, 9.6."""
    out = pico.run("""
        import rp2, time
        f = rp2.Flash()
        last = f.ioctl(4, 0) - 1
        began = time.ticks_us()
        for _ in range(3):
            f.ioctl(6, last)
        print(time.ticks_diff(time.ticks_us(), began) // 1000)
        began = time.ticks_us()
        f.writeblocks(last, bytes(4096), 0)
        print(time.ticks_diff(time.ticks_us(), began) // 100)
    """)
    assert lines(out) == ["135", "64"]
    assert pico.node.chip.flash.erases[-1] == 3


def test_whatever_does_not_mount_is_reformatted(pico):
    """ports/rp2/modules/_boot.py: any exception of the mount is answered by mkfs."""
    script = """
        import machine, os, rp2
        print(os.listdir())
        if machine.reset_cause() == 1:
            open("note", "w").close()
            machine.reset()
        f = rp2.Flash()
        f.ioctl(6, 0)
        f.ioctl(6, 1)
    """
    assert lines(pico.run(script)) == ["[]", "['note']"]
    assert lines(pico.run("import os; print(os.listdir())")) == ["[]"]


def test_the_image_of_another_board_is_recognised(tmp_path):
    """chip_id of esp_image_header_t, boot2's CRC of the RP2040, PICOBIN marker of the RP2350."""
    described = {}
    for name in ("esp32", "esp32c3", "esp32s3", "pico_w", "pico2_w"):
        (tmp_path / "flash.bin").unlink(missing_ok=True)
        Bench(tmp_path, board=name).run("")
        for other in ("esp32", "esp32c3", "esp32s3", "pico_w", "pico2_w"):
            if other == name:
                continue
            with pytest.raises(WrongImageError) as caught:
                Bench(tmp_path, board=other).run("")
            described[name] = str(caught.value).partition("the flash of ")[2].partition(", not of")[0]
    assert described == {
        "esp32": "ESP32 with 4096 KiB",
        "esp32c3": "ESP32-C3 with 4096 KiB",
        "esp32s3": "ESP32-S3 with 8192 KiB",
        "pico_w": "RP2040 with 2048 KiB",
        "pico2_w": "RP2350 with 4096 KiB",
    }


# The board's ports over the chip


@pytest.fixture
def booted(tmp_path):
    """Runs a script as main.py behind the real boot.py; `path` names the board's modules."""

    def run(script, seconds=60.0, name="pico_w"):
        build.build()
        code = tmp_path / "booted"
        code.mkdir(exist_ok=True)
        (code / "boot.py").write_text((ROOT / "firmware" / "boot.py").read_text())
        (code / "main.py").write_text("\n".join(line[8:] for line in script.splitlines()))
        bench = Bench(tmp_path, board=name)
        return bench, lines(bench.run("", seconds, firmware=code))

    return run


@pytest.mark.parametrize("name", ["pico_w", "pico2_w", "esp32", "esp32c3", "esp32s3"])
def test_a_board_tells_power_on_wake_restart_and_watchdog(booted, name):
    """lib/mqtt/PROTOCOL.md: 1 power-on, 3 wake, 4 restart, 5 watchdog; the chip itself says 3 to the last three."""
    bench, out = booted("""
        import board
        import time
        b = board.build()
        cause = b.power.reset_cause()
        print(cause, bytes(b.power.retained())[:3] if cause != 1 else "")
        if cause == 1:
            b.power.retain(b"\\x00" * 28)
            b.power.sleep(30000)
        if cause == 3:
            b.power.reset()
        if cause == 4:
            b.power.feed()
            while True:
                time.sleep(1)
    """, name=name, seconds=120)  # fmt: skip
    assert [line[0] for line in out] == ["1", "3", "4", "5"]
    events = [line.split(",")[1:] for line in (bench.folder / "power.csv").read_text().splitlines()[1:]]
    assert events == [["on", "power"], ["sleep", ""], ["wake", ""], ["on", "restart"], ["on", "watchdog"]]


def test_the_clock_goes_on_over_sleep_as_an_estimate(booted):
    """To a fifth of a second for each sleep, though a boot takes other than the port assumes, and never as 2021."""
    bench, out = booted("""
        import board
        import time
        from node.retained import Retained
        b = board.build()
        kept = Retained(b.power)
        if kept.load() and b.power.reset_cause() == 3:
            b.clock.resume(kept.seconds, kept.quality)
        else:
            print(b.clock.wall(), b.clock.seconds())
            b.clock.set(202435200, 500, 2)  # 2026-06-01 00:00:00.5
        time.sleep_ms(230)
        print(b.clock.wall(), b.clock.ms() // 100, time.gmtime()[:6])
        kept.seconds, kept.quality = b.clock.seconds(), b.clock.wall()[1]
        kept.save()
        b.power.sleep(60000 if b.clock.seconds() < 202435300 else 9000000)
    """, seconds=20000)  # fmt: skip
    assert out[:2] == ["None 31622400", "(202435200, 2) 7 (2026, 6, 1, 0, 0, 0)"]
    assert out[2].startswith("(202435261, 1) 0") or out[2].startswith("(202435260, 1) 9")
    events = (bench.folder / "power.csv").read_text().splitlines()
    wakes = [int(line.split(",")[0]) for line in events if "wake" in line]
    # The third sleep takes three lightsleeps and is one sleep.
    began = int(START_US // 1000)
    assert [round((at - began) / 1000) for at in wakes[:3]] == [61, 121, 9121]


def test_a_cold_boot_does_not_believe_the_clock_before_it(booted):
    _, out = booted("""
        import board
        b = board.build()
        print(b.power.reset_cause(), b.clock.wall(), b.clock.seconds() - 31622400 < 5)
        if b.power.reset_cause() == 1:
            b.clock.set(202435200, 0, 2)
            b.power.reset()
    """)
    assert out == ["1 None True", "4 None True"]


def test_the_flash_port_maps_sectors_and_takes_whole_pages_only(booted):
    bench, out = booted("""
        import board
        b = board.build()
        f = b.flash
        page = bytearray(256)
        for sector in range(80):
            f.erase(sector)
            page[0] = sector
            f.program(sector * 4096 + 256, page)
        f.read_into(79 * 4096 + 256, page)
        print(page[0])
        for bad in (
            lambda: f.program(0, b"x" * 16),
            lambda: f.program(100, bytes(256)),
            lambda: f.program(3840, bytes(512)),
            lambda: f.erase(80),
            lambda: f.read_into(4000, page),
        ):
            try:
                bad()
                print("taken")
            except ValueError as error:
                print("refused")
    """)
    assert out == ["79"] + ["refused"] * 5
    board = boards.load("pico_w")
    places = rings.places(board, bench.folder / "flash.bin")
    sectors = places["journal"]["sectors"] + places["alerts"]["sectors"] + places["frames"]["sectors"]
    image = (bench.folder / "flash.bin").read_bytes()
    assert [image[sector * 4096 + 256] for sector in sectors] == list(range(80))
    assert all(board.storage[0] // 4096 <= sector < 512 for sector in sectors)


def test_a_ring_whose_file_was_deleted_is_refused(booted):
    _, out = booted("""
        import board, machine, os
        b = board.build()
        if b.power.reset_cause() == 1:
            b.flash.erase(0)
            os.remove("ring/007")
            b.power.reset()
        try:
            b.flash.erase(0)
            print("taken")
        except Exception as error:
            print(type(error).__name__, error)
    """)
    assert len(out) == 1 and out[0].startswith("ReservationError ring/007: gone")


def test_a_wake_checks_no_file_and_the_next_cold_boot_does(booted):
    """Who may have changed the files was at the cable, and pulled or reset the board: no wake follows that."""
    _, out = booted("""
        import board, os
        b = board.build()
        cause = b.power.reset_cause()
        if cause == 1:
            b.flash.erase(0)
            os.remove("ring/007")
        try:
            b.flash.erase(0)
            print(cause, "taken")
        except Exception as error:
            print(cause, type(error).__name__, error)
        if cause == 1:
            b.power.sleep(60000)
        if cause == 3:
            b.power.reset()
    """, seconds=200)  # fmt: skip
    assert out[:2] == ["1 taken", "3 taken"] and out[2].startswith("4 ReservationError ring/007: gone")


def test_the_watchdog_hangs_an_rp2040_in_lightsleep(tmp_path):
    """micropython #17228, #17229; an RP2350 is reset."""
    script = """
        import machine
        if machine.reset_cause() == 3:
            print("reset")
        else:
            machine.WDT(timeout=8388)
            machine.lightsleep(10000)
            print("slept")
    """
    with pytest.raises(SimulationError, match="hangs until a power cycle"):
        Bench(tmp_path, board="pico_w").run(script)
    (tmp_path / "flash.bin").unlink()
    assert lines(Bench(tmp_path, board="pico2_w").run(script)) == ["reset"]


def test_the_models_agree_with_the_boards(tmp_path):
    """board.toml against what the simulated chip has: pins, buses, the filesystem's place."""
    for name in ("esp32", "esp32c3", "esp32s3", "pico_w", "pico2_w"):
        described = boards.load(name)
        bench = Bench(tmp_path / name, board=name)
        bench.folder.mkdir()
        out = lines(bench.run("""
            import json
            import _model
            from machine import ADC, I2C, Pin
            print(json.dumps([_model.ADC_PINS, _model.I2C_BUSES,
                getattr(_model, "STORAGE_BASE", None), getattr(_model, "STORAGE_BYTES", None)]))
        """))  # fmt: skip
        adc, buses, base, size = json.loads(out[0])
        assert tuple(adc) == described.adc
        assert {number for number, _, _ in described.i2c.values()} <= set(buses)
        assert base is None or (base, size) == described.storage
