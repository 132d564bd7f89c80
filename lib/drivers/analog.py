"""A voltage at one pin of the chip's ADC."""


class Driver:
    """One ADC pin. `port` has machine.ADC's `read_uv()` -> microvolts, calibrated where the chip is."""

    BUS = "adc"
    CHANNELS = (("voltage", "V", -3),)

    def __init__(self, port):
        self._port = port

    def start(self, now):
        """Nothing to set going: the conversion is made in `collect`. -> 0 ms."""
        return 0

    def collect(self, out, offset):
        """Write the voltage in mV (rounded to the nearest) to out[offset]. Raises the port's OSError."""
        out[offset] = (self._port.read_uv() + 500) // 1000
