"""The node's time: wall clock where it is known, uptime where it is not."""


class Timekeeper:
    """Stamps with (seconds, quality): since 2020 with quality 1 or 2, since this boot with quality 0."""

    def __init__(self, clock, bootlog):
        self._clock = clock
        self._bootlog = bootlog

    def stamp(self):
        """(seconds, quality) of now."""
        wall = self._clock.wall()
        return wall if wall else (self.uptime_s(), 0)

    def uptime_s(self):
        """Seconds since this boot began, deep sleep included."""
        return self._clock.seconds() - self._bootlog.began

    def uptime_ms(self):
        """As the wire counts it, modulo 2^32."""
        return self.uptime_s() * 1000 & 0xFFFFFFFF

    def wall(self):
        """(seconds since 2020 or 0, quality), as the wire writes an unknown time."""
        return self._clock.wall() or (0, 0)

    def set(self, seconds, ms, quality):
        """Sets the clock and returns by how many seconds it moved. Uptime does not jump with it."""
        moved = seconds - self._clock.seconds()
        self._clock.set(seconds, ms, quality)
        self._bootlog.began += moved
        # A correction by drift is not worth a flash write: until the next boot uptime is off by as much.
        if abs(moved) > 60:
            self._bootlog.save()
        return moved
