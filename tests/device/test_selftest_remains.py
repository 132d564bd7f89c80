# heap: 1024K
"""What a self-test leaves in a blank sector when the cable comes out: the ring loses nothing by it."""

from flashring import Ring
from norflash import NorFlash

COUNT = 5
# What boards/selftest/contract.py programs one after the other, and an erase that was cut.
REMAINS = (b"\xf0" * 256, b"\x30" * 256, b"\xff" * 100 + b"\x30" * 156, b"\xff\xb3" * 128)


def _payload(seq):
    return bytes((seq + i) & 0xFF for i in range(200))


def test_the_ring_goes_on_through_a_sector_with_remains():
    for unit in (1, 256):
        for remains in REMAINS:
            for spoilt in range(2, COUNT):
                flash = NorFlash(COUNT, unit)
                ring = Ring(flash, 0, COUNT)
                ring.format(7)
                for seq in range(1, 11):
                    ring.append(_payload(seq))
                flash.program(spoilt * flash.sector_size, remains)
                ring = Ring(flash, 0, COUNT)
                ring.mount()
                assert ring.range()[0] == 1 and ring.range()[2] == 11
                end = 11
                while flash.cells[spoilt * flash.sector_size :][:3] != b"FNR":
                    ring.release(end - 3)
                    assert ring.append(_payload(end)) == end
                    end += 1
                ring = Ring(flash, 0, COUNT)
                ring.mount()
                oldest, _, following = ring.range()
                assert following == end
                for seq in range(oldest, end):
                    assert ring.read(seq) == _payload(seq)
