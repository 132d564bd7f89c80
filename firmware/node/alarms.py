"""Says once when a channel crosses a limit, when a sensor fails, and when either is over: as an event in flash, before
the row that shows it.
"""

from . import limits
from .sampler import OK


class Alarms:
    """`state`: two bits per channel, as in a journal row, which carries it over deep sleep. `raised`: an alarm was
    recorded in this waking; its owner clears it.
    """

    def __init__(self, settings, store):
        self.state = 0
        self.raised = False
        self._channels = settings["channels"]
        self._sensors = settings["sensors"]
        self.limits = settings["limits"]
        self._store = store

    def replay(self):
        """Brings the states up to the events in flash. An event is written before its row, so a cut between the two
        must not report it again; and only the events still know the alarm that stood when a sensor failed.
        """
        from . import wire

        alarms = {}
        for event in self._store.events():
            kind, index, state = wire.event_state(event)
            if kind == wire.ALARM:
                alarms[index] = state
            elif kind == wire.SENSOR and index < len(self._sensors):
                index = self._sensors[index]["channels"][0]
                state = limits.SENSOR_FAILS if state else alarms.get(index, limits.NORMAL)
            else:
                continue
            self.state = limits.put(self.state, index, state)

    def judge(self, sampler, due):
        """Judges what `sampler` has just taken from the sensors `due`."""
        for index in due:
            self._judge_sensor(index, sampler.outcome[index])
        for channel, low, high, hysteresis in self.limits:
            if sampler.present >> (channel - 1) & 1:
                self._judge_channel(channel, sampler.values[channel - 1], low, high, hysteresis)

    def _judge_sensor(self, index, outcome):
        first = self._sensors[index]["channels"][0]
        failed = limits.get(self.state, first) == limits.SENSOR_FAILS
        if (outcome != OK) == failed:
            return
        self._store.sensor(index, outcome)
        if failed:
            self.replay()
        else:
            self.state = limits.put(self.state, first, limits.SENSOR_FAILS)

    def _judge_channel(self, channel, value, low, high, hysteresis):
        before = limits.get(self.state, channel)
        after = limits.judge(before, value, low, high, hysteresis)
        if after == before:
            return
        limit = high if (after or before) == limits.HIGH else low
        if limit is None:  # new settings took away the limit that had been crossed
            limit = low if high is None else high
        self._store.alarm(channel, after, self._channels[channel - 1][3], value, limit)
        self.state = limits.put(self.state, channel, after)
        self.raised = True
