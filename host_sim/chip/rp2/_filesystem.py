"""The filesystem as ports/rp2/modules/_boot.py brings it up: littlefs over the whole storage region, formatted anew
whenever it does not mount.

Code comes from the host's folders, so it is mounted beside them and made the current directory.
"""

import uos
import vfs
from rp2 import Flash


def mount(point="/littlefs"):
    device = Flash()
    try:
        filesystem = vfs.VfsLfs2(device, progsize=256)
    except Exception:
        vfs.VfsLfs2.mkfs(device, progsize=256)
        filesystem = vfs.VfsLfs2(device, progsize=256)
    vfs.mount(filesystem, point)
    uos.chdir(point)
