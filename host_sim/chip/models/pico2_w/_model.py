"""RP2350 on a board with a CYW43439, under MicroPython's RPI_PICO2_W."""

from _rp2_pins import ADC_PINS, I2C_BUSES, PINS, check_i2c_pin  # noqa: F401

RP2040 = False
WATCHDOG_BASE = 0x400D8000  # pico-sdk, addressmap.h of the chip
FLASH_SIZE = 0x400000
# The filesystem at the top of the flash: ports/rp2/boards/RPI_PICO2_W/mpconfigboard.h, MICROPY_HW_FLASH_STORAGE_BYTES.
STORAGE_BYTES = 2560 * 1024
STORAGE_BASE = 0x180000
MACHINE = "Raspberry Pi Pico 2 W with RP2350"
