"""board.toml against the board's own package, and what tools/boards.py makes of it."""

import ast
import re
from dataclasses import astuple

import pytest

from tools import boards, catalogue
from tools.boards import BoardError


@pytest.mark.parametrize("name", catalogue.boards())
def test_the_host_and_the_device_read_the_same(name: str) -> None:
    """The device's package cannot read TOML: its constants are held against the description."""
    described = boards.load(name)
    tree = ast.parse((described.packages[0] / "board" / "__init__.py").read_text())
    constants = {
        line.targets[0].id: ast.literal_eval(line.value)
        for line in tree.body
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name) and line.targets[0].id.isupper()
        and line.targets[0].id[0] != "_"
    }  # fmt: skip
    battery = described.power.battery
    assert constants == {
        "NAME": name, "BUSES": described.i2c, "RINGS": described.rings,
        "BATTERY": astuple(battery) if battery else None,
    }  # fmt: skip


@pytest.mark.parametrize("name", catalogue.boards())
def test_a_layout_fits_its_flash(name: str) -> None:
    described = boards.load(name)
    places = sorted((each.offset, each.size) for each in described.partitions) or [described.storage]
    for (offset, size), (following, _) in zip(places, [*places[1:], (described.flash_size, 0)], strict=True):
        assert offset % 4096 == 0 and size % 4096 == 0 and offset + size <= following
    places = sorted(described.rings.values())
    assert [first for first, _ in places] == [0, *(first + count for first, count in places[:-1])]
    sizes = {each.label: each.size for each in described.partitions}
    assert described.ring_sectors * 4096 <= (described.storage[1] if described.reserved else sizes["ring"])
    assert set(described.rings) == {"journal", "alerts", "frames"}


@pytest.mark.parametrize("name", catalogue.boards())
def test_a_power_table_is_of_a_board_that_can_be(name: str) -> None:
    power = boards.load(name).power
    assert 1000 * power.awake_ma > power.sleep_ua > 0 <= power.idle_ua
    assert power.awake_ma < power.radio_ma < power.peak_ma < 600
    least, most = power.supply_mv
    assert 1800 <= least < most <= 12000
    if power.battery is not None:
        at_pin = most / (power.battery.ratio * 10**power.battery.exponent)
        assert at_pin < 3300, "the ADC's pin would see more than its supply"


@pytest.mark.parametrize("name", catalogue.boards())
def test_what_the_selftest_asks_for_is_a_pin_of_its_own(name: str) -> None:
    described = boards.load(name)
    wired = {pin for _, scl, sda in described.i2c.values() for pin in (scl, sda)}
    wired |= {described.power.battery.pin} if described.power.battery else set()
    assert described.free not in wired | set(described.adc)


def test_every_chip_is_known_by_its_image() -> None:
    for described in map(boards.load, catalogue.boards()):
        assert boards.chip_of(described.family, described.rom.id) == described.chip
    assert boards.chip_of("esp32", 77) is None


SOURCES = ("boards", "cloud", "firmware", "host_sim", "lib", "tools", "Makefile", "pyproject.toml")
CODE = {"", ".csv", ".html", ".json", ".py", ".toml"}


def places_of(name: str) -> list[str]:
    """Files of code that name the board, but for its own, its simulated chip's, and examples (nodes/, tests/)."""
    own = (catalogue.BOARDS / name, catalogue.ROOT / "host_sim" / "chip" / "models" / name)
    found = []
    for root in (catalogue.ROOT / each for each in SOURCES):
        for path in [root] if root.is_file() else root.rglob("*"):
            if path.suffix in CODE and path.is_file() and not any(folder in path.parents for folder in own):
                found += [str(path)] if re.search(rf"\b{name}\b", path.read_text(encoding="utf-8")) else []
    return found


def test_a_board_is_one_folder() -> None:
    """No other file knows its name. A name that is its family's, too, cannot be told from that."""
    names = set(catalogue.boards()) - {boards.load(name).family for name in catalogue.boards()}
    assert len(names) >= 4
    assert places_of("esp32"), "nothing is looked at"
    for name in names:
        assert not places_of(name), name


def test_all_five_boards_are_there() -> None:
    assert catalogue.boards() == ["esp32", "esp32c3", "esp32s3", "pico2_w", "pico_w"]


@pytest.mark.parametrize(
    ("text", "said"),
    [("family = ", "Invalid value"), ('family = "rp2"', "'chip'"), (None, "No such file")],
)
def test_a_description_that_cannot_be_used_is_named(tmp_path, text: str | None, said: str) -> None:
    (tmp_path / "x").mkdir()
    if text is not None:
        (tmp_path / "x" / "board.toml").write_text(text)
    with pytest.raises(BoardError, match=said) as caught:
        boards.load("x", tmp_path)
    assert "board.toml" in str(caught.value)
