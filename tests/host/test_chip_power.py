"""Battery and USB: what the ports make of the simulated chips, and that those are no kinder than the real ones."""

from dataclasses import dataclass

import pytest
from simkit import Bench

from host_sim.hardware.chip import HOST_SUPPLY

PICOS = ["pico_w", "pico2_w"]


@dataclass
class Steady:
    """A pin's voltage."""

    microvolts: int

    def read_uv(self, now_ms: float) -> int:
        return self.microvolts


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if line]


BOOTED = """
        import asyncio, board
        board.boot()
        b = board.build()
"""


@pytest.mark.parametrize("name", PICOS)
def test_a_pico_measures_its_supply_and_leaves_the_radio_its_pins(tmp_path, name):
    """Pico W datasheet, 2.1: VSYS / 3 at GPIO 29 while GPIO 25 is high. The resistors are 1 % parts."""
    out = lines(Bench(tmp_path, board=name).run(BOOTED + """
        import _radio_pins
        print(b.power.battery_mv())
        radio = b.radio()
        asyncio.run(radio.up((("net", "password"),), 10000))
        print(b.power.battery_mv(), radio.signal() < 0)
        radio.down()
        print(b.power.battery_mv(), _radio_pins.selected())
    """))  # fmt: skip
    before, (during, joined), (after, select) = int(out[0]), out[1].split(), out[2].split()
    assert 3900 * 0.98 < before < 3900 * 1.03
    assert (int(during), joined) == (before, "True"), "what was measured before the radio was on"
    assert abs(int(after) - before) < 20 and select == "0"


@pytest.mark.parametrize("name", PICOS)
def test_asked_for_the_first_time_with_the_radio_on_a_pico_does_not_know(tmp_path, name):
    out = Bench(tmp_path, board=name).run(BOOTED + """
        radio = b.radio()
        asyncio.run(radio.up((("net", "password"),), 10000))
        print(b.power.battery_mv(), radio.signal() < 0)
    """)  # fmt: skip
    assert lines(out) == ["0 True"]


def test_a_radio_that_has_power_though_it_is_not_active_is_not_taken_for_a_flat_battery(tmp_path):
    """The LED hangs on it."""
    out = Bench(tmp_path, board="pico_w").run(BOOTED + """
        b.led().on()
        print(b.power.battery_mv())
    """)
    assert lines(out) == ["0"]


def test_gpio_29_is_the_radios_clock(tmp_path):
    """0.03 V where GPIO 25 is low: micropython #10406. The radio needs the pin back: raspberrypi/pico-sdk #1222."""
    out = Bench(tmp_path, board="pico_w").run("""
        import network
        from machine import ADC, Pin
        def volts():
            return "%.2f" % (ADC(29).read_u16() * 3.3 / 65535)
        print(volts())
        Pin(25, Pin.OUT, value=1)
        print(1.25 < float(volts()) < 1.36)
        wlan = network.WLAN(network.STA_IF)
        try:
            wlan.active(True)
            print("up")
        except OSError as error:
            print(error.errno)
        Pin(29, Pin.ALT, alt=Pin.ALT_PIO1)
        wlan.active(True)
        wlan.connect("net", "password")
        while not wlan.isconnected():
            pass
        print(volts())
        try:
            wlan.scan()
            print("scanned")
        except OSError as error:
            print(error.errno)
    """)
    assert lines(out) == ["0.03", "True", "110", "0.03", "110"]


def test_a_pico_does_not_offer_the_radios_pin_as_an_input(tmp_path):
    out = Bench(tmp_path, board="pico_w").run(BOOTED + """
        for pin in (26, 27, 28):
            b.adc(pin)
        try:
            b.adc(29)
        except ValueError as error:
            print(error)
    """)
    assert lines(out) == ["board: GPIO 29 is no input of the ADC"]


@pytest.mark.parametrize(("name", "pin"), [("esp32", 35), ("esp32c3", 3), ("esp32s3", 4)])
def test_an_esp32_measures_a_divider_if_its_table_names_one(tmp_path, name, pin):
    """Twice the pin's voltage, and 2.2 times, given as 22 * 10^-1; none on a development board."""
    out = Bench(tmp_path, board=name, analog={pin: Steady(1_950_000)}).run(BOOTED + f"""
        from esp32_ports.power import Power
        for battery in (({pin}, 2, 0), ({pin}, 22, -1)):
            print(Power(battery, ()).battery_mv())
        print(b.power.battery_mv())
    """)  # fmt: skip
    assert lines(out) == ["3900", "4290", "0"]


@pytest.mark.parametrize("name", ["esp32c3", "esp32s3"])
def test_a_chip_with_usb_of_its_own_sees_a_host_by_its_frames(tmp_path, name):
    """USB 2.0, 8.4.3: a host sends one each millisecond, a charger and a host that sleeps none. ESP-IDF, soc/,
    usb_serial_jtag_reg.h FRAM_NUM, usb_struct.h DSTS."""
    script = BOOTED + "        print([b.power.usb() for _ in range(50)] == [{}] * 50)\n"
    for level in (0, 1):
        bench = Bench(tmp_path, board=name, levels={HOST_SUPPLY: level})
        assert lines(bench.run(script.format(bool(level)))) == ["True"], level


def test_an_s3_of_stock_micropython_counts_frames_in_its_otg_only(tmp_path):
    """ports/esp32/mpconfigport.h: MICROPY_HW_USB_CDC leaves no MICROPY_HW_ESP_USB_SERIAL_JTAG."""
    out = Bench(tmp_path, board="esp32s3", levels={HOST_SUPPLY: 1}).run("""
        import time
        from machine import mem32
        def counted(address):
            first = mem32[address]
            time.sleep_ms(5)
            return mem32[address] != first
        print(counted(0x60038024), counted(0x60080808))
    """)
    assert lines(out) == ["False True"]


def test_an_esp32_cannot_tell_what_is_at_its_bridge(tmp_path):
    out = Bench(tmp_path, levels={HOST_SUPPLY: 1}).run(BOOTED + """
        from machine import mem32
        print(b.power.usb())
        try:
            mem32[0x60043024]
        except OSError as error:
            print(error)
    """)
    assert lines(out) == ["False", "mem32: nothing is simulated at 0x60043024"]
