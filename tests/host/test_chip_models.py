"""What differs between ESP32, ESP32-C3 and ESP32-S3: pins, buses, wake sources (their datasheets, tables 2-1)."""

import pytest
from simkit import Bench


def lines(text):
    return [line for line in text.splitlines() if line]


# board: pins that are not there, an ADC pin, pins that are none of ADC1
MODELS = {
    "esp32": ((6, 11, 20, 24, 28, 40), 34, (4, 25)),
    "esp32c3": ((11, 12, 17, 22), 4, (5, 8)),
    "esp32s3": ((22, 25, 26, 32, 49), 10, (11, 20)),
}


@pytest.mark.parametrize("name", MODELS)
def test_pins(tmp_path, name):
    """6-11, 11-17 and 26-32 carry the flash."""
    absent, adc, no_adc = MODELS[name]
    out = Bench(tmp_path, board=name).run(f"""
        from machine import ADC, Pin
        for made, pins in ((Pin, {absent}), (lambda pin: ADC(Pin(pin)), {no_adc})):
            for pin in pins:
                try:
                    made(pin)
                    print("taken", pin)
                except ValueError as error:
                    print(error)
        ADC(Pin({adc})).read_uv()
    """)
    assert lines(out) == ["invalid pin"] * (len(absent) + len(no_adc))


@pytest.mark.parametrize(("name", "second"), [("esp32", True), ("esp32c3", False), ("esp32s3", True)])
def test_a_c3_has_one_i2c(tmp_path, name, second):
    """SOC_I2C_NUM: ESP-IDF, soc_caps.h."""
    out = Bench(tmp_path, board=name).run("""
        from machine import I2C, Pin
        I2C(0, scl=Pin(4), sda=Pin(5))
        try:
            I2C(1, scl=Pin(4), sda=Pin(5))
            print("taken")
        except ValueError as error:
            print(error)
    """)
    assert lines(out) == ["taken" if second else "I2C(1) doesn't exist"]


def test_an_input_only_pin_carries_no_bus(tmp_path):
    """GPIO 34-39 of the ESP32: datasheet, 2.2."""
    out = Bench(tmp_path).run("""
        from machine import I2C, Pin
        try:
            I2C(0, scl=Pin(22), sda=Pin(34))
        except ValueError as error:
            print(error)
    """)
    assert lines(out) == ["SDA: GPIO 34 is an input only"]


@pytest.mark.parametrize(
    ("name", "there"), [("esp32", "ext0 ext1"), ("esp32c3", "gpio"), ("esp32s3", "ext0 ext1")]
)
def test_wake_sources(tmp_path, name, there):
    """A C3 has neither ext0 nor ext1: SOC_PM_SUPPORT_EXT0_WAKEUP of ESP-IDF; ports/esp32/modesp32.c."""
    out = Bench(tmp_path, board=name).run("""
        import esp32
        from machine import Pin
        print(" ".join(what for what in ("ext0", "ext1", "gpio") if hasattr(esp32, "wake_on_" + what)))
        wake = getattr(esp32, "wake_on_ext1", None) or esp32.wake_on_gpio
        wake((Pin(4),), True)
        try:
            wake((Pin(18 if wake.__name__ == "wake_on_gpio" else 21 if 21 not in _model.EXT_WAKE else 33),), True)
        except ValueError as error:
            print(error)
    """.replace("from machine", "import _model\n        from machine"))  # fmt: skip
    assert lines(out) == [there, "invalid pin"]


@pytest.mark.parametrize(("name", "kib"), [("esp32", 1024), ("esp32c3", 1024), ("esp32s3", 5120)])
def test_layouts(tmp_path, name, kib):
    """The partition tables of boards/: 4 MB, and 8 MB on the S3."""
    out = Bench(tmp_path, board=name).run("""
        from esp32 import Partition
        for label in ("ring", "vfs"):
            print(label, Partition.find(Partition.TYPE_DATA, label=label)[0].ioctl(4, 0) * 4)
    """)
    assert lines(out) == ["ring 1024", f"vfs {kib}"]
