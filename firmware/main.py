"""Entry of the firmware: the path chooses the board."""

import board
from node import app

app.run(board.build())
