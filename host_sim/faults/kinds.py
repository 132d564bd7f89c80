"""Every kind of fault: whom it hits, how long it lasts, what it does."""

from typing import NamedTuple

NODE, CLOUD = "node", "cloud"

NODE_KILL, POWER_CUT, BROWN_OUT, WIFI_OUT = "node_kill", "power_cut", "brown_out", "wifi_out"
CONN_RESET, STALL, DRIP, SLOW = "conn_reset", "stall", "drip", "slow"
DNS_OUT, REFUSED, CONN_CLOSE, HALF_OPEN = "dns_out", "refused", "conn_close", "half_open"
BROKER_KILL, INGEST_KILL, AUTH_KILL, DB_LOCKED, DISK_FULL, CLOCK_JUMP = (
    "broker_kill", "ingest_kill", "auth_kill", "db_locked", "disk_full", "clock_jump",
)  # fmt: skip


class Kind(NamedTuple):
    """`lasts`: shortest and longest, simulated seconds; (0, 0) is over in the instant it strikes. `reach`: it strikes
    at a drawn one of so many events after its moment: requests, flash operations or pieces on the wire. `size`: a
    drawn number that belongs to the kind, such as the seconds of a clock's jump.
    """

    hits: str
    lasts: tuple[int, int]
    reach: int
    size: tuple[int, int]
    text: str


KINDS = {
    # A wake that only stores makes about 10 requests and 1 flash operation, a contact some more, and some 10 pieces.
    NODE_KILL: Kind(NODE, (0, 0), 40, (0, 0), "the supply fails between two steps of the program"),
    POWER_CUT: Kind(NODE, (0, 0), 8, (0, 0), "the supply fails in the middle of a flash operation"),
    BROWN_OUT: Kind(NODE, (0, 0), 30, (3, 8), "the supply fails again and again within seconds"),
    WIFI_OUT: Kind(NODE, (5400, 14400), 1, (0, 0), "no Wi-Fi; what is under way stands still"),
    CONN_RESET: Kind(NODE, (0, 0), 12, (0, 0), "the connection is reset in the middle of a packet"),
    STALL: Kind(NODE, (20, 90), 10, (0, 0), "the peer says nothing and takes nothing, the connection stays"),
    DRIP: Kind(NODE, (60, 180), 6, (0, 0), "40 bytes a second come through"),
    SLOW: Kind(NODE, (1800, 7200), 1, (0, 0), "20 kbit/s, and half a second there and back"),
    DNS_OUT: Kind(NODE, (300, 1800), 1, (0, 0), "the name server knows no name"),
    REFUSED: Kind(NODE, (60, 600), 1, (0, 0), "connections are reset as soon as they are made"),
    CONN_CLOSE: Kind(NODE, (0, 0), 12, (0, 0), "the connection is closed in the middle of a packet"),
    HALF_OPEN: Kind(NODE, (0, 0), 10, (0, 0), "the peer is gone and nobody says so"),
    BROKER_KILL: Kind(CLOUD, (0, 0), 12, (0, 0), "kill -9 of the broker"),
    INGEST_KILL: Kind(CLOUD, (0, 0), 12, (0, 0), "kill -9 of ingest"),
    AUTH_KILL: Kind(CLOUD, (0, 0), 12, (0, 0), "kill -9 of the callout service; nobody new comes in"),
    # Ahead of the first thing that a contact has to commit, its birth: later ones may find nothing to spoil.
    DB_LOCKED: Kind(CLOUD, (2, 4), 5, (0, 0), "another program holds the database's write lock"),
    DISK_FULL: Kind(CLOUD, (2, 4), 5, (0, 0), "ingest can write nothing to disk"),
    CLOCK_JUMP: Kind(CLOUD, (7200, 21600), 1, (-75, 75), "the cloud's clock is wrong"),
}
