"""What the node holds, and handing it over."""

from collections import OrderedDict

from ..refused import Refused

_NAMES = ("journal", "alerts", "frames")


async def ring(console, words):
    """Each ring: what can be read, what the cloud has committed, what was given up."""
    store = console.node.store
    store.mount_rest()
    rows = []
    for name in _NAMES:
        each = getattr(store, name)
        oldest, released, following = each.range()
        _, sectors = console.node.board.rings[name]
        rows.append(OrderedDict(ring=name, oldest=oldest, released=released, newest=following - 1,
                                kept=following - oldest, dropped=getattr(each, "dropped", None),
                                sectors=sectors, stream="%08x" % each.stream))  # fmt: skip
    return OrderedDict(rings=rows)


async def queue(console, words):
    """What waits for the cloud."""
    node = console.node
    store = node.store
    store.mount_rest()
    return OrderedDict(
        events=_waiting(store.alerts),
        frames=_waiting(store.frames),
        rows=store.waiting_rows(),
        next_contact_s=node.contacts.latest(),
        contact_under_way=node.contacts.busy(),
    )


async def send(console, words):
    """A contact now, and how it went."""
    node = console.node
    if node.contacts.busy():
        raise Refused("a contact is under way")
    before = node.store.committed()
    node.contacts.begin()
    while node.contacts.busy():
        if await console.pause(100):
            return OrderedDict(contact="goes on")
    _, done = node.contacts.last
    return OrderedDict(contact="complete" if done else "incomplete; the log says why",
                       committed=node.store.committed() - before, rows_waiting=node.store.waiting_rows())  # fmt: skip


def _waiting(ring):
    oldest, released, following = ring.range()
    return following - max(oldest, released + 1)
