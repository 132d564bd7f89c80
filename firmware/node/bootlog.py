"""What the node remembers of its boots, in the file `bootlog`: 18 bytes, version u8 = 2, boot u32, began i32,
last_cmd u32, good u32, raised u8. Version 1 ended with last_cmd.

`boot` counts resets other than wakes from deep sleep. `began` is what the clock showed (set or not, seconds since
2020) when this boot began, so that uptime is clock - began through every deep sleep. `good` is the last time known,
some weeks old at most, in seconds since 2020, 0 never. `raised` says that the clock was only raised for certificates'
sake and must not be believed (`node.timekeeper`). littlefs replaces the file whole or not at all.
"""

import errno
import struct

_PATH = "bootlog"
_LAYOUT = "<BIiIIB"
_VERSION = 2
_SIZE_1 = 13  # of version 1


class BootLog:
    """The file's fields; zeros until `load`."""

    def __init__(self):
        self.boot = 0
        self.began = 0
        self.last_cmd = 0
        self.good = 0
        self.raised = False

    def load(self):
        """Reads the file; a missing one is a node's first boot. ValueError for a version or length that is not ours."""
        try:
            with open(_PATH, "rb") as file:
                data = file.read()
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            return
        if len(data) == _SIZE_1 and data[0] == 1:
            data = b"\x02" + data[1:] + bytes(5)
        if len(data) != struct.calcsize(_LAYOUT) or data[0] != _VERSION:
            raise ValueError("bootlog: %d bytes, version %d: not ours" % (len(data), data[0] if data else 0))
        _, self.boot, self.began, self.last_cmd, self.good, raised = struct.unpack(_LAYOUT, data)
        self.raised = bool(raised)

    def begin(self, seconds):
        """Counts a boot that begins when the clock shows `seconds`."""
        self.boot += 1
        self.save(seconds, self.good, self.raised)

    def save(self, began, good, raised):
        """Replaces the file; only then the fields are as told, so that a failure changes neither."""
        data = struct.pack(_LAYOUT, _VERSION, self.boot, began, self.last_cmd, good, raised)
        with open(_PATH, "wb") as file:
            file.write(data)
        self.began = began
        self.good = good
        self.raised = raised
