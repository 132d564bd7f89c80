"""ESP32-WROOM-32 under MicroPython's ESP32_GENERIC (ESP32 datasheet, table 2-1)."""

# GPIO 20, 24 and 28-31 do not exist, 6-11 carry the flash.
PINS = (0, 1, 2, 3, 4, 5, 12, 13, 14, 15, 16, 17, 18, 19, 21, 22, 23, 25, 26, 27, 32, 33, 34, 35, 36, 37, 38, 39)
ADC_PINS = (32, 33, 34, 35, 36, 37, 38, 39)  # ADC1
I2C_BUSES = (0, 1)
# Pins that can end deep sleep by ext0 and ext1: the RTC's (datasheet, table 2-2).
EXT_WAKE = (0, 2, 4, 12, 13, 14, 15, 25, 26, 27, 32, 33, 34, 35, 36, 37, 38, 39)
USB_FRAMES = {}  # its USB is a bridge on the board
GPIO_WAKE = ()
_INPUT_ONLY = (34, 35, 36, 37, 38, 39)


def check_i2c_pin(bus, name, pin):
    if pin in _INPUT_ONLY:
        raise ValueError("%s: GPIO %d is an input only" % (name, pin))
MACHINE = "Generic ESP32 module with ESP32"
