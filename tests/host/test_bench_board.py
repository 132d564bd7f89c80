"""A simulated board on the bench, judged by the real mpremote and by what a watchdog does to a console."""

import asyncio
import hashlib
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from benchkit import BOOT, ROOT, mpremote, port_of, prompt_of, put_ports, running

from host_sim.bench import BenchBoard
from host_sim.node import SimulationError
from tools import nodefile

pytestmark = pytest.mark.beside

NODES = {"esp32": "greenhouse", "pico_w": "cellar"}


def bench(folder: Path, name: str, work: Callable[[BenchBoard], Awaitable[None]], blank: bool = True) -> None:
    """Does `work` with a powered board."""

    async def run() -> None:
        async with BenchBoard(nodefile.load(ROOT / f"nodes/{NODES[name]}.toml"), folder, folder / "port", blank) as one:
            await work(one)

    asyncio.run(asyncio.wait_for(run(), 100))


@pytest.mark.parametrize("name", NODES)
def test_what_mpremote_can_do(tmp_path: Path, name: str) -> None:
    async def work(board: BenchBoard) -> None:
        port = await prompt_of(board)
        source = tmp_path / "source"
        source.write_bytes(bytes(range(256)) * 9)
        said = await mpremote(
            port, "exec", "print('one')", "+", "eval", "2**70", "+", "fs", "cp", str(source), ":copy", "+", "fs", "ls",
            "+", "fs", "sha256sum", "copy", "+", "df",
        )  # fmt: skip
        assert "one" in said and str(2**70) in said and "2304 copy" in said and "VfsLfs2" in said
        assert hashlib.sha256(source.read_bytes()).hexdigest() in said
        await mpremote(port, "fs", "cp", ":copy", str(tmp_path / "back"))
        assert (tmp_path / "back").read_bytes() == source.read_bytes()
        await mpremote(port, "fs", "rm", "copy")
        assert "copy" not in (await mpremote(port, "fs", "ls")).partition("\n")[2]

    bench(tmp_path, name, work)


def test_resets_by_the_host_and_what_boot_and_main_make_of_them(tmp_path: Path) -> None:
    async def work(board: BenchBoard) -> None:
        port = await prompt_of(board)
        (tmp_path / "boot.py").write_text("print('boot')\n")
        (tmp_path / "main.py").write_text("print('main')\n")
        await mpremote(port, "fs", "cp", str(tmp_path / "boot.py"), str(tmp_path / "main.py"), ":")
        start = board.console_log.stat().st_size
        await mpremote(port, "soft-reset")
        said = board.console_log.read_bytes()[start:]
        # Out of the raw REPL a soft reset leaves main.py out.
        assert b"MPY: soft reboot\r\nboot\r\nraw REPL; CTRL-B to exit\r\n>" in said
        boots, start = board.boots, board.console_log.stat().st_size  # it may be up again before mpremote has ended
        await mpremote(port, "resume", "reset")
        said = b""
        while board.boots == boots or b"main" not in said or not said.endswith(b">>> "):
            await asyncio.sleep(0.02)
            said = board.console_log.read_bytes()[start:]
        assert b"boot\r\nmain\r\n" in said

    bench(tmp_path, "esp32", work)


def test_ctrl_c_reaches_code_that_waits_and_code_that_only_computes(tmp_path: Path) -> None:
    async def work(board: BenchBoard) -> None:
        port = await prompt_of(board)
        for code in ("import time\nwhile True: time.sleep(1)", "while True: pass"):
            (tmp_path / "main.py").write_text(code)
            await mpremote(port, "fs", "cp", str(tmp_path / "main.py"), ":", "+", "reset")
            await asyncio.sleep(1.5)
            assert (await mpremote(port, "exec", "print(6*7)")).strip() == "42"

    bench(tmp_path, "esp32", work)


def test_a_native_port_goes_with_the_chip_and_one_on_a_cable_stays(tmp_path: Path) -> None:
    async def work(board: BenchBoard) -> None:
        port = await prompt_of(board)
        there = [board.port.there]
        await mpremote(port, "exec", "--no-follow", "import machine, time; time.sleep_ms(100); machine.deepsleep(1500)")
        await asyncio.sleep(0.8)
        there.append(board.port.there)
        await port_of(board)
        assert there == [True, not board.native]
        assert (await mpremote(await prompt_of(board), "eval", "3")).strip() == "3"

    for name in NODES:
        (tmp_path / name).mkdir()
        bench(tmp_path / name, name, work)


def test_the_boot_roms_drive_takes_a_whole_uf2_for_its_chip_and_nothing_else(tmp_path: Path) -> None:
    def uf2(family: int, count: int = 2) -> bytes:
        head = [(0x0A324655, 0x9E5D5157, 0x2000, 0x10000000 + 256 * i, 256, i, 2, family) for i in range(count)]
        return b"".join(struct.pack("<8I", *h) + bytes([h[5] + 1]) * 476 + struct.pack("<I", 0x0AB16F30) for h in head)

    async def work(board: BenchBoard) -> None:
        port = await prompt_of(board)
        await mpremote(port, "bootloader")
        await board.settled("bootloader", 10)
        assert not board.port.there and not port.is_symlink()
        drive = tmp_path / "RPI-RP2"
        for refused in (uf2(0xE48BFF59), uf2(0xE48BFF56, 1), b"nonsense"):
            (drive / "a.uf2").write_bytes(refused)
            await asyncio.sleep(0.4)
            assert board.state == "bootloader"
        (drive / "a.uf2").write_bytes(uf2(0xE48BFF56))
        await board.settled("awake", 10)
        assert not drive.exists()
        assert (tmp_path / "flash.bin").read_bytes()[:512] == b"\x01" * 256 + b"\x02" * 256

    bench(tmp_path, "pico_w", work)


def test_one_board_at_a_time_lives_in_a_folder(tmp_path: Path) -> None:
    async def work(_board: BenchBoard) -> None:
        with pytest.raises(SimulationError, match="another board"):
            async with BenchBoard(nodefile.load(ROOT / "nodes/cellar.toml"), tmp_path, tmp_path / "other"):
                pass

    bench(tmp_path, "pico_w", work)


# The watchdog and the console

async def at_the_raw_repl(board: BenchBoard, seconds: int, boot: str = BOOT) -> None:
    """An armed board loses its console to a host, which resets it softly and then does nothing for a while."""
    put_ports(board, boot)
    async with board:
        port = await running(board)
        await mpremote(port, "exec", f"import time; time.sleep({seconds})", timeout=seconds + 6)


def boards(folder: Path, *names: str) -> list[BenchBoard]:
    files = [nodefile.load(ROOT / f"nodes/{NODES.get(name, 'cellar')}.toml", {"board": name}) for name in names]
    return [BenchBoard(each, folder / each.board, folder / f"{each.board}-port") for each in files]


def test_the_watchdog_is_fed_while_a_host_has_the_raw_repl(tmp_path: Path) -> None:
    async def run() -> None:
        made = boards(tmp_path, "esp32", "pico_w")
        await asyncio.gather(*[at_the_raw_repl(board, 11) for board in made])
        assert [board.bites for board in made] == [0, 0]
        assert all(board.soft_resets >= 1 for board in made)

    asyncio.run(asyncio.wait_for(run(), 100))


def test_without_attendance_it_bites(tmp_path: Path) -> None:
    """The same board without its boot(): what the test above sees is the attendance, not a watchdog that sleeps."""

    async def run() -> None:
        made = boards(tmp_path, "esp32", "pico_w")
        done = await asyncio.gather(*[at_the_raw_repl(board, 11, "") for board in made], return_exceptions=True)
        assert all(isinstance(each, AssertionError) for each in done), done
        assert all(board.bites >= 1 for board in made)

    asyncio.run(asyncio.wait_for(run(), 100))


def test_a_forgotten_raw_repl_ends_in_a_reset(tmp_path: Path) -> None:
    """The 15 minutes are made 4 seconds here, on the board."""

    async def run(board: BenchBoard) -> None:
        put_ports(board)
        async with board:
            port = await running(board)
            boots = board.boots
            ports = "rp2_ports" if board.native else "esp32_ports"
            await mpremote(port, "exec", f"from {ports} import service; service._current.begin(4)")
            assert board.boots == boots
            await asyncio.sleep(6)
            assert board.boots == boots + 1 and board.bites == 0 and board.last_ending == "reset"

    async def both() -> None:
        await asyncio.gather(*[run(board) for board in boards(tmp_path, "esp32", "pico_w")])

    asyncio.run(asyncio.wait_for(both(), 100))
