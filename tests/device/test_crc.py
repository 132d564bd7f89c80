"""Check values: the catalogue of parametrised CRC algorithms (reveng), CRC-24/OPENPGP and CRC-16/IBM-3740."""

from crc import crc16, crc24


def test_check_values():
    assert crc24(b"123456789") == 0x21CF02
    assert crc16(b"123456789") == 0x29B1
    assert crc24(b"") == 0xB704CE
    assert crc16(b"") == 0xFFFF


def test_in_pieces():
    data = memoryview(bytes(range(256)))
    for cut in (0, 1, 100, 256):
        assert crc24(data[cut:], crc24(data[:cut])) == crc24(data)
        assert crc16(data[cut:], crc16(data[:cut])) == crc16(data)


def _bitwise(data, crc, poly, width):
    for byte in data:
        crc ^= byte << width - 8
        for _ in range(8):
            crc = crc << 1 ^ (poly if crc >> width - 1 else 0)
            crc &= (1 << width) - 1
    return crc


def test_against_the_definition():
    for seed in range(50):
        data = bytes((seed * 37 + i * i * 11) & 0xFF for i in range(seed))
        assert crc24(data) == _bitwise(data, 0xB704CE, 0x864CFB, 24)
        assert crc16(data) == _bitwise(data, 0xFFFF, 0x1021, 16)
