"""The port contract of boards/README.md, checked on the board it runs on: a line for each check, then a verdict.

    make selftest PORT=/dev/ttyUSB0

`fieldnode selftest` runs it in the raw REPL of a board that was deployed to. It leaves the board as it was: the last
sector of the last ring is written to and put back, so do not pull the cable; retained memory and the clock are put
back as well. What would reset the board or take the radio is left to its first boot.
"""

import time

import board

NEED = {
    "clock": ("ticks_ms", "seconds", "wall", "set", "resume"),
    "flash": ("sector_size", "page_size", "granularity", "read_into", "program", "erase", "prepare"),
    "power": ("reset_cause", "retained", "retain", "sleep", "reset", "feed", "usb", "battery_mv"),
}
_failed = 0
_passed = 0


def check(name, work):
    """Runs one check and prints its line: ok and what was found, or FAIL and what is wrong."""
    global _failed, _passed
    try:
        found = work()
        _passed += 1
        print("ok   %s: %s" % (name, found))
    except Exception as error:
        _failed += 1
        print("FAIL %s: %s %s" % (name, type(error).__name__, error))


def expect(true, what):
    """ValueError with `what` unless `true`."""
    if not true:
        raise ValueError(what)


def run():
    """Every check, then the verdict as the last line."""
    ports = board.build()
    for port in NEED:
        check(port, lambda: _offers(ports, port))  # noqa: B023 -- called at once
    check("chip_id", lambda: _chip_id(ports))
    check("rings", lambda: _rings(ports))
    check("ticks", lambda: _ticks(ports.clock))
    check("seconds", lambda: _seconds(ports.clock))
    check("set", lambda: _set(ports.clock))
    check("erase, program, read", lambda: _scratch(ports))
    check("bounds", lambda: _bounds(ports))
    check("retained", lambda: _retained(ports.power))
    check("reset cause", lambda: _cause(ports.power))
    check("battery", lambda: "%d mV" % ports.power.battery_mv())
    check("i2c", lambda: _i2c(ports))
    check("adc", lambda: _adc(ports))
    check("no such bus", lambda: _refused(lambda: ports.i2c("i2c9")))
    check("no such pin", lambda: _refused(lambda: ports.adc(99)))
    check("held", lambda: _held(ports))
    print("%s %s: %d checks passed, %d failed" % ("FAIL" if _failed else "PASS", ports.name, _passed, _failed))


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


def _seconds(clock):
    before = clock.seconds()
    time.sleep_ms(2100)
    took = clock.seconds() - before
    expect(2 <= took <= 3, "2.1 s took %d" % took)
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


def _scratch(ports):
    """Two programs of one page: bits only go from 1 to 0. What the sector held is put back."""
    flash = ports.flash
    sector = max([first + count for first, count in ports.rings.values()]) - 1
    size = max(flash.granularity, 256)
    buf = bytearray(size)
    base = sector * flash.sector_size
    at = base + size
    held = bytearray(flash.sector_size)
    flash.read_into(base, held)
    try:
        flash.erase(sector)
        expect(_blank(flash, sector, buf), "an erase leaves other bits than ones")
        for pattern, expected in ((b"\xf0", 0xF0), (b"\x3f", 0x30)):
            flash.program(at, pattern * size)
            flash.read_into(at, buf)
            expect(buf == bytes([expected]) * size, "programmed %s, read %s" % (pattern, bytes(buf[:4])))
        for beside in (at - size, at + size):
            flash.read_into(beside, buf)
            expect(buf == b"\xff" * size, "a program has reached %d" % beside)
    finally:
        flash.erase(sector)
        flash.program(base, held)
    now = bytearray(flash.sector_size)
    flash.read_into(base, now)
    expect(now == held, "sector %d was not put back" % sector)
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


def _cause(power):
    cause = power.reset_cause()
    expect(cause in (0, 1, 3, 4, 5), "%d is none" % cause)
    return "%d" % cause


def _i2c(ports):
    found = []
    for bus in board.BUSES:
        found.append("%s %s" % (bus, ["0x%02x" % address for address in ports.i2c(bus).scan()]))
    expect(found, "there is no bus")
    return ", ".join(found)


def _adc(ports):
    """Every board has GPIO 26 or 32 or 1 as an input of its ADC."""
    for pin in (26, 32, 1):
        try:
            converter = ports.adc(pin)
        except ValueError:
            continue
        uv = converter.read_uv()
        expect(0 <= uv <= 3400000, "%d uV" % uv)
        return "pin %d reads %d uV" % (pin, uv)
    raise ValueError("none of 26, 32, 1 is an input")


def _refused(work):
    try:
        work()
    except ValueError as error:
        return str(error)
    raise ValueError("was taken")


def _held(ports):
    pin = 15 if ports.name != "esp32c3" else 10
    expect(ports.held(pin) in (True, False), "neither held nor not")
    return "pin %d %s" % (pin, "is held low" if ports.held(pin) else "is not held")


run()
