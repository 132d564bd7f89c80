"""The settings: what is saved, what was changed, and the way between."""

from collections import OrderedDict

from .. import keep
from ..candidate import Candidate
from ..refused import Refused


async def get(console, words):
    """All settings, or one. Secrets are never told."""
    candidate = console.candidate or Candidate()
    if not words:
        return {"settings": [OrderedDict(setting=place.path, value=place.text(candidate.new), unit=place.unit)
                             for place in candidate.places()]}  # fmt: skip
    from ... import schema

    place = candidate.place(words[0])
    answer = OrderedDict(setting=place.path, value=place.text(candidate.new), unit=place.unit)
    if place.setting.kind != "decimal":
        answer["range"] = schema.bounds(place.setting)
    answer["effect"] = "by deploying" if place.fixed else place.setting.effect
    answer["help"] = place.setting.help
    return answer


async def set(console, words):
    """Changes one setting in what `save` would save."""
    if not words or len(words) > 2:
        raise Refused("config set SETTING VALUE; quotes hold a value with spaces together")
    candidate = console.candidate or Candidate()
    place = candidate.place(words[0])
    if len(words) == 1:
        if not place.secret or place.fixed:
            raise Refused("config set %s VALUE" % words[0])
        words.append(await console.secret("%s: " % words[0]))
    place = candidate.set(*words)
    console.candidate = candidate
    return OrderedDict(setting=place.path, value=place.text(candidate.new), saved=False)


async def diff(console, words):
    """What was changed, and what is wrong with it as a whole."""
    if console.candidate is None:
        return OrderedDict(changes=[], faults=[])
    return OrderedDict(changes=_changes(console.candidate), faults=console.candidate.faults())


async def save(console, words):
    """What was changed becomes the settings; what can, takes effect."""
    candidate = console.candidate
    changes = _changes(candidate) if candidate else []
    if not changes:
        console.candidate = None
        raise Refused("nothing was changed")
    faults = candidate.faults()
    if faults:
        raise Refused("; ".join(faults))
    keep.save(candidate.new)
    console.candidate = None
    return _adopted(console, changes)


async def undo(console, words):
    """What was changed is forgotten; with nothing changed, the last save is taken back."""
    if console.candidate is not None:
        console.candidate = None
        return OrderedDict(undone="what was not saved", restart=False)
    before = Candidate()
    keep.undo()
    before.new = Candidate().saved
    return _adopted(console, _changes(before))


def _changes(candidate):
    return [OrderedDict(setting=place.path, saved=saved, new=new, effect=place.setting.effect)
            for place, saved, new in candidate.changes()]  # fmt: skip


def _adopted(console, changes):
    """The answer about settings that stand now, which the node takes over as far as it can."""
    from ... import schema
    from ... import settings as stored

    _adopt(console.node, stored.load())
    waiting = [change["setting"] for change in changes if change["effect"] == schema.RESTART]
    return OrderedDict(restart=bool(waiting), waiting=waiting, changes=changes)


def _adopt(node, settings):
    """Puts in force what needs no restart."""
    for key in ("version", "wifi", "cloud", "report", "awake_cap", "limits"):
        node.settings[key] = settings[key]
    node.alarms.limits = settings["limits"]
    for index, sensor in enumerate(settings["sensors"]):
        node.intervals[index] = node.settings["sensors"][index]["interval"] = sensor["interval"]
    for key in ("size", "age", "alarm_contacts", "pin", "base"):
        node.settings.pop(key, None)
        if key in settings:
            node.settings[key] = settings[key]
    node.contacts.plan()
