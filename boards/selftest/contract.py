"""The port contract of boards/README.md, checked on the board it runs on, as far as that goes without a restart.

    make selftest PORT=/dev/ttyUSB0

`fieldnode selftest` runs it in the raw REPL of a board that was deployed to, and course.py for what restarts the board.
Each check prints its line: ok and what was found, FAIL and what is wrong, or left and why it was left out. The board is
left as it was: retained memory and the clock are put back, and flash is written to only in a sector of the rings that
holds no data, which is blank again when it is done.
"""

import json
import time

import board

NEED = {
    "clock": ("ticks_ms", "seconds", "wall", "set", "resume"),
    "flash": ("sector_size", "page_size", "granularity", "read_into", "program", "erase", "prepare"),
    "power": ("reset_cause", "retained", "retain", "sleep", "reset", "feed", "usb", "battery_mv"),
}
# A file of lib/reservation that no ring has written to yet (lib/reservation/SPEC.md): magic, index, spare, nonce.
_RESERVED, _SIGNATURE = b"FNV\x00", 16


class Left(Exception):
    """A check cannot be made here; the text says why."""


def check(name, work):
    """Runs one check and prints its line."""
    try:
        print("ok   %s: %s" % (name, work()))
    except Left as reason:
        print("left %s: %s" % (name, reason))
    except Exception as error:
        print("FAIL %s: %s %s" % (name, type(error).__name__, error))


def expect(true, what):
    """ValueError with `what` unless `true`."""
    if not true:
        raise ValueError(what)


def checks(adc, free):
    """All that needs no restart, the radio's last. `adc`: a pin that can measure with the radio on; `free`: one that
    carries nothing; both as board.toml has them.
    """
    ports = board.build()
    for port in NEED:
        check(port, lambda: _offers(ports, port))  # noqa: B023 -- called at once
    check("chip_id", lambda: _chip_id(ports))
    check("rings", lambda: _rings(ports))
    check("ticks", lambda: _ticks(ports.clock))
    check("idle", lambda: _idle(ports.clock))
    check("seconds", lambda: _seconds(ports.clock))
    check("set", lambda: _set(ports.clock))
    check("erase, program, read", lambda: _scratch(ports))
    check("bounds", lambda: _bounds(ports))
    check("retained", lambda: _retained(ports.power))
    check("battery", lambda: _battery(ports.power))
    check("i2c", lambda: _i2c(ports))
    check("adc", lambda: _adc(ports, adc))
    check("no such bus", lambda: _refused(lambda: ports.i2c("i2c9")))
    check("no such pin", lambda: _refused(lambda: ports.adc(99)))
    check("held", lambda: _held(ports, free))
    check("attend", lambda: _attend(ports))
    check("usb", lambda: _bool(ports.power.usb()))
    radio = ports.radio()
    check("scan", lambda: _scan(radio))
    check("radio", lambda: _radio(radio))


def _offers(ports, port):
    missing = [name for name in NEED[port] if not hasattr(getattr(ports, port), name)]
    expect(not missing, "lacks %s" % ", ".join(missing))
    return "%d names" % len(NEED[port])


def _chip_id(ports):
    first = ports.chip_id()
    expect(len(first) >= 6 and first == ports.chip_id(), "%s, then %s" % (first, ports.chip_id()))
    expect(len(set(first)) > 1, "%s is no id" % first)
    return "".join(["%02x" % byte for byte in first])


def _rings(ports):
    taken = 0
    for name, (first, count) in sorted(ports.rings.items(), key=lambda ring: ring[1]):
        expect(first == taken and count > 1, "%s begins at %d, %d are taken" % (name, first, taken))
        taken += count
    return "%d sectors" % taken


def _ticks(clock):
    before = clock.ticks_ms()
    time.sleep_ms(200)
    took = time.ticks_diff(clock.ticks_ms(), before)
    expect(190 <= took <= 400 and 0 <= before < 1 << 30, "200 ms took %d, from %d on" % (took, before))
    return "200 ms took %d" % took


def _idle(clock):
    """A wait in the event loop, as most of a node's: the chip may doze meanwhile."""
    import asyncio

    before, at = clock.ticks_ms(), clock.seconds()
    asyncio.run(_nap(asyncio, 1200))
    took, seconds = time.ticks_diff(clock.ticks_ms(), before), clock.seconds() - at
    expect(1190 <= took <= 1500 and 1 <= seconds <= 2, "1200 ms took %d, or %d s" % (took, seconds))
    return "1200 ms took %d" % took


async def _nap(asyncio, ms):
    await asyncio.sleep_ms(ms)


def _seconds(clock):
    before = clock.seconds()
    time.sleep_ms(1100)
    took = clock.seconds() - before
    expect(1 <= took <= 2, "1.1 s took %d" % took)
    return "%d, known: %s" % (before, clock.wall())


def _set(clock):
    """Sets another time and puts back what was shown, as well known as it was."""
    was, shown, at = clock.wall(), clock.seconds(), time.ticks_ms()
    try:
        clock.set(200000000, 0, 2)
        seconds, quality = clock.wall() or (0, 0)
        expect(200000000 <= seconds <= 200000002 and quality in (1, 2), "shows %d, quality %d" % (seconds, quality))
    finally:
        clock.set(shown + time.ticks_diff(time.ticks_ms(), at) // 1000, 0, was[1] if was else 0)
    return "and put back to %d" % clock.seconds()


def _blank(flash, sector, buf):
    for at in range(0, flash.sector_size, len(buf)):
        flash.read_into(sector * flash.sector_size + at, buf)
        if buf != b"\xff" * len(buf):
            return False
    return True


def _free(flash, sectors):
    """The last sector that is blank or was reserved and never used, so that nobody misses what it holds."""
    buf = bytearray(256)
    for sector in range(sectors - 1, -1, -1):
        base = sector * flash.sector_size
        flash.read_into(base, buf)
        if buf[:4] == _RESERVED:
            buf[:_SIGNATURE] = b"\xff" * _SIGNATURE
        at = len(buf)
        while buf == b"\xff" * len(buf):
            if at == flash.sector_size:
                return sector
            flash.read_into(base + at, buf)
            at += len(buf)
    raise Left("every sector of the rings holds data")


def _scratch(ports):
    """Two programs of one page: bits only go from 1 to 0. It is the sector's first page, where a ring has its header:
    whatever a pulled cable leaves there is no header, so the ring erases it before use.
    """
    flash = ports.flash
    sector = _free(flash, max([first + count for first, count in ports.rings.values()]))
    size = max(flash.granularity, 256)
    buf = bytearray(size)
    at = sector * flash.sector_size
    try:
        flash.erase(sector)
        expect(_blank(flash, sector, buf), "an erase leaves other bits than ones")
        for pattern, expected in ((b"\xf0", 0xF0), (b"\x3f", 0x30)):
            flash.program(at, pattern * size)
            flash.read_into(at, buf)
            expect(buf == bytes([expected]) * size, "programmed %s, read %s" % (pattern, bytes(buf[:4])))
        flash.read_into(at + size, buf)
        expect(buf == b"\xff" * size, "a program has reached %d" % (at + size))
    finally:
        flash.erase(sector)
    expect(_blank(flash, sector, buf), "sector %d is not blank again" % sector)
    return "sector %d" % sector


def _bounds(ports):
    flash = ports.flash
    end = max([first + count for first, count in ports.rings.values()]) * flash.sector_size
    for at in (-flash.granularity, 1 << 28):
        try:
            flash.read_into(at, bytearray(flash.granularity))
        except (OSError, ValueError):
            continue
        raise ValueError("reads at %d, of %d" % (at, end))
    return "%d bytes" % end


def _retained(power):
    was = bytes(power.retained())
    try:
        wanted = bytes(range(100, 128))
        power.retain(wanted)
        found = bytes(power.retained())
        expect(found == wanted, "kept %s as %s" % (wanted, found))
    finally:
        power.retain(was if len(was) == 28 else bytes(28))
    return "28 bytes"


def _battery(power):
    mv = power.battery_mv()
    expect((mv > 0) == (board.BATTERY is not None) and 0 <= mv < 20000, "%d mV by %s" % (mv, board.BATTERY))
    return "%d mV" % mv if mv else "no divider"


def _i2c(ports):
    found = []
    for bus in board.BUSES:
        found.append("%s %s" % (bus, ["0x%02x" % address for address in ports.i2c(bus).scan()]))
    expect(found, "there is no bus")
    return ", ".join(found)


def _adc(ports, pin):
    uv = ports.adc(pin).read_uv()
    expect(0 <= uv <= 3400000, "%d uV" % uv)
    return "pin %d reads %d uV" % (pin, uv)


def _refused(work):
    try:
        work()
    except ValueError as error:
        return str(error)
    raise ValueError("was taken")


def _attend(ports):
    ports.attend(True)
    ports.attend(False)
    return "begun and ended"


def _bool(value):
    expect(value in (True, False), "%s" % value)
    return value


def _scan(radio):
    found = radio.scan()
    for name, signal, channel, protected in found:
        expect(isinstance(name, str) and -110 < signal < 0 and 1 <= channel <= 196, "%s" % ((name, signal, channel),))
        _bool(protected)
    return "%d networks" % len(found)


def _networks():
    try:
        with open("settings.json") as file:
            return json.load(file)["wifi"]
    except OSError:
        return None


def _radio(radio):
    """Up, a signal, down; and up in vain for a network that is not there."""
    import asyncio

    networks = _networks()
    if not networks:
        raise Left("no settings.json names a network")
    try:
        try:
            asyncio.run(radio.up((("no such network", "password"),), 2000))
            raise ValueError("joined a network that is not there")
        except OSError:
            pass
        asyncio.run(radio.up(networks, 20000))
        signal = radio.signal()
        expect(-110 < signal < 0, "%s dBm" % signal)
    finally:
        radio.down()
    return "%d dBm" % signal


def _held(ports, pin):
    expect(ports.held(pin) in (True, False), "neither held nor not")
    return "pin %d %s" % (pin, "is held low" if ports.held(pin) else "is not held")
