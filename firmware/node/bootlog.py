"""What the node remembers of its boots, in the file `bootlog`: 19 bytes, version u8 = 3, boot u32, began i32,
last_cmd u32, good u32, raised u8, command u8. Version 2 ended with raised, version 1 with last_cmd.

`boot` counts resets other than wakes from deep sleep. `began` is what the clock showed (set or not, seconds since
2020) when this boot began, so that uptime is clock - began through every deep sleep. `good` is the last time known,
some weeks old at most, in seconds since 2020, 0 never. `raised` says that the clock was only raised for certificates'
sake and must not be believed (`node.timekeeper`). `last_cmd` is the id of the last command taken, `command` its
operation while its result is not in ring A, else 0 (`node.commands`). littlefs replaces the file whole or not at all.
"""

import errno
import struct

_PATH = "bootlog"
_LAYOUT = "<BIiIIBB"
_VERSION = 3
_SIZES = {1: 13, 2: 18}  # of earlier versions: what follows was not there yet, and is 0


class BootLog:
    """The file's fields; zeros until `load`."""

    def __init__(self):
        self.boot = 0
        self.began = 0
        self.last_cmd = 0
        self.good = 0
        self.raised = False
        self.command = 0

    def load(self):
        """Reads the file; a missing one is a node's first boot. ValueError for a version or length that is not ours."""
        try:
            with open(_PATH, "rb") as file:
                data = file.read()
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            return
        size = struct.calcsize(_LAYOUT)
        if data and _SIZES.get(data[0]) == len(data):
            data = bytes((_VERSION,)) + data[1:] + bytes(size - len(data))
        if len(data) != size or data[0] != _VERSION:
            raise ValueError("bootlog: %d bytes, version %d: not ours" % (len(data), data[0] if data else 0))
        _, self.boot, self.began, self.last_cmd, self.good, raised, self.command = struct.unpack(_LAYOUT, data)
        self.raised = bool(raised)

    def begin(self, seconds):
        """Counts a boot that begins when the clock shows `seconds`."""
        self.boot += 1
        self.save(seconds, self.good, self.raised)

    def save(self, began, good, raised):
        """Replaces the file; only then the fields are as told, so that a failure changes neither."""
        self._write(began, good, raised, self.last_cmd, self.command)
        self.began = began
        self.good = good
        self.raised = raised

    def save_command(self, last_cmd, command):
        """As `save`, for the command taken last and its operation, 0 once its result is recorded."""
        self._write(self.began, self.good, self.raised, last_cmd, command)
        self.last_cmd = last_cmd
        self.command = command

    def _write(self, began, good, raised, last_cmd, command):
        data = struct.pack(_LAYOUT, _VERSION, self.boot, began, last_cmd, good, raised, command)
        with open(_PATH, "wb") as file:
            file.write(data)
