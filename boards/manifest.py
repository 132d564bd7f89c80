"""What every board freezes: the firmware's modules and lib, compiled as tools/build.py does. boot.py and main.py stay
files: a deploy and a self-test keep a board at its prompt by taking main.py away.
"""

package("node", base_path="../firmware", opt=2)
freeze("../lib", opt=2)
