"""How long each thing may take."""

from mqtt.error import MqttError


class Deadlines:
    """A time limit for each of some things, every one running only while its thing is under way.

    `names` and `limits_ms` in the same order; a thing is known by its index. `clock` has ticks_diff().
    """

    def __init__(self, names, limits_ms, clock):
        self._names = names
        self._limits = limits_ms
        self._clock = clock
        self._since = [None] * len(names)

    def clear(self):
        """Stops all."""
        for which in range(len(self._since)):
            self._since[which] = None

    def progress(self, which):
        """Stops one: what it waited for has come; if there is more to wait for, watch() starts it afresh."""
        self._since[which] = None

    def watch(self, which, active, now):
        """Starts or stops one, as `active` says. MqttError by its name if its limit has passed."""
        if not active:
            self._since[which] = None
        elif self._since[which] is None:
            self._since[which] = now
        elif self._clock.ticks_diff(now, self._since[which]) >= self._limits[which]:
            raise MqttError(self._names[which], "no progress in %d ms" % self._limits[which])

    def next_ms(self, now):
        """Milliseconds until the first one passes, 0 or more; None if none is running."""
        first = None
        for which in range(len(self._since)):
            if self._since[which] is not None:
                left = self._limits[which] - self._clock.ticks_diff(now, self._since[which])
                if first is None or left < first:
                    first = left
        return first if first is None else max(first, 0)
