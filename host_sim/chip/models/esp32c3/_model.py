"""ESP32-C3-WROOM-02 under MicroPython's ESP32_GENERIC_C3 (ESP32-C3 datasheet, tables 2-1 and 2-4)."""

PINS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 18, 19, 20, 21)  # 11 is VDD_SPI, 12-17 carry the flash
ADC_PINS = (0, 1, 2, 3, 4)  # ADC1; GPIO 5 is ADC2, which errata ADC-183 takes away
I2C_BUSES = (0,)  # SOC_I2C_NUM is 1
EXT_WAKE = ()  # no ext0 nor ext1: SOC_PM_SUPPORT_EXT0_WAKEUP is not defined
# Registers that count USB frames, and the bit where the number begins: usb_serial_jtag_reg.h, FRAM_NUM.
USB_FRAMES = {0x60043024: 0}
GPIO_WAKE = (0, 1, 2, 3, 4, 5)  # the pins of the VDD3P3_RTC domain


def check_i2c_pin(bus, name, pin):
    """Any pin goes through the GPIO matrix."""
MACHINE = "Generic ESP32C3 module with ESP32C3"
