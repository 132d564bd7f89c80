"""The handlers of the console's table, a module for each concern; imported for one command and given up after it.

A handler is `async def name(console, words)`: `words` are what was typed after the command's name, without `--json`.
It returns its answer, a dict whose keys end in their units (show.py), or raises Refused.
"""
