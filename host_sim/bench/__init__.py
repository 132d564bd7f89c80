"""A simulated board on the bench: its serial port is a pty, its code lies in its own flash, its clock is the bench's.

    serialport  the pty: there, gone, there again
    console     between the port and the VM: Ctrl-C, line ends
    pace        real time, and sleep made short
    boot        one boot of the VM
    volume      the drive that an RP2's boot ROM offers
    board       power-on to power-off
    command     `python -m host_sim board`
    standin     an image to flash by it
    romloader   the ROM loader of an ESP32, which esptool flashes; a port of its own
"""

from host_sim.bench.board import BenchBoard

__all__ = ["BenchBoard"]
