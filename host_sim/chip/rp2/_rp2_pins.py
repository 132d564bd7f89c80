"""The pins that a board with a CYW43439 leaves free, and the two of its radio that lead to a divider on VSYS as well
(_radio_pins.py). On 23 and 24 hangs the radio, too (Pico W datasheet, 2.1).
"""

PINS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 25, 26, 27, 28, 29)
ADC_PINS = (26, 27, 28)
I2C_BUSES = (0, 1)


def check_i2c_pin(bus, name, pin):
    """SDA on even, SCL on odd pins, the buses on alternate pairs: ports/rp2/machine_i2c.c, IS_VALID_SCL and _SDA."""
    if bool(pin & 1) != (name == "SCL") or pin >> 1 & 1 != bus:
        raise ValueError("bad %s pin" % name)
