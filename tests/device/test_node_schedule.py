# heap: 1024K
"""When a node contacts, and that a fleet of them never does so together."""

import random

from node.schedule import BURST, Schedule, pause_ms

WALL = 199999200
HOUR = 3600


def _node(number, report=HOUR, **more):
    return Schedule(dict(tenant="t", node="node-%d" % number, report=report, **more))


def test_a_report_has_one_moment_in_each_interval():
    for number in range(20):
        for report in (60, HOUR, 86400):
            node = _node(number, report)
            now = WALL + number
            first = now + node.next_report(now)
            assert 1 <= first - now <= report
            assert not node.report_due(now, first - 1) and node.report_due(first - 1, first)
            assert not node.report_due(first, first + report - 1) and node.report_due(first, first + report)
            assert node.next_report(first) == report
            assert node.latest(first) >= report + 60


def test_reports_of_a_fleet_are_spread_over_the_interval():
    minutes = [0] * 60
    for number in range(1000):
        minutes[_node(number).next_report(WALL) * 60 // 3601] += 1
    assert max(minutes) <= 35 and min(minutes) >= 4, minutes  # 16.7 each on the average


def test_retries_one_in_each_window():
    for failures in range(1, 16):
        width = min(60 << failures, HOUR)
        node = _node(failures)
        start = WALL // width * width
        at, tries = start - 1, []
        while at < start + 20 * width:
            at = node.next_retry(failures, at)
            tries.append(at)
        windows = [at // width - start // width for at in tries]
        assert windows == list(range(len(windows))), failures
        inside = [at % width for at in tries]
        assert max(inside) > width * 3 // 4 and min(inside) < width // 4


def _outage(nodes, hours):
    """Contacts tried in each minute after an outage of that long, which all of the fleet saw begin together."""
    minutes = {}
    end = WALL + hours * HOUR
    for node in nodes:
        failures, at = 1, WALL  # the first contact that failed
        while at < end:
            at = node.next_retry(failures, at)
            failures = min(failures + 1, 15)
        minute = (at - end) // 60
        minutes[minute] = minutes.get(minute, 0) + 1
    return minutes


def test_a_fleet_of_a_thousand_does_not_come_back_together():
    nodes = [_node(number) for number in range(1000)]
    for hours in (1, 12):
        minutes = _outage(nodes, hours)
        assert sum(minutes.values()) == 1000
        assert max(minutes.values()) <= 50, minutes
        assert len(minutes) >= 55 and max(minutes) <= 120, minutes


def test_two_that_met_do_not_meet_again():
    nodes = [_node(number) for number in range(300)]
    first = [node.next_retry(6, WALL) // 60 for node in nodes]
    again = [node.next_retry(6, WALL + 2 * HOUR) // 60 for node in nodes]
    pairs = [(a, b) for a in range(300) for b in range(a) if first[a] == first[b]]
    both = [(a, b) for a, b in pairs if again[a] == again[b]]
    assert len(pairs) > 300 and len(both) * 15 < len(pairs), (len(both), len(pairs))


def test_pauses_of_one_contact_have_full_jitter_above_what_a_takeover_needs():
    random.seed(3)
    for tries in range(1, 6):
        pauses = [pause_ms(tries, random.getrandbits(30)) for _ in range(400)]
        spread = 500 << tries - 1
        assert min(pauses) >= 1100 and max(pauses) < 1100 + spread
        quarters = [0] * 4
        for pause in pauses:
            quarters[(pause - 1100) * 4 // spread] += 1
        assert min(quarters) > 60, quarters


def test_the_budget_of_alarms_refills_by_time():
    node = _node(1, alarm_contacts=24)
    assert node.refilled(WALL, WALL) == 0 and node.refilled(WALL + 5, WALL) == 0
    assert node.refilled(WALL, WALL + 86400) == 24
    now, got = WALL, 0
    for _ in range(1000):
        step = random.randint(1, 300)
        got += node.refilled(now, now + step)
        assert node.refilled(now, now + node.next_refill(now)) == 1
        now += step
    assert abs(got - (now - WALL) // HOUR) <= 1 and BURST <= 15


def test_a_contact_shares_a_waking_that_is_near():
    node = _node(1)
    assert node.wake(100, 160, 120) == 160 and node.wake(100, 160, 100) == 160
    assert node.wake(100, 3600, 1000) == 1000 and node.wake(100, 3600, 3550) == 3600
    assert node.wake(100, 3600, 90) == 100 and node.wake(100, 160, 9999) == 160


def test_settings_of_older_firmware():
    node = _node(1)
    assert (node.size, node.age) == (48, None)
