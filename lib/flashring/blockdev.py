"""Any MicroPython block device over NOR flash as the flash of a ring: an `esp32.Partition`, an `rp2.Flash`."""


class BlockDevice:
    """`device` has the extended interface of `vfs.AbstractBlockDev`: `ioctl`, and `readblocks` and `writeblocks` with
    an offset, which does not erase. Its blocks are the flash's sectors. `unit`: the least that it programs, bytes: 1 on
    an ESP32 (its partition not encrypted), 256 on an RP2.
    """

    def __init__(self, device, unit=1):
        self._device = device
        self.sector_size = device.ioctl(5, 0)
        self.page_size = unit if unit == 256 else 1
        self.granularity = unit

    def read_into(self, addr, buf):
        """Fill `buf` from byte `addr` on."""
        self._device.readblocks(addr // self.sector_size, buf, addr % self.sector_size)

    def program(self, addr, buf):
        """Clear the bits that are 0 in `buf`; it stays within a sector."""
        self._device.writeblocks(addr // self.sector_size, buf, addr % self.sector_size)

    def erase(self, sector):
        """Set every bit of the sector."""
        self._device.ioctl(6, sector)
