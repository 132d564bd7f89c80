"""What is explored: bounds that end within seconds for every `make test`, and whole ones for `make torture`."""

from __future__ import annotations

from explore import Scenario

WHOLE = (
    Scenario("drop, duplicate, reorder", faults=2),
    Scenario("three faults", alerts=2, frames=2, faults=3),
    Scenario("cuts of the node", faults=1, cuts=2),
    Scenario("ingest killed, database refuses", alerts=3, frames=3, faults=1, kills=1, holds=1),
    Scenario("forged, replayed and impossible messages", alerts=2, frames=2, cuts=1, lies=2),
    Scenario("two workers", faults=1, workers=2, pulls=3, alerts=2, frames=3),
    Scenario("two workers, killed and refused", workers=2, pulls=2, kills=1, holds=2, alerts=1, frames=3),
    Scenario("purge, then replay", alerts=3, frames=3, faults=1, kills=1, purges=1),
    Scenario("frame given up, and late in its gap", alerts=2, frames=3, faults=1, overwrites=2, cuts=1),
    Scenario("backup restored", faults=1, restores=1, cuts=1, alerts=3, frames=3),
    Scenario("records made in mid-contact", alerts=2, frames=2, faults=1, appends=2, cuts=1),
    Scenario("two chips under one name", clone="chip", alerts=2, frames=2),
    Scenario("a copied image", clone="image", alerts=2, frames=2),
    Scenario("ring 2 formatted anew", alerts=1, frames=3, faults=1, cuts=1, reformats=1, kills=1),
)

SAMPLED = (
    Scenario("drop, duplicate, reorder", alerts=2, frames=2, faults=2),
    Scenario("cuts of the node", alerts=2, frames=2, faults=1, cuts=1),
    Scenario("ingest killed, database refuses", alerts=1, frames=2, faults=1, kills=1, holds=1),
    Scenario("forged, replayed and impossible messages", alerts=1, frames=2, cuts=1, lies=1),
    Scenario("two workers", alerts=1, frames=2, faults=1, workers=2, pulls=2),
    Scenario("two workers, killed and refused", alerts=1, frames=2, workers=2, pulls=1, kills=1, holds=2),
    Scenario("purge, then replay", alerts=2, frames=2, faults=1, kills=1, purges=1),
    Scenario("frame given up, and late in its gap", alerts=1, frames=2, faults=1, overwrites=1, cuts=1),
    Scenario("backup restored", alerts=1, frames=3, faults=1, restores=1, cuts=1),
    Scenario("records made in mid-contact", alerts=1, frames=1, faults=1, appends=2),
    Scenario("two chips under one name", clone="chip", alerts=1, frames=2),
    Scenario("a copied image", clone="image", alerts=1, frames=2),
    Scenario("ring 2 formatted anew", alerts=1, frames=2, faults=1, reformats=1, kills=1),
)
