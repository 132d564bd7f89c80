"""A toy node for the tests of the ledger: it lives a history, writes the run folder and the flash image,
and shares no code with the reader, the device or the cloud (formats from the specifications)."""

from __future__ import annotations

import json
import math
import random
import struct
from pathlib import Path
from typing import Any, NamedTuple

EPOCH_2020 = 1_577_836_800
SECTOR = 4096
RINGS = {"journal": [0, 6], "frames": [6, 8], "alerts": [14, 3]}
CHANNELS = [
    [1, "air.temperature", "degC", -2],
    [2, "air.humidity", "%", -2],
    [3, "air.pressure", "Pa", 0],
    [4, "light.voltage", "V", -3],
]
FRAMES_STREAM = 0x22334455


def crc24(data: bytes) -> int:
    """CRC-24 of RFC 4880, bit by bit as printed there."""
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc <<= 1
            if crc & 0x1000000:
                crc ^= 0x1864CFB
    return crc & 0xFFFFFF


class RingWriter:
    """Writes a ring into a buffer of its own, `count` sectors long. Erases what is in the way without
    asking."""

    def __init__(self, count: int, stream: int, granularity: int = 1, sector_size: int = SECTOR) -> None:
        self.data = bytearray(b"\xff" * (count * sector_size))
        self.next, self.released, self.dropped = 1, 0, 0
        self._count, self._size, self._grain, self._stream = count, sector_size, granularity, stream
        self._lap, self._at = -1, sector_size

    def _align(self, at: int) -> int:
        return (at + self._grain - 1) // self._grain * self._grain

    def _open(self) -> None:
        self._lap += 1
        start = self._lap % self._count * self._size
        self.data[start : start + self._size] = b"\xff" * self._size
        fields = (b"FNR", 0, self._lap, self._stream, self.next, self.released, self.dropped, 0)
        header = struct.pack("<3sBIIIIIB", *fields)
        self.data[start : start + 28] = header + crc24(header).to_bytes(3, "little")
        self._at = self._align(28)

    def _entry(self, kind: int, seq: int, payload: bytes) -> None:
        entry = struct.pack("<HBI", len(payload), kind, seq) + payload
        if self._at + len(entry) + 3 > self._size:
            self._open()
        crc = crc24(struct.pack("<I", self._lap) + entry)
        start = self._lap % self._count * self._size + self._at
        self.data[start : start + len(entry) + 3] = entry + crc.to_bytes(3, "little")
        self._at = self._align(self._at + len(entry) + 3)

    def append(self, payload: bytes) -> int:
        """Appends a record, returns its number."""
        if self._at + len(payload) + 10 > self._size:
            self._open()
        self._entry(1, self.next, payload)
        self.next += 1
        return self.next - 1

    def release(self, seq: int) -> None:
        """Releases up to `seq`."""
        self.released = seq
        self._entry(2, seq, b"")

    def drop(self, seq: int) -> None:
        """Gives up what is unreleased up to `seq`."""
        self.dropped += seq - self.released
        self.released = seq
        self._entry(3, seq, struct.pack("<I", self.dropped))

    def rewind(self, released: int) -> None:
        """Puts the cursor back to `released`."""
        self.released = released
        self._entry(4, released, b"")

    def tear(self, garbage: bytes) -> None:
        """Leaves a torn write behind the last entry; what follows opens a new sector."""
        start = self._lap % self._count * self._size + self._at
        self.data[start : start + len(garbage)] = garbage
        self._at = self._size


class Row(NamedTuple):
    """A row as the toy node keeps it; `seconds` since 2020 or of the boot, as `quality` says."""

    seq: int
    quality: int
    boot: int
    seconds: int
    values: dict[int, int]
    wall_s: float


def varint(number: int) -> bytes:
    """Zigzag and varint of the codec."""
    number = 2 * number if number >= 0 else -2 * number - 1
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def encode_frame(rows: list[Row], channels: list[tuple[int, int]]) -> bytes:
    """The codec frame of rows of one boot and quality."""
    out = struct.pack("<BBIIHB", 0, rows[0].quality, rows[0].boot, rows[0].seconds, len(rows), len(channels))
    out += b"".join(struct.pack("<Bb", *channel) for channel in channels)
    previous, seconds = {number: 0 for number, _ in channels}, rows[0].seconds
    for row in rows:
        out += varint(row.seconds - seconds)
        seconds = row.seconds
        present = sum(1 << index for index, (number, _) in enumerate(channels) if number in row.values)
        out += present.to_bytes((len(channels) + 7) // 8, "little")
        for number, _ in channels:
            if number in row.values:
                out += varint(row.values[number] - previous[number])
                previous[number] = row.values[number]
    return out + crc24(out).to_bytes(3, "little")


class History:
    """One node's life. `start_ms` is true Unix time; `clock_ms` the error of the node's clock, None while
    it has none; `drift` how much that grows per ms.

    It reads like the real node: at a boot at once; then each slot of its own clock at the slot or as soon
    after it as it can, none skipped and none twice.
    """

    def __init__(self, seed: int, start_ms: int, interval: int = 60, sensors: str = "air light") -> None:
        self.random = random.Random(seed)
        self.start_ms = self.now = start_ms
        self.interval = 1000 * interval
        self.channels = [channel for channel in CHANNELS if channel[1].split(".")[0] in sensors.split()]
        self.clock_ms: float | None = None
        self.drift = 0.0
        self.boot_number, self.boot_ms, self.last = 0, start_ms, start_ms
        self.last_own = 0
        self.served: list[str] = []
        self.power: list[tuple[int, str]] = []
        self.rows: list[Row] = []
        self.events: list[dict[str, Any]] = []
        self.gone: set[int] = set()
        self.values = {1: 2100, 2: 5000, 3: 101325, 4: 800}
        self.broken = self.recovering = False

    def own(self) -> int:
        """The node's own time in ms; without a clock it begins with each boot."""
        if self.clock_ms is None:
            return self.now - self.boot_ms
        return round(self.now + self.clock_ms)

    def pass_to(self, moment_ms: int) -> None:
        """Time passes, and the clock drifts."""
        if self.clock_ms is not None:
            self.clock_ms += self.drift * (moment_ms - self.now)
        self.now = moment_ms

    def serve(self) -> dict[int, int]:
        """The world serves one value per channel; what the driver makes of them is one unit off now and
        then."""
        values = {}
        for number, name, _, exponent in self.channels:
            self.values[number] += self.random.choice((-2, -1, 0, 0, 0, 0, 1, 2))
            sensor, short = name.split(".")
            self.served.append(f"{self.now},{sensor},{short},{self.values[number]},{exponent}")
            values[number] = self.values[number] + self.random.choice((-1, 0, 0, 0, 1))
        self.last, self.last_own = self.now, self.own()
        return values

    def sample(self) -> None:
        """Serves and appends one row."""
        if self.broken:
            self.last, self.last_own = self.now, self.own()
            return
        values = self.serve()
        quality, seconds = 2, self.own() // 1000 - EPOCH_2020
        if self.clock_ms is None:
            quality, seconds = 0, (self.now - self.boot_ms) // 1000
        placed = seconds + EPOCH_2020 if quality else self.boot_ms / 1000 + seconds
        self.rows.append(Row(len(self.rows) + 1, quality, self.boot_number, seconds, values, placed))
        if self.recovering:
            self.sensor(0)
            self.recovering = False

    def log(self, event: str) -> None:
        """A power event now."""
        self.power.append((self.now, event))

    def boot(self, at_ms: int, clock_ms: float | None = 0.0, sample: bool = True) -> None:
        """A reset or power-on at `at_ms`, and the reading that is due at once."""
        self.now = self.boot_ms = at_ms
        self.boot_number += 1
        self.clock_ms = clock_ms
        self.log("on")
        self.last_own = self.own()
        self.now += 2000
        if sample:
            self.sample()
            self.now += 20
            self.log("sleep")

    def step(self) -> int:
        """The true time of the next reading: at the next slot of the node's own clock, at once where one has
        gone by."""
        own = self.own()
        if own // self.interval > self.last_own // self.interval:
            return self.now
        left = (max(own, self.last_own) // self.interval + 1) * self.interval - own
        return self.now + (left if self.clock_ms is None else math.ceil(left / (1 + self.drift)))

    def live(self, until_ms: int) -> None:
        """Samples until `until_ms`; a wake for each reading."""
        while (due := self.step()) < until_ms:
            self.pass_to(due)
            self.log("wake")
            self.sample()
            self.now += 20
            self.log("sleep")
        self.pass_to(max(self.now, until_ms))

    def set_clock(self) -> None:
        """A contact sets the clock. A slot once taken stays taken when a set clock is corrected, which
        follows on a reading."""
        if self.clock_ms is not None:
            self.now = min(self.now, self.last + 1000)
            self.clock_ms = 0.0
        else:
            self.clock_ms = 0.0
            self.last_own = self.own() - (self.now - self.last)

    def off(self, for_ms: int) -> int:
        """Power goes now; returns when it comes again."""
        self.log("off")
        return self.now + for_ms

    def declare(self, ring: int, low: int, high: int, readings: int) -> dict[str, Any]:
        """A gap event as the cloud tells it."""
        gap = {"kind": "gap", "ring": ring, "lo": low, "hi": high, "reason": 1, "readings": readings}
        self.events.append({**gap, "boot": self.boot_number, "uptime_ms": 0, "time_s": None})
        return gap

    def give_up(self, low: int, high: int) -> None:
        """Rows `low`..`high` are lost by policy and declared."""
        self.gone |= set(range(low, high + 1))
        self.declare(0, low, high, sum(len(row.values) for row in self.rows if row.seq in self.gone))

    def sensor(self, state: int) -> None:
        """Sensor events now, for both sensors."""
        time_s = None if self.clock_ms is None else self.own() / 1000
        clock = {"boot": self.boot_number, "uptime_ms": self.now - self.boot_ms, "time_s": time_s}
        self.events += [{"kind": "sensor", "sensor": index, "state": state, **clock} for index in (0, 1)]

    def fail_sensors(self, until_ms: int, declare: bool = True) -> None:
        """Both sensors fail at the next reading, are mended at `until_ms` and declared well at the first
        reading after."""
        self.pass_to(self.step())
        self.broken = True
        if declare:
            self.sensor(1)
        self.live(until_ms)
        self.broken, self.recovering = False, declare

    def frames(self) -> list[list[Row]]:
        """The rows as frames: up to 16 neighbours of one boot and quality."""
        out: list[list[Row]] = []
        for row in self.rows:
            if row.seq in self.gone:
                continue
            last = out[-1] if out else []
            same = last and last[-1].seq + 1 == row.seq and len(last) < 16
            if same and (last[-1].boot, last[-1].quality) == (row.boot, row.quality):
                last.append(row)
            else:
                out.append([row])
        return out


class Written(NamedTuple):
    """A run folder as written, with what the cloud would say."""

    folder: Path
    rows: list[dict[str, Any]]
    events: list[dict[str, Any]]


def write_run(
    folder: Path, history: History, committed: float = 0.8, framed: float = 0.9, keep: bool = False, name: str = "n-1"
) -> Written:
    """Writes the folder of a history that ends now. The first `committed` part of the frames is in the
    database, those up to `framed` in the image, what is left in the journal. With `keep` the image holds
    what is committed too, released."""
    home = folder / "nodes" / name
    home.mkdir(parents=True)
    (home / "served.csv").write_text("\n".join(["t_ms,sensor,channel,value,exponent", *history.served, ""]))
    lines = [f"{moment},{event},test" for moment, event in history.power]
    (home / "power.csv").write_text("\n".join(["t_ms,event,reason", *lines, ""]))
    ids = [(channel[0], channel[3]) for channel in history.channels]
    frames = history.frames()
    in_cloud, in_frames = int(committed * len(frames)), int(framed * len(frames))
    rings = {name: RingWriter(count, 0x1000 + index) for index, (name, (_, count)) in enumerate(RINGS.items())}
    rings["frames"] = RingWriter(RINGS["frames"][1], FRAMES_STREAM)
    rows = []
    for number, frame in enumerate(frames, 1):
        payload = struct.pack("<IH", frame[0].seq, len(frame)) + encode_frame(frame, ids)
        if number <= in_cloud:
            for row in frame:
                present = [channel for channel in history.channels if channel[0] in row.values]
                rows += [database_row(row, channel, number) for channel in present]
            if not keep:
                rings["frames"].next += 1
                rings["frames"].released += 1
                continue
        if number <= in_frames:
            rings["frames"].append(payload)
        if number == in_cloud:
            rings["frames"].release(number)
    framed_rows = frames[in_frames - 1][-1].seq if in_frames else 0
    journal = rings["journal"]
    for row in history.rows:
        if row.seq <= framed_rows and not keep or row.seq in history.gone:
            journal.next, journal.released = row.seq + 1, row.seq
            continue
        present = sum(1 << (number - 1) for number in row.values)
        head = struct.pack("<BBIIII", 1, row.quality, row.boot, row.seconds, present, 0)
        journal.append(head + struct.pack(f"<{len(row.values)}i", *row.values.values()))
        if row.seq == framed_rows:
            journal.release(row.seq)
    (home / "flash.bin").write_bytes(b"".join(ring.data for ring in rings.values()))
    sensors = dict.fromkeys(channel[1].split(".")[0] for channel in history.channels)
    node = {
        "name": name, "tenant": "t", "board": "esp32", "rings": RINGS, "sector_size": SECTOR,
        "sensors": [{"name": sensor, "interval": history.interval // 1000} for sensor in sensors],
        "channels": history.channels, "image": f"nodes/{name}/flash.bin",
    }  # fmt: skip
    run = {"start_ms": history.start_ms, "end_ms": history.now, "seed": 1, "nodes": [node]}
    if (folder / "run.json").exists():
        before = json.loads((folder / "run.json").read_text())
        run = {**before, "nodes": [*before["nodes"], node], "end_ms": max(before["end_ms"], history.now)}
    (folder / "run.json").write_text(json.dumps(run))
    return Written(folder, rows, history.events)


def database_row(row: Row, channel: list[Any], frame: int) -> dict[str, Any]:
    """A reading as the cloud's query tells it."""
    return {
        "time_s": row.wall_s, "value": row.values[channel[0]], "exponent": channel[3], "channel_id": channel[0],
        "channel": channel[1], "quality": row.quality, "boot": row.boot, "t": row.seconds, "journal_seq": row.seq,
        "frame_seq": frame, "stream": FRAMES_STREAM,
    }  # fmt: skip
