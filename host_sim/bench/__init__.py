"""Boards on a cable, for the real tools: serial ports that are pseudo-terminals, volumes that are folders."""
