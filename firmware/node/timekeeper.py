"""The node's time: wall clock where it is known, uptime where it is not."""

from time import ticks_diff, ticks_ms

_GOOD_S = 30 * 86400  # how old the last time known may be in flash


class Timekeeper:
    """Stamps with (seconds, quality): since 2020 with quality 1 or 2, since this boot with quality 0."""

    def __init__(self, clock, bootlog):
        self._clock = clock
        self._bootlog = bootlog
        # The last set in this waking: ticks, seconds moved (None: was unknown), seconds since the set before (0: none).
        self.was_set = None

    def stamp(self):
        """(seconds, quality) of now."""
        wall = self.wall()
        return wall if wall[1] else (self.uptime_s(), 0)

    def uptime_s(self):
        """Seconds since this boot began, deep sleep included."""
        return self._clock.seconds() - self._bootlog.began

    def uptime_ms(self):
        """As the wire counts it, modulo 2^32."""
        return self.uptime_s() * 1000 & 0xFFFFFFFF

    def wall(self):
        """(seconds since 2020 or 0, quality), as the wire writes an unknown time."""
        wall = None if self._bootlog.raised else self._clock.wall()
        return wall or (0, 0)

    def raise_clock(self, earliest):
        """Lets a clock that is not known show at least `earliest` and the last time known (seconds since 2020), so that
        certificates can be held against it. It is no more known for that, and uptime does not jump with it.
        """
        seconds = self._clock.seconds()
        floor = max(earliest, self._bootlog.good)
        if not self.wall()[1] and seconds < floor:
            # First: a reset or a failure here must not leave a clock that is believed.
            self._bootlog.save(self._bootlog.began + floor - seconds, self._bootlog.good, True)
            self._clock.set(floor, 0, 0)

    def set(self, seconds, ms, quality):
        """Sets the clock and returns by how many seconds it moved. Uptime does not jump with it."""
        log = self._bootlog
        moved = seconds - self._clock.seconds()
        apart = 0 if self.was_set is None else ticks_diff(ticks_ms(), self.was_set[0]) // 1000
        self.was_set = ticks_ms(), moved if self.wall()[1] else None, apart
        # A correction by drift is not worth a flash write: until the next boot uptime is off by as much.
        if abs(moved) > 60 or log.raised or seconds - log.good > _GOOD_S:
            log.save(log.began + moved, seconds, False)
        else:
            log.began += moved
        self._clock.set(seconds, ms, quality)
        return moved
