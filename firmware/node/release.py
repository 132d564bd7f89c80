"""Which firmware this is. Whoever releases a new one changes both."""

FIRMWARE = 0 << 16 | 1 << 8 | 0  # major, minor, patch
DATE = 199756800  # 2026-05-01, seconds since 2020: an unknown clock starts no earlier
