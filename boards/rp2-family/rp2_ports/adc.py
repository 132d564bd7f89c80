"""ADC port: what machine.ADC lacks on this chip."""

from machine import ADC, Pin


class Adc:
    """12 bits over 3.3 V, the board's supply: a few per cent off (RP2040 datasheet, 4.9.3)."""

    def __init__(self, pin):
        self._adc = ADC(Pin(pin))

    def read_uv(self):
        """Microvolts."""
        raw = self._adc.read_u16() >> 4
        return raw * 805 + raw * 861 // 1000  # 3,300,000 / 4095 = 805.861, in steps below 2^30


def port(pin):
    """One that the board may use. ValueError: GPIO 29 is the radio's, and others are none."""
    if not 26 <= pin <= 28:
        raise ValueError("board: GPIO %d is no input of the ADC" % pin)
    return Adc(pin)
