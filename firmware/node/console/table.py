"""The commands: name, arguments, help, handler, and what Tab offers for an argument.

The one table: `help`, completion and the page README.md come from it. Runs under MicroPython and CPython alike.
"""

from collections import namedtuple

# name: one word or two. handler: "module.function" of commands/. offers: "command", "level", "sensor", "setting" or "".
Command = namedtuple("Command", ("name", "args", "help", "handler", "offers"))

COMMANDS = tuple(
    Command(*row)
    for row in (
        ("help", "[COMMAND]", "These lines, or those of one command.", "about.help", "command"),
        ("status", "", "How the node is, and what it will do next.", "state.status", ""),
        ("version", "", "Firmware, board, chip and settings.", "state.version", ""),
        ("time", "", "The clock, how far it is known, and when it was set.", "state.time", ""),
        ("mem", "", "Memory: used and free.", "state.mem", ""),
        ("df", "", "The filesystem: used and free.", "state.df", ""),
        ("log", "[-f] [LEVEL]", "The last log lines, from LEVEL up; -f: and on, until a key.", "log.log", "level"),
        ("sensors", "", "The sensors, and how each did last.", "sensing.sensors", ""),
        ("read", "[SENSOR]", "Measures now. Nothing is stored.", "sensing.read", "sensor"),
        ("watch", "[SENSOR] [SECONDS]", "Measures every SECONDS (2) until a key.", "sensing.watch", "sensor"),
        ("i2c scan", "[BUS]", "The addresses that answer, and whose they are.", "sensing.scan", ""),
        ("config get", "[SETTING]", "All settings, or one, as they would be saved.", "config.get", "setting"),
        ("config set", "SETTING [VALUE]", "Changes a setting, but does not save it. VALUE none takes it out; without "
         "VALUE a secret is asked for.", "config.set", "setting"),
        ("config diff", "", "What was changed and not saved, and when it takes effect.", "config.diff", ""),
        ("config save", "", "Checks and saves what was changed.", "config.save", ""),
        ("config undo", "", "Takes back what was changed; with nothing changed, the last save.", "config.undo", ""),
        ("wifi status", "", "The radio, and the networks the node knows.", "network.status", ""),
        ("wifi scan", "", "The networks in reach.", "network.scan", ""),
        ("wifi set", "SSID [PASSPHRASE]", "Puts a network first; `config save` keeps it. Without PASSPHRASE it is "
         "asked for.", "network.set", ""),
        ("wifi forget", "SSID", "Takes a network out; `config save` keeps that.", "network.forget", ""),
        ("net ping", "", "Radio, name, TCP, then TLS and MQTT to the cloud: how long each takes.", "network.ping", ""),
        ("ring", "", "The flash rings.", "storage.ring", ""),
        ("queue", "", "What the cloud has not committed yet.", "storage.queue", ""),
        ("send", "", "A contact now. A key ends the waiting, not the contact.", "storage.send", ""),
        ("identify", "[SECONDS]", "Blinks the board's light for SECONDS (10) or until a key.", "board.identify", ""),
        ("reboot", "", "Restarts the node.", "board.reboot", ""),
        ("factory-reset", "--yes [--data]", "Back to the settings of the last deployment, and restarts. --data: the "
         "stored readings go too. The node's name and keys stay.", "board.factory_reset", ""),
        ("python", "[EXPRESSION]", "Python in the running node, with `await`; `exit` returns.", "python.python", ""),
        ("unlock", "[PIN]", "Opens a console that has a PIN.", "access.unlock", ""),
        ("lock", "", "Locks it again.", "access.lock", ""),
    )
)  # fmt: skip

OPEN = ("help", "unlock", "version")  # what a locked console does
SECRET = ("config set", "wifi set", "unlock")  # lines that history does not keep
