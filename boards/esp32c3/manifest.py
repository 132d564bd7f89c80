# What an image of our own freezes (boards/README.md, "Code in the image"): MicroPython's own modules, then ours.

include("$(PORT_DIR)/boards/manifest.py")
include("../manifest.py")
freeze("../esp32-family", opt=2)
package("board", opt=2)
