"""tests/vectors/exchange.json: our cloud answers it to the byte, and a node takes each of the answers."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import cloudkit as kit
import pytest

from cloud import store, transaction
from cloud.clock import EPOCH_2020

VECTORS = Path(__file__).resolve().parents[1] / "vectors"
EXCHANGE: dict[str, Any] = json.loads((VECTORS / "exchange.json").read_text())
KEY = bytes.fromhex(EXCHANGE["key"])


def test_the_file_is_what_its_maker_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(VECTORS))
    made = importlib.import_module("make_exchange_vectors").made()
    assert json.loads(json.dumps(made)) == EXCHANGE


def test_the_cloud_answers_to_the_byte(tmp_path: Path) -> None:
    db = store.connect(tmp_path, create=True)
    name, tenant = EXCHANGE["node"], EXCHANGE["tenant"]
    store.add_node(db, name, tenant, KEY, [(1, "air.temperature", "degC")])
    now_ms = (EPOCH_2020 + EXCHANGE["now"]) * 1000 + EXCHANGE["ms"]
    for number, step in enumerate(EXCHANGE["steps"]):
        arrival = transaction.Arrival(tenant, name, step["lane"], bytes.fromhex(step["message"]), now_ms)
        owed = transaction.take(db, [arrival])
        ack = transaction.ack(db, name, now_ms) if owed else None
        assert (None if ack is None else ack.hex()) == step["ack"], (number, step["why"])


def test_a_node_takes_each_answer_in_its_session() -> None:
    keys = kit.NodeKeys(KEY, EXCHANGE["tenant"], EXCHANGE["node"])
    nonce, ackno = b"", 0
    for step in EXCHANGE["steps"]:
        message = bytes.fromhex(step["message"])
        if step["lane"] == "s" and step["ack"]:
            nonce = message[8:16]
        if step["ack"]:
            opened = keys.open_ack(bytes.fromhex(step["ack"]), nonce)
            assert opened is not None and opened["ackno"] > ackno, step["why"]
            ackno = opened["ackno"]
