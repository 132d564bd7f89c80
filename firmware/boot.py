"""Runs before main.py at every boot: what a board must do before anything else, such as to sleep on."""

import gc

import board

# Imports leave garbage of several times their size. Collected as it comes, what stays lies close together, and a TLS
# session finds its 31 KB in one piece.
gc.threshold(49152)
board.boot()
