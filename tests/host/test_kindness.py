"""A simulated chip that is kinder than the real one is caught: each kindness is planted, and the test that holds the
chip to its source fails.
"""

from dataclasses import dataclass

import pytest
import test_chip_esp32
import test_chip_rp2
from simkit import Bench

from host_sim.hardware.flash import Flash


@dataclass
class Kind(Bench):
    """A bench whose chip does what `plant`, lines of MicroPython, makes of it before the test's own script runs."""

    plant: str = ""

    def run(self, script, *args, **kwargs):
        """As Bench."""
        indent = script[: len(script) - len(script.lstrip())].rsplit("\n", 1)[-1]
        planted = "".join(f"\n{indent}{line}" for line in self.plant.splitlines())
        return super().run(planted + script, *args, **kwargs)


RTC_SET = "import machine\nmachine.RTC().datetime((2026, 6, 1, 0, 12, 0, 0, 0))"
RADIO_UP = "import socket\nsocket._up = True"
KINDNESSES = {
    "a socket without radio": (RADIO_UP, "esp32", test_chip_esp32.test_no_socket_and_no_name_without_the_radio),
    "a clock that is right at boot (ESP32)": (
        RTC_SET, "esp32",
        test_chip_esp32.test_clock_starts_in_2000_runs_through_deep_sleep_and_is_lost_with_power,
    ),
    "a clock that is right at boot (RP2)": (
        RTC_SET, "pico_w", test_chip_rp2.test_the_clock_reads_2021_at_every_boot_and_counts_from_1970,
    ),
}  # fmt: skip


@pytest.mark.parametrize("kindness", KINDNESSES)
def test_a_kindness_of_the_vms_side_is_caught(tmp_path, kindness):
    plant, board, check = KINDNESSES[kindness]
    with pytest.raises(AssertionError):
        check(Kind(tmp_path, board=board, plant=plant))


def test_without_a_plant_the_same_bench_passes(tmp_path):
    for number, (_, board, check) in enumerate(KINDNESSES.values()):
        folder = tmp_path / str(number)
        folder.mkdir()
        check(Kind(folder, board=board))


def test_a_write_that_needs_no_erase_is_caught(tmp_path, monkeypatch):
    def program(self, address, data, *_):
        self.cells[address : address + len(data)] = bytes(data)
        return 0

    monkeypatch.setattr(Flash, "program", program)
    with pytest.raises(AssertionError):
        test_chip_esp32.test_flash_clears_bits_only_and_erases_only_when_told(Bench(tmp_path))
