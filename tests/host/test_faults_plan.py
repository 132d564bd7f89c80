"""The plan of faults: named sets, files, and what is drawn from them."""

from collections import Counter

import pytest

from host_sim.faults import plan
from host_sim.faults.kinds import KINDS, NODE
from host_sim.faults.plan import Entry, FaultSetError

START, DAY = 1_780_272_000_000_000, 86_400_000_000
NODES = ["greenhouse-1", "cellar-1"]


def draw(name, seed=1, days=2):
    return plan.draw(plan.load(name), seed, NODES, START, START + days * DAY)


def test_the_same_seed_draws_the_same_plan_and_another_one_another():
    assert draw("all") == draw("all")
    assert draw("all") != draw("all", seed=2)


@pytest.mark.parametrize("name", ["all", "proof"])
def test_every_kind_hits_each_node_or_the_cloud_end(name):
    drawn = Counter((fault.kind, fault.node) for fault in draw(name, days=7))
    for kind, what in KINDS.items():
        for node in NODES if what.hits == NODE else [""]:
            assert drawn[kind, node] >= 1, (kind, node)


def test_none_is_empty_and_default_is_smaller_than_all():
    assert draw("none") == []
    assert {fault.kind for fault in draw("default")} < {fault.kind for fault in draw("all")}


def test_the_proof_takes_the_network_from_all_nodes_for_two_days_at_once():
    long = [fault for fault in draw("proof", days=7) if fault.lasts_us == 2 * DAY]
    assert {fault.node for fault in long} == set(NODES) and len({fault.at_us for fault in long}) == 1


@pytest.mark.parametrize("seed", range(1, 9))
def test_no_outage_hides_in_another_of_the_same_node(seed):
    outs = [fault for fault in draw("proof", seed, days=7) if fault.kind == "wifi_out"]
    for node in NODES:
        own = [fault for fault in outs if fault.node == node]
        assert len(own) == 2
        assert own[0].at_us + own[0].lasts_us <= own[1].at_us


def test_plans_are_in_order_and_leave_the_end_quiet():
    drawn = draw("all")
    assert drawn == sorted(drawn, key=lambda fault: fault.at_us)
    assert all(START <= fault.at_us < START + 2 * DAY - 4 * 3600 * 1_000_000 for fault in drawn)


def test_kills_hit_nodes_and_cloud_alike():
    drawn = Counter(fault.kind for fault in plan.kills(1, 200, NODES, START, START + DAY))
    assert set(drawn) == {"node_kill", "power_cut", "ingest_kill", "broker_kill"} and drawn.total() == 200


def test_an_entry_of_a_file_says_when_how_long_and_how_strong(tmp_path):
    path = tmp_path / "storm.toml"
    path.write_text('[[fault]]\nkind = "clock_jump"\nat = 3600\nlasts = [60, 60]\nsize = [-30, -30]\n')
    (fault,) = plan.draw(plan.load(str(path)), 1, NODES, START, START + DAY)
    assert (fault.at_us - START, fault.lasts_us, fault.size) == (3_600_000_000, 60_000_000, -30)
    assert "-30 s" in str(fault) and fault.line(START // 1000).startswith("day 1 01:00  clock_jump   cloud end")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[fault]]\n", "fault 1: kind None is none of node_kill"),
        ('[[fault]]\nkind = "flood"\n', "fault 1: kind 'flood' is none of"),
        ('[[fault]]\nkind = "stall"\nfor = 3\n', "fault 1: unknown for; known are at"),
        ('[[fault]]\nkind = "stall"\ntimes = "often"\n', "times = 'often' is no number"),
        ('[[fault]]\nkind = "stall"\nlasts = [9, 3]\n', "a range is [least, most]"),
        ('[[fault]]\nkind = "stall"\nlasts = 9\n', "a range is [least, most]"),
        ('[[fault]]\nkind = "clock_jump"\nsize = 3\n', "size must be [least, most]"),
        ('[[fault]]\nkind = "db_locked"\ntogether = true\n', "db_locked hits the cloud end"),
        ("fault = 3\n", "holds something else than [[fault]] entries"),
        ("seed = 3\n", "holds something else than [[fault]] entries: seed"),
        ("[[fault]\n", "storm.toml: "),
    ],
)
def test_a_wrong_file_is_refused_with_one_line_that_says_where(tmp_path, text, says):
    path = tmp_path / "storm.toml"
    path.write_text(text)
    with pytest.raises(FaultSetError) as caught:
        plan.load(str(path))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_an_unknown_name_says_which_there_are():
    with pytest.raises(FaultSetError, match="faults storm: No such file.*all, default, none, proof"):
        plan.load("storm")


def test_a_jump_of_the_clock_is_never_by_nothing():
    entry = Entry("clock_jump", times=300, size=(-1, 1))
    assert {fault.size for fault in plan.draw([entry], 1, NODES, START, START + DAY)} == {-1, 1}
