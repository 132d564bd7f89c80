"""Copies a folder of the host (the last argument) to the node's filesystem, prepares the flash, and resets."""

import os
import sys

import board
import machine

source = sys.argv[-1]
for entry in os.ilistdir(source):
    with open(source + "/" + entry[0], "rb") as file:
        data = file.read()
    with open(entry[0], "wb") as file:
        file.write(data)
board.build().flash.prepare()
machine.reset()
