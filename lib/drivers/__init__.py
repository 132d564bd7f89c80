"""Sensor drivers. The interface is described in README.md beside this file."""


class SensorError(ValueError):
    """The sensor answered, but not with a measurement: wrong chip, not ready, or outside its operating range.

    A sensor that does not answer at all shows as the port's own OSError.
    """
