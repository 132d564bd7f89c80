"""What the node remembers of its boots, in the file `bootlog`: 13 bytes, version u8 = 1, boot u32, began i32,
last_cmd u32.

`boot` counts resets other than wakes from deep sleep. `began` is what the clock showed (set or not, seconds since
2020) when this boot began, so that uptime is clock - began through every deep sleep. littlefs replaces the file
whole or not at all.
"""

import errno
import struct

_PATH = "bootlog"
_LAYOUT = "<BIiI"
_VERSION = 1


class BootLog:
    """The file's fields; zeros until `load`."""

    def __init__(self):
        self.boot = 0
        self.began = 0
        self.last_cmd = 0

    def load(self):
        """Reads the file; a missing one is a node's first boot. ValueError for a version or length that is not ours."""
        try:
            with open(_PATH, "rb") as file:
                data = file.read()
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            return
        if len(data) != struct.calcsize(_LAYOUT) or data[0] != _VERSION:
            raise ValueError("bootlog: %d bytes, version %d: not ours" % (len(data), data[0] if data else 0))
        _, self.boot, self.began, self.last_cmd = struct.unpack(_LAYOUT, data)

    def begin(self, seconds):
        """Counts a boot that begins when the clock shows `seconds`."""
        self.boot += 1
        self.began = seconds
        self.save()

    def save(self):
        """Replaces the file."""
        with open(_PATH, "wb") as file:
            file.write(struct.pack(_LAYOUT, _VERSION, self.boot, self.began, self.last_cmd))
