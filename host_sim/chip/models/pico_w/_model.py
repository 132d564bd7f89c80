"""RP2040 on a board with a CYW43439, under MicroPython's RPI_PICO_W."""

from _rp2_pins import ADC_PINS, I2C_BUSES, PINS, check_i2c_pin  # noqa: F401

RP2040 = True
WATCHDOG_BASE = 0x40058000  # pico-sdk, addressmap.h of the chip
FLASH_SIZE = 0x200000
# The filesystem at the top of the flash: ports/rp2/boards/RPI_PICO_W/mpconfigboard.h, MICROPY_HW_FLASH_STORAGE_BYTES.
STORAGE_BYTES = 848 * 1024
STORAGE_BASE = 0x12C000
MACHINE = "Raspberry Pi Pico W with RP2040"
