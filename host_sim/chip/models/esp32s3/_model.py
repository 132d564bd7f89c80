"""ESP32-S3-WROOM-1 (8 MB flash, no PSRAM) under MicroPython's ESP32_GENERIC_S3 (ESP32-S3 datasheet, tables 2-1, 2-6).
"""

# 22-25 do not exist, 26-32 carry the flash.
PINS = tuple(range(0, 22)) + tuple(range(33, 49))
ADC_PINS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)  # ADC1
I2C_BUSES = (0, 1)
EXT_WAKE = tuple(range(0, 22))  # the RTC's pins
# Registers that count USB frames, and the bit where the number begins. FRAM_NUM stands still: MicroPython gives the
# one USB PHY to OTG. usb_serial_jtag_reg.h; usb_struct.h, DSTS.SOFFN; ports/esp32/mpconfigport.h, MICROPY_HW_USB_CDC.
USB_FRAMES = {0x60038024: None, 0x60080808: 8}
GPIO_WAKE = ()


def check_i2c_pin(bus, name, pin):
    """Any pin goes through the GPIO matrix."""
MACHINE = "Generic ESP32S3 module with ESP32S3"
