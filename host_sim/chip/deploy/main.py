"""Copies a folder of the host (the last argument) to the node's filesystem, then resets: a deploy without a cable."""

import os
import sys

import machine

source = sys.argv[-1]
for entry in os.ilistdir(source):
    with open(source + "/" + entry[0], "rb") as file:
        data = file.read()
    with open(entry[0], "wb") as file:
        file.write(data)
machine.reset()
