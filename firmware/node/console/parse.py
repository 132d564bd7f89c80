"""A line into words, and words into a command of the table."""

from .refused import Refused
from .table import COMMANDS


def find(words):
    """-> (Command, its arguments) of a line's words. Refused where there is none."""
    for count in (2, 1):
        name = " ".join(words[:count])
        for command in COMMANDS:
            if command.name == name:
                return command, words[count:]
    group = [command.name for command in COMMANDS if command.name.startswith(words[0] + " ")]
    if group:
        raise Refused("%s does not stand alone; there are: %s" % (words[0], ", ".join(group)))
    near = [command.name for command in COMMANDS if command.name[:2] == words[0][:2]]
    hint = "did you mean %s?" % " or ".join(near) if near else "help lists them"
    raise Refused("unknown command %r; %s" % (words[0][:24], hint))


def split(text):
    """-> the words of a line; quotes of either kind hold words together. Refused where one is not closed."""
    words, word, quote = [], None, ""
    for letter in text:
        if quote:
            if letter == quote:
                quote = ""
            else:
                word += letter
        elif letter in "'\"":
            quote, word = letter, word or ""
        elif letter == " ":
            if word is not None:
                words.append(word)
            word = None
        else:
            word = (word or "") + letter
    if quote:
        raise Refused("a quote is not closed")
    if word is not None:
        words.append(word)
    return words
