"""What a hostile or dying peer can do to a client in a small heap: every such connection ends as one counted fault in
bounded time, no other task waits 200 ms for it, and no memory stays behind.
"""

import json
import os
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from cloud import pki

pytestmark = pytest.mark.beside

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "device" / "mqttattacked.py"

STEP_MS = 200
CONNACK = b"\x20\x02\x00\x00"
SUBACK = b"\x90\x03\x00\x01\x00"
MESSAGE = b"\x30\x05\x00\x01tab"

Talk = Callable[[socket.socket], None]


def _hold(sock: socket.socket) -> None:
    """Takes nothing and says nothing for longer than any deadline."""
    time.sleep(4.5)


def _swallow(sock: socket.socket) -> None:
    """Reads until the node gives up."""
    with suppress(OSError):
        while sock.recv(65536):
            pass


def _say(*parts: bytes, then: Talk = _swallow, pause: float = 0.0) -> Talk:
    def talk(sock: socket.socket) -> None:
        sock.recv(10)
        if pause:
            threading.Thread(target=_swallow, args=(sock,), daemon=True).start()
        for part in parts:
            sock.sendall(part)
            time.sleep(pause)
        then(sock)

    return talk


def _half_close(sock: socket.socket) -> None:
    """Ends its own half, goes on reading."""
    sock.shutdown(socket.SHUT_WR)
    _swallow(sock)


def _flood(sock: socket.socket) -> None:
    """Small messages without an end, as fast as they are taken."""
    sock.settimeout(10)
    while True:
        sock.sendall(MESSAGE * 500)


def _drip(octets: bytes) -> list[bytes]:
    return [octets[at : at + 1] for at in range(len(octets))]


# Name: how the peer talks in plain TCP, and the fault that it must be, in words of MqttError.
PLAIN: dict[str, tuple[Talk, set[str]]] = {
    "silence": (_hold, {"connack"}),
    "no connack": (_swallow, {"connack"}),
    "dripping connack": (_say(*_drip(b"\x20\x82\x80\x80\x00" * 3), pause=0.3), {"packet", "connack", "protocol"}),
    "half closed at once": (_half_close, {"eof"}),
    "half closed when up": (_say(CONNACK + SUBACK, then=_half_close), {"eof"}),
    "half closed in a packet": (_say(CONNACK + SUBACK + MESSAGE[:3], then=_half_close), {"eof"}),
    "takes no more": (_say(CONNACK + SUBACK, then=_hold), {"write"}),
    "garbage after connack": (_say(CONNACK + bytes(range(1, 256)) * 8), {"protocol"}),
    "http": (_say(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"), {"packet", "connack"}),
    "dripping message": (_say(CONNACK + SUBACK, *_drip(b"\x30\x78\x00\x01t" + b"." * 20), pause=0.2), {"packet"}),
    "oversize": (_say(CONNACK + SUBACK + b"\x30\xff\xff\xff\x7f\x00\x01t", then=_flood), {"oversize"}),
    "ack of nothing": (_say(CONNACK + SUBACK + b"\x40\x02\x00\x09"), {"protocol"}),
    "suback twice": (_say(CONNACK + SUBACK + SUBACK), {"protocol"}),
    "flood of a deaf peer": (_say(CONNACK + SUBACK, then=_flood), {"write"}),
    "flood": (_say(CONNACK + SUBACK, then=_flood, pause=0.01), {"none"}),
}

TLS: dict[str, tuple[Talk, set[str]]] = {
    "silence": (_hold, {"dial"}),
    "garbage in place of a handshake": (_say(bytes(range(256)) * 20), {"dial"}),
    "an alert": (_say(b"\x15\x03\x03\x00\x02\x02\x28"), {"dial"}),
    "half closed": (_say(then=_half_close), {"dial", "eof"}),
    "plain mqtt": (_say(CONNACK + SUBACK), {"dial"}),
    "an endless record": (_say(b"\x16\x03\x03\x3f\xff", *_drip(b"\x02\x00\x3f\x00" + bytes(96)), pause=0.05), {"dial"}),
}


def _attack(talk: Talk, client: str, credentials: str = "-", heap: str = "96K") -> dict:
    """Let the client meet such a peer; return what it said."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    listener.settimeout(20)

    def serve() -> None:
        with suppress(OSError):
            sock, _ = listener.accept()
            sock.settimeout(10)
            with sock, suppress(OSError):
                talk(sock)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    path = ":".join(str(ROOT / folder) for folder in ("firmware", "lib", "tests/device"))
    port = str(listener.getsockname()[1])
    done = subprocess.run(
        [sys.executable, "-m", "micropython_unix", "-X", f"heapsize={heap}", str(SCRIPT), client, port, credentials]
        + [str(socket.SO_SNDBUF)],
        env=os.environ | {"MICROPYPATH": f"{path}:.frozen"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=30,
    )
    listener.close()
    assert done.returncode == 0, done.stdout
    return json.loads(done.stdout)


def _check(said: dict, what: set[str]) -> None:
    assert said["what"] in what, said
    assert said["ms"] < 6000, said
    assert said["longest_ms"] < STEP_MS, said
    assert said["grown"] < 4096, said


@pytest.mark.parametrize("name", PLAIN)
@pytest.mark.parametrize("client", ["own", "umqtt"])
def test_a_peer_in_plain_tcp(name: str, client: str) -> None:
    talk, what = PLAIN[name]
    said = _attack(talk, client, heap="96K" if client == "own" else "128K")
    _check(said, what)
    assert name != "flood" or said["heard"] > 10_000, said


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> pki.Authority:
    made = pki.Authority(tmp_path_factory.mktemp("cloud"))
    made.node("n1").write(made.folder / "n1")
    return made


@pytest.mark.parametrize("name", TLS)
def test_a_peer_in_place_of_a_tls_server(name: str, authority: pki.Authority) -> None:
    talk, what = TLS[name]
    _check(_attack(talk, "own", str(authority.folder / "n1")), what)


def _tls(authority: pki.Authority, talk: Talk) -> Talk:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.server(["127.0.0.1"]))
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion.TLSv1_2

    def serve(sock: socket.socket) -> None:
        with context.wrap_socket(sock, server_side=True) as wrapped:
            talk(wrapped)

    return serve


class _Dripping:
    """Passes on what a TLS server says, `size` bytes at a time, and lets `stop_at` bytes through at most."""

    def __init__(self, authority: pki.Authority, size: int, pause: float, stop_at: int) -> None:
        self._authority = authority
        self._size, self._pause, self._stop_at = size, pause, stop_at

    def __call__(self, sock: socket.socket) -> None:
        near, far = socket.socketpair()
        serve = _tls(self._authority, _swallow)

        def served() -> None:
            with suppress(OSError):
                serve(far)

        def up() -> None:
            with suppress(OSError):
                while data := sock.recv(4096):
                    near.sendall(data)

        for each in (served, up):
            threading.Thread(target=each, daemon=True).start()
        passed = 0
        with suppress(OSError):
            while passed < self._stop_at and (data := near.recv(self._size)):
                sock.sendall(data)
                passed += len(data)
                time.sleep(self._pause)
            _swallow(sock)
        near.close()


# Bytes at a time, seconds between them, bytes in all.
HANDSHAKES = {"drip": (1, 0.005, 1 << 20), "stall": (4096, 0.0, 300), "late stall": (4096, 0.0, 1200)}


@pytest.mark.parametrize("name", HANDSHAKES)
def test_a_handshake_that_drips_or_stops(authority: pki.Authority, name: str) -> None:
    said = _attack(_Dripping(authority, *HANDSHAKES[name]), "own", str(authority.folder / "n1"))
    _check(said, {"dial", "connack"})


INSIDE = ["takes no more", "flood of a deaf peer", "half closed when up", "garbage after connack", "no connack"]


@pytest.mark.parametrize("name", INSIDE)
def test_a_peer_inside_tls(name: str, authority: pki.Authority) -> None:
    """It has a certificate of our CA, and behaves the same way."""
    talk, what = PLAIN[name]
    said = _attack(_tls(authority, talk), "own", str(authority.folder / "n1"))
    _check(said, what)


def _table(folder: Path) -> None:
    """Print what each fault costs a client in TLS, and without it where nothing is said inside TLS."""
    authority = pki.Authority(folder)
    authority.node("n1").write(authority.folder / "n1")
    given = str(authority.folder / "n1")
    cases = [("plain TCP", name, PLAIN[name][0], "-") for name in PLAIN]
    cases += [("in place of TLS", name, TLS[name][0], given) for name in TLS]
    cases += [("TLS handshake", name, _Dripping(authority, *HANDSHAKES[name]), given) for name in HANDSHAKES]
    cases += [("inside TLS", name, _tls(authority, PLAIN[name][0]), given) for name in INSIDE]
    print("| where | fault | is told as | after ms | longest step ms |\n|---|---|---|---|---|")
    for where, name, talk, credentials in cases:
        said = _attack(talk, "own", credentials)
        print(f"| {where} | {name} | {said['what']} | {said['ms']} | {said['longest_ms']} |", flush=True)


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        _table(Path(scratch))
