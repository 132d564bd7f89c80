"""Tab: what a line that has been begun can go on with."""

from . import table


def complete(console, text):
    """-> (letters that all candidates have in common after `text`, the candidates)."""
    command, begun = _argument(text)
    if command is None:
        words = [each.name + (" " if each.args else "") for each in table.COMMANDS]
        begun = text.lstrip()
    else:
        words = _offers(console, command.offers)
    candidates = [word for word in words if word.startswith(begun)]
    if not candidates:
        return "", []
    common = candidates[0]
    for word in candidates[1:]:
        while not word.startswith(common):
            common = common[:-1]
    return common[len(begun) :], [word.rstrip() for word in candidates]


def _argument(text):
    """-> (Command, its begun first argument) once its name is complete, else (None, "")."""
    for command in sorted(table.COMMANDS, key=lambda command: -len(command.name)):
        if text.startswith(command.name + " "):
            begun = text[len(command.name) + 1 :]
            return (command, begun) if " " not in begun else (command, "\0")
    return None, ""


def _offers(console, offers):
    if offers == "sensor":
        return [sensor["name"] for sensor in console.node.settings["sensors"]]
    if offers == "setting":
        from .candidate import Candidate

        return [place.path for place in (console.candidate or Candidate()).places()]
    if offers == "level":
        from ..log import LEVELS

        return list(LEVELS)
    if offers == "command":
        return [command.name for command in table.COMMANDS]
    return []
