# heap: 96K
"""A clock raised for certificates' sake is no more known for that (node.timekeeper)."""

from node.bootlog import BootLog
from node.timekeeper import Timekeeper

RELEASE = 199756800
NOW = 205000000
YEAR_2000 = -631152000


class Clock:
    """As the ESP32's: everything from 2024 on counts as set; a cold start begins in 2000."""

    def __init__(self, seconds=YEAR_2000):
        self.shown = seconds

    def seconds(self):
        return self.shown

    def wall(self):
        return (self.shown, 2) if self.shown >= 126230400 else None

    def set(self, seconds, ms, quality):
        self.shown = seconds


class Log(BootLog):
    """Saves into a list what the clock then showed; `full` is a filesystem that takes no more."""

    def __init__(self, clock):
        super().__init__()
        self.clock = clock
        self.saves = []
        self.full = False

    def save(self, began, good, raised):
        if self.full:
            raise OSError(28)
        self.saves.append((self.clock.shown, raised))
        self.began, self.good, self.raised = began, good, raised


def started(seconds=YEAR_2000):
    clock = Clock(seconds)
    log = Log(clock)
    log.begin(seconds)
    log.saves.clear()
    return clock, log, Timekeeper(clock, log)


def test_a_raised_clock_is_still_unknown():
    clock, log, keeper = started()
    clock.shown += 100
    keeper.raise_clock(RELEASE)
    assert clock.shown == RELEASE
    assert keeper.wall() == (0, 0)
    assert keeper.stamp() == (100, 0)
    clock.shown += 50
    assert keeper.stamp() == (150, 0) and keeper.uptime_ms() == 150000


def test_it_is_marked_before_it_is_raised():
    _, log, keeper = started()
    keeper.raise_clock(RELEASE)
    assert log.saves == [(YEAR_2000, True)]


def test_it_is_raised_once():
    clock, log, keeper = started()
    for _ in range(3):
        keeper.raise_clock(RELEASE)
        clock.shown += 3600
    assert len(log.saves) == 1 and clock.shown == RELEASE + 3 * 3600


def test_the_last_time_known_counts_if_it_is_later():
    clock, log, keeper = started()
    log.good = NOW
    keeper.raise_clock(RELEASE)
    assert clock.shown == NOW and keeper.wall() == (0, 0)


def test_a_known_clock_is_left_alone():
    clock, log, keeper = started(NOW)
    log.good = NOW + 100
    keeper.raise_clock(NOW + 200)
    assert clock.shown == NOW and not log.saves and keeper.wall() == (NOW, 2)


def test_setting_makes_it_known_and_uptime_runs_on():
    clock, log, keeper = started()
    keeper.raise_clock(RELEASE)
    clock.shown += 10
    keeper.set(NOW, 0, 2)
    assert keeper.wall() == (NOW, 2) and keeper.uptime_s() == 10
    assert log.good == NOW and log.saves[-1] == (RELEASE + 10, False)


def test_a_full_filesystem_changes_nothing():
    clock, log, keeper = started()
    clock.shown += 100
    log.full = True
    for attempt in (lambda: keeper.raise_clock(RELEASE), lambda: keeper.set(NOW, 0, 2)):
        try:
            attempt()
        except OSError:
            assert keeper.stamp() == (100, 0)
        else:
            raise AssertionError


def test_even_where_the_clock_happens_to_be_right():
    clock, log, keeper = started()
    keeper.raise_clock(NOW)
    keeper.set(NOW, 0, 2)
    assert keeper.wall() == (NOW, 2) and log.saves[-1] == (NOW, False)


def test_the_last_time_known_is_kept_fresh_without_many_writes():
    clock, log, keeper = started(NOW)
    log.good = NOW
    for _ in range(30):
        clock.shown += 86400
        keeper.set(clock.shown, 0, 2)
    assert not log.saves
    clock.shown += 86400
    keeper.set(clock.shown, 0, 2)
    assert log.good == clock.shown and len(log.saves) == 1
