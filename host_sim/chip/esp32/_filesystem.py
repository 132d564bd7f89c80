"""The filesystem as ports/esp32/modules/_boot.py and inisetup.py bring it up: littlefs on the partition `vfs`.

Code comes from the host's folders, so it is mounted beside them and made the current directory: relative paths mean
littlefs on a board and here.
"""

import uos
import vfs
from esp32 import Partition


def mount(point="/littlefs"):
    """Formats only a partition whose first block is blank, as inisetup.py does; anything else that does not mount
    raises.
    """
    device = Partition.find(Partition.TYPE_DATA, label="vfs")[0]
    try:
        filesystem = vfs.VfsLfs2(device)
    except OSError:
        block = bytearray(4096)
        device.readblocks(0, block)
        if any(byte != 0xFF for byte in block):
            raise
        vfs.VfsLfs2.mkfs(device)
        filesystem = vfs.VfsLfs2(device)
    vfs.mount(filesystem, point)
    uos.chdir(point)
