"""The settings of a node: for each its type, unit, range, default and when a change takes effect.

The validator of node files, the reference page and the node's console all read this table; it is not
imported on an ordinary wake. Runs under MicroPython and CPython alike.

A path names a setting in the node file. `wifi[]` is an array of tables, `*` any key (here: a channel of the
sensor's driver), so `sensor[].limits.*.low` is written

    [[sensor]]
    [sensor.limits.temperature]
    low = 5.0
"""

from collections import namedtuple

REQUIRED = ("required",)
OPTIONAL = None  # absent unless given; what it then means stands in the help

# When a changed setting takes effect.
AT_ONCE = "at once"
NEXT_SAMPLE = "next sample"
NEXT_CONTACT = "next contact"
RESTART = "restart"

# kind      value                                     limit
# int       integer                                   (lowest, highest)
# name      characters a-z 0-9 _ -                    (fewest, most) characters
# host      host name or IP address                   (fewest, most) characters
# text      any text                                  (fewest, most) UTF-8 bytes
# passphrase  printable ASCII, or nothing             (fewest, most) characters
# bus       a word of the tuple                       the words
# pin       digits, or nothing                        (fewest, most) digits
# decimal   scaled integer, value x 10^-exponent of   (lowest, highest), scaled
#           the channel; a decimal number in a file
Setting = namedtuple("Setting", ("path", "kind", "unit", "limit", "default", "effect", "help"))

_I32 = (-(1 << 31), (1 << 31) - 1)

SETTINGS = tuple(
    Setting(*row)
    for row in (
        ("board", "name", "", (1, 32), REQUIRED, RESTART, "The board: a folder of `boards/`."),
        ("node.name", "name", "", (1, 32), REQUIRED, RESTART,
         "Name of the node, unique in its tenant; also its MQTT client id."),
        ("node.tenant", "name", "", (1, 32), REQUIRED, RESTART,
         "Whose node it is: the account in the cloud."),
        ("wifi[].ssid", "text", "bytes", (1, 32), REQUIRED, NEXT_CONTACT,
         "Name of a Wi-Fi network. Networks are tried in the order of the file."),
        ("wifi[].password", "passphrase", "characters", (8, 63), "", NEXT_CONTACT,
         "Its WPA passphrase; empty for an open network."),
        ("cloud.host", "host", "characters", (1, 253), REQUIRED, NEXT_CONTACT,
         "Host name or address of the cloud end; its certificate must be for just this name."),
        ("cloud.port", "int", "", (1, 65535), 8883, NEXT_CONTACT, "Its MQTT port; TLS always."),
        ("report.interval", "int", "s", (60, 86400), 3600, NEXT_CONTACT,
         "Time between contacts. An alarm does not wait for it."),
        ("report.size", "int", "frames", (1, 1000), 48, NEXT_CONTACT,
         "Contact before that when so many frames of 100 rows wait."),
        ("report.age", "int", "s", (60, 86400), OPTIONAL, NEXT_CONTACT,
         "Contact before that when the oldest row waits so long, or would before the next frame is made."),
        ("power.awake_cap", "int", "s", (5, 120), 30, NEXT_CONTACT,
         "Hard cap of one contact: when it is reached the radio goes off, whatever the network does."),
        ("power.alarm_contacts", "int", "a day", (1, 1440), 48, NEXT_CONTACT,
         "Contacts that alarms may cause, at most 15 at once. An alarm beyond them waits for the next contact."),
        ("service.window", "int", "s", (0, 600), 10, RESTART,
         "How long the node waits for somebody at its console after every start that is no wake from sleep: nothing is "
         "measured, sent or armed meanwhile."),
        ("service.pin", "int", "", (0, 48), OPTIONAL, RESTART,
         "GPIO number, pulled up: while it is held low the node does not sleep. It is looked at on each wake."),
        ("console.pin", "pin", "digits", (4, 12), "", AT_ONCE,
         "What opens the serial console; empty: it is open. Kept as a salted hash. It stops who passes by, not who "
         "brings tools: another firmware can always be loaded by cable."),
        ("sensor[].name", "name", "", (1, 32), REQUIRED, RESTART,
         "Name of the sensor; its channels are called `name.channel`."),
        ("sensor[].driver", "name", "", (1, 32), REQUIRED, RESTART, "Its driver, from the list below."),
        ("sensor[].bus", "bus", "", ("i2c0", "i2c1"), OPTIONAL, RESTART,
         "The I2C bus of the board. I2C drivers only; `i2c0` if left out."),
        ("sensor[].address", "int", "", (0x08, 0x77), OPTIONAL, RESTART,
         "I2C address. I2C drivers only; the driver's first address if left out."),
        ("sensor[].pin", "int", "", (0, 48), OPTIONAL, RESTART,
         "GPIO number of the ADC input. ADC drivers only, which require it."),
        ("sensor[].interval", "int", "s", (1, 86400), 60, NEXT_SAMPLE, "Time between readings."),
        ("sensor[].limits.*.low", "decimal", "of the channel", _I32, OPTIONAL, NEXT_SAMPLE,
         "An alarm is raised below this value."),
        ("sensor[].limits.*.high", "decimal", "of the channel", _I32, OPTIONAL, NEXT_SAMPLE,
         "An alarm is raised above this value."),
        ("sensor[].limits.*.hysteresis", "decimal", "of the channel", (0, _I32[1]), 0, NEXT_SAMPLE,
         "How far a value must come back inside before its alarm ends."),
    )
)  # fmt: skip

# Arrays of tables: the fewest and most entries.
COUNTS = {"wifi[]": (1, 4), "sensor[]": (1, 16)}
MAX_CHANNELS = 16  # of all sensors together: what the state field of a journal row holds

_NAME = "abcdefghijklmnopqrstuvwxyz0123456789_-"
_HOST = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-.:"


def find(path):
    """-> the Setting of a schema path. Raises KeyError."""
    for setting in SETTINGS:
        if setting.path == path:
            return setting
    raise KeyError(path)


def bounds(setting):
    """-> the limit as text for people: "60..86400 s", "one of i2c0, i2c1"."""
    if setting.kind == "bus":
        return "one of " + ", ".join(setting.limit)
    unit = setting.unit or ("" if setting.kind == "int" else "characters")
    text = "%d..%d %s" % (setting.limit[0], setting.limit[1], unit)
    return text.rstrip()


def check(setting, value):
    """Check one value -> None, or what is wrong with it and what to do, in one line.

    A decimal is checked in its scaled form, as the node holds it.
    """
    kind = setting.kind
    if kind in ("int", "decimal"):
        if not isinstance(value, int) or isinstance(value, bool):
            return "%r is not a whole number; write one, without quotes" % (value,)
        if not setting.limit[0] <= value <= setting.limit[1]:
            return "%d is out of range %s; choose a value within" % (value, bounds(setting))
        return None
    if not isinstance(value, str):
        # A passphrase or a PIN is a secret: it must not stand in a message.
        shown = "this" if kind in ("passphrase", "pin") else repr(value)
        return "%s is not text; write it in quotes" % shown
    if kind == "bus":
        return None if value in setting.limit else "%r is unknown; use %s" % (value, bounds(setting))
    if kind in ("passphrase", "pin") and not value:
        return None
    if kind in ("name", "host"):
        allowed = _NAME if kind == "name" else _HOST
        for character in value:
            if character not in allowed:
                hint = "a-z 0-9 _ -" if kind == "name" else "letters, digits, - . :"
                return "%r has the character %r; use only %s" % (value, character, hint)
    if kind == "passphrase":
        if not all(32 <= ord(character) <= 126 for character in value):
            return "has a character that is not printable ASCII; WPA allows no other"
        if not setting.limit[0] <= len(value) <= setting.limit[1]:
            wrong = "has %d, not %s" % (len(value), bounds(setting))
            return wrong + "; leave it empty for an open network"
        return None
    if kind == "pin":
        if value.isdigit() and setting.limit[0] <= len(value) <= setting.limit[1]:
            return None
        return "is not %s; leave it empty for an open console" % bounds(setting)
    length = len(value.encode())
    if not setting.limit[0] <= length <= setting.limit[1]:
        return "%r is %d long, not %s; shorten or complete it" % (value, length, bounds(setting))
    return None
