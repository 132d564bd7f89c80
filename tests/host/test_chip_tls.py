"""TLS as a board has it, on the simulated ESP32: whose word and which dates it takes, and what a session costs."""

import datetime
import socket
import ssl
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from simkit import Bench

from cloud import pki

UTC = datetime.timezone.utc

# Joins, sets the RTC if told to, then connects as a node does and says how that went.
SCRIPT = """
    import gc, machine, network, socket, time
    from mqtt import UP, Client, MqttError
    from node import tls

    FILES = {files}
    for name in FILES:
        with open(name, "wb") as file:
            file.write(FILES[name])
    if {rtc}:
        machine.RTC().datetime({rtc})
    w = network.WLAN(network.STA_IF)
    w.active(True)
    w.connect("net", "password")
    while not w.isconnected():
        time.sleep_ms(100)
    client = Client("n-1")
    address = socket.getaddrinfo("cloud.test", 8883)[0][-1]

    def connect(name):
        client.connect(address, ssl=tls.context(), server_hostname=name)
        try:
            while client.state != UP:
                client.check_msg()
                time.sleep_ms(1)
            print("up")
        except MqttError as error:
            print("fault", error.what, error.detail.strip())
        return client._dial

    connect({name!r})
"""


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> pki.Authority:
    """A CA with a server certificate for cloud.test."""
    made = pki.Authority(tmp_path_factory.mktemp("cloud"), datetime.datetime(2026, 6, 1, tzinfo=UTC))
    made.server(["cloud.test"])
    return made


@pytest.fixture
def broker(authority: pki.Authority) -> Iterator[tuple[str, int]]:
    """Demands a certificate, answers whatever comes first with a CONNACK, and closes when the node does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.server(["cloud.test"]))
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(30)

    def serve() -> None:
        while True:
            try:
                plain, _ = listener.accept()
            except OSError:
                return
            plain.settimeout(10)
            try:
                with context.wrap_socket(plain, server_side=True) as wrapped:
                    wrapped.recv(1000)
                    wrapped.sendall(b"\x20\2\0\0")
                    wrapped.recv(1000)
            except OSError:
                plain.close()

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    yield listener.getsockname()
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join(10)


Connect = Callable[..., str]


@pytest.fixture
def connect(tmp_path: Path, authority: pki.Authority, broker: tuple[str, int]) -> Connect:
    """Boots a node that connects; returns what it printed. `more` are lines of its main.py after the attempt."""

    def run(rtc: str = "(2026, 6, 1, 0, 0, 0, 0, 0)", name: str = "cloud.test", more: str = "", **files: bytes) -> str:
        given = authority.node("n-1")
        carried = {"ca": given.ca, "cert": given.certificate, "pkey": given.key} | files
        script = textwrap.dedent(SCRIPT).format(files=carried, rtc=rtc, name=name) + textwrap.dedent(more)
        return Bench(tmp_path, upstream=broker).run(script)

    return run


def test_the_right_server_is_taken(connect: Connect) -> None:
    """Mutual TLS with the files as a node carries them."""
    assert connect() == "up\n"


@pytest.mark.parametrize(
    ("rtc", "words"),
    [
        ("None", "starts in the future"),  # power-on: the year 2000
        ("(2019, 12, 31, 0, 12, 0, 0, 0)", "starts in the future"),
        ("(2036, 5, 31, 0, 0, 0, 0, 0)", "has expired"),
    ],
)
def test_dates_count_by_the_nodes_clock(connect: Connect, rtc: str, words: str) -> None:
    """mbedTLS of a board asks its RTC (x509_crt.c), though the host's clock finds nothing wrong."""
    said = connect(rtc)
    assert said.startswith("fault dial The certificate validity") and words in said


@pytest.mark.parametrize("rtc", ["(2020, 1, 1, 0, 0, 0, 0, 0)", "(2036, 5, 28, 0, 0, 0, 0, 0)"])
def test_the_ends_of_validity_are_good(connect: Connect, rtc: str) -> None:
    """The first second, and a day before the last."""
    assert connect(rtc) == "up\n"


def test_another_name_and_another_ca_are_refused(connect: Connect, tmp_path: Path) -> None:
    """The host name is checked against the certificate, and only our CA counts."""
    assert "does not match" in connect(name="elsewhere.test")
    other = pki.Authority(tmp_path / "other").node("n-1").ca
    assert "not correctly signed" in connect(ca=other)


def test_the_server_refuses_a_node_of_another_ca(connect: Connect, tmp_path: Path) -> None:
    """Its certificate is not of our CA; the node sees its connection end."""
    other = pki.Authority(tmp_path / "other").node("n-1")
    assert connect(cert=other.certificate, pkey=other.key).startswith("fault ")


def test_a_failed_handshake_leaves_no_socket_open(connect: Connect) -> None:
    """An SSLSocket in error does not close what lies below it; the client does."""
    more = """
        import socket as module
        print([each.fileno() for each in module._open])
    """
    said = connect(name="elsewhere.test", more=more).splitlines()
    assert said[-1] == "[-1]"


def test_a_session_holds_as_much_heap_as_mbedtls_until_it_is_closed(connect: Connect) -> None:
    """31 KB at the peak of a handshake, which an RP2 takes from the GC heap."""
    more = """
        gc.collect()
        held = gc.mem_alloc()
        client.disconnect()
        gc.collect()
        print(held - gc.mem_alloc())
    """
    assert 31_000 < int(connect(more=more).splitlines()[-1]) < 40_000
