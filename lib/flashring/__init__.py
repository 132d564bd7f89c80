"""A log of records in flash that survives a power cut at any moment. README.md: how to use it; SPEC.md: the bytes;
DESIGN.md: why.
"""

from flashring.error import NoRing, RingBusy, RingError, RingFull
from flashring.ring import Ring
from flashring.window import Window

__all__ = ("NoRing", "Ring", "RingBusy", "RingError", "RingFull", "Window")
