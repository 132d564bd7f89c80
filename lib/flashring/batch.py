"""Several records under one check."""

from struct import pack

from flashring.entries import BATCH, RUN

_FRAME = 7  # bytes around the records
_MOST = 16  # records
_LONGEST = 255  # bytes of a record whose length is kept


def size(payloads, with_lengths, largest):
    """Bytes of the batch of `payloads`; ValueError where they are none."""
    length = sum([len(payload) for payload in payloads]) + (len(payloads) if with_lengths else 0)
    most = min(largest, 0xFFF)
    if not 1 <= len(payloads) <= _MOST or length > most:
        raise ValueError("%d records of %d bytes: a batch takes 1 to %d, of %d" % (len(payloads), length, _MOST, most))
    if with_lengths and max([len(payload) for payload in payloads]) > _LONGEST:
        raise ValueError("a record of a batch takes up to %d bytes without a measure" % _LONGEST)
    return _FRAME + length


def put(commit, payloads, seq, with_lengths):
    """Write the batch into `commit`; `with_lengths`: a byte before each record says how long it is."""
    pieces = []
    for payload in payloads:
        if with_lengths:
            pieces.append(bytes((len(payload),)))
        pieces.append(payload)
    length = sum([len(piece) for piece in pieces])
    head = pack("<BH", BATCH if with_lengths else RUN, length | len(payloads) - 1 << 12)
    commit.entry([head] + pieces, seq)


def part(view, begin, end, kind, index, measure):
    """Where record `index` stands among the records of a batch at `begin`..`end`-1."""
    if kind == BATCH:
        for _ in range(index):
            begin += 1 + view[begin]
        return begin + 1, begin + 1 + view[begin]
    if measure is None:
        raise ValueError("records that tell their own length: the ring was not given their measure")
    for _ in range(index):
        begin += measure(view, begin)
    return begin, begin + measure(view, begin)
