"""Pinned images: downloaded once, confirmed by a person once, and never another."""

import hashlib
import threading
from contextlib import nullcontext
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from imagekit import esp_image

from tools import boards, catalogue
from tools.flash import FlashError, Refusal, images

ESP32 = boards.load("esp32")
CONTENT = b"an image, " * 5000
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...


@pytest.fixture
def site(tmp_path: Path):
    """A web server, and the address of its folder `site`."""
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=partial(server.serve_forever, 0.02), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def pin_file(tmp_path: Path, site: str) -> Path:
    (tmp_path / "site" / "fw.bin").write_bytes(CONTENT)
    path = tmp_path / "boards" / "esp32" / "image.toml"
    path.parent.mkdir(parents=True)
    path.write_text(f'version = "1.28.0"\nurl = "{site}/fw.bin"\noffset = 0x1000\n')
    return path


def fetch(pin_file: Path, answer: bool = True, cache: str = "cache") -> tuple[bytes, list[str]]:
    """Fetches what the file pins -> the image, and the hashes that were asked about."""
    asked: list[str] = []

    def confirm(sha256: str) -> bool:
        asked.append(sha256)
        return answer

    root = pin_file.parent.parent
    wanted = images.pin(ESP32, root)
    return images.fetch(wanted, lambda: nullcontext(lambda done, total: None), confirm, root.parent / cache), asked


def test_a_first_download_is_asked_about_and_recorded_once(pin_file: Path) -> None:
    assert fetch(pin_file) == (CONTENT, [SHA256])
    complete = images.pin(ESP32, pin_file.parent.parent)
    assert (complete.size, complete.sha256, complete.version) == (len(CONTENT), SHA256, "1.28.0")
    (pin_file.parent.parent.parent / "site" / "fw.bin").unlink()
    assert fetch(pin_file) == (CONTENT, [])  # from the cache


def test_a_no_records_nothing(pin_file: Path) -> None:
    before = pin_file.read_text()
    with pytest.raises(Refusal, match=f"its SHA-256 {SHA256} was not accepted; nothing was done"):
        fetch(pin_file, answer=False)
    assert pin_file.read_text() == before


@pytest.mark.parametrize("place", ["boards/esp32/image.toml", "cache/fw.bin"])
def test_a_place_that_takes_no_file_is_said(pin_file: Path, place: str) -> None:
    before = pin_file.read_text()
    (pin_file.parent.parent.parent / f"{place}.new").mkdir(parents=True)
    with pytest.raises(FlashError, match=f"{place}: cannot be written: Is a directory"):
        fetch(pin_file)
    assert place.startswith("cache") or pin_file.read_text() == before


def test_another_file_under_the_same_name_is_refused(pin_file: Path) -> None:
    fetch(pin_file)
    (pin_file.parent.parent.parent / "site" / "fw.bin").write_bytes(CONTENT + b"!")
    with pytest.raises(Refusal, match=f"is not the pinned {SHA256}"):
        fetch(pin_file, cache="empty")


def test_a_damaged_cache_is_fetched_anew(pin_file: Path) -> None:
    fetch(pin_file)
    (pin_file.parent.parent.parent / "cache" / "fw.bin").write_bytes(b"half")
    assert fetch(pin_file) == (CONTENT, [])


def test_a_download_that_fails_is_said(pin_file: Path) -> None:
    (pin_file.parent.parent.parent / "site" / "fw.bin").unlink()
    with pytest.raises(FlashError, match="File not found; check the network, or download it elsewhere and give --fw"):
        fetch(pin_file)


def test_a_download_that_ends_early_is_not_taken(pin_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(self: Quiet) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(CONTENT)))
        self.end_headers()
        self.wfile.write(CONTENT[:100])

    monkeypatch.setattr(Quiet, "do_GET", short)
    with pytest.raises(FlashError, match=f"100 of {len(CONTENT)} bytes"):
        fetch(pin_file)


def test_a_board_without_a_pin_is_named(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="no image is pinned for esp32"):
        images.pin(ESP32, tmp_path)


@pytest.mark.parametrize("name", catalogue.boards())
def test_every_board_pins_an_image_of_its_own(name: str) -> None:
    board = boards.load(name)
    pin = images.pin(board)
    assert f"/{board.build}-" in pin.url and f"-v{pin.version}." in pin.url and pin.url.startswith("https://")
    assert pin.offset == (board.rom.offset if board.family == "esp32" else None)
    assert (pin.sha256 is None) == (pin.size is None)


def test_an_image_tells_its_version() -> None:
    assert images.built(esp_image(ESP32)) == "v1.28.0 on 2026-04-06"
    assert images.built(CONTENT) is None
