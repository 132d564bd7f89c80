"""A log of records in flash that survives a power cut at any moment. SPEC.md: the bytes; DESIGN.md: why."""

from flashring.ring import NoRing, Ring, RingError, RingFull
from flashring.window import Window

__all__ = ("NoRing", "Ring", "RingError", "RingFull", "Window")
