# heap: 1024K
"""What a self-test leaves in a blank sector when the cable comes out: the ring loses nothing by it."""

from flashring import Ring, RingBusy
from norflash import NorFlash

COUNT = 5
# What boards/selftest/contract.py programs one after the other, and an erase that was cut.
REMAINS = (b"\xf0" * 256, b"\x30" * 256, b"\xff" * 100 + b"\x30" * 156, b"\xff\xb3" * 128)


class Chip(NorFlash):
    """As flash is: a program clears bits, says nothing of those that it should have set, and the ring reads back."""

    def program(self, addr, mv):
        NorFlash.program(self, addr, bytes([mv[i] & self.cells[addr + i] for i in range(len(mv))]))


def _payload(seq):
    return bytes((seq + i) & 0xFF for i in range(200))


def _append(ring, payload):
    ring.idle()
    try:
        return ring.append(payload)
    except RingBusy:  # what was written did not hold
        ring.idle()
        return ring.append(payload)


def test_the_ring_goes_on_through_a_sector_with_remains():
    for unit in (1, 256):
        for remains in REMAINS:
            for spoilt in range(2, COUNT):
                flash = Chip(COUNT, unit)
                ring = Ring(flash, 0, COUNT)
                ring.format(7)
                for seq in range(1, 11):
                    ring.append(_payload(seq))
                flash.program(spoilt * flash.sector_size, remains)
                ring = Ring(flash, 0, COUNT)
                ring.mount()
                assert ring.range()[0] == 1 and ring.range()[2] == 11
                end = 11
                while flash.cells[spoilt * flash.sector_size :][:2] != b"R\x01":  # SPEC.md: magic, format
                    ring.release(end - 3)
                    assert _append(ring, _payload(end)) == end
                    end += 1
                ring = Ring(flash, 0, COUNT)
                ring.mount()
                oldest, _, following = ring.range()
                assert following == end
                for seq in range(oldest, end):
                    assert ring.read(seq) == _payload(seq)
