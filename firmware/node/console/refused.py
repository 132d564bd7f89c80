"""What a command says when it does nothing."""


class Refused(Exception):
    """In one line: why, and what to do."""
