# vm64: no, small ints have 63 bits there
"""The 31-bit VM is what it is run for: an int outside -2^30 .. 2^30 - 1 takes heap, as it does on a board."""

import sys

import micropython


def _shifted(value, bits):
    """The class of what goes wrong when `value << bits` may not allocate, or None. Arguments, so nothing is folded."""
    micropython.heap_lock()
    try:
        value << bits
        return None
    except MemoryError as error:
        return type(error)
    finally:
        micropython.heap_unlock()


def test_the_word_has_32_bits():
    assert sys.maxsize == 0x7FFFFFFF


def test_2_to_30_is_no_small_int():
    assert _shifted(1, 29) is None
    assert _shifted(1, 30) is MemoryError
    assert _shifted(-1, 30) is None
    assert _shifted(-1, 31) is MemoryError


def test_nor_is_a_sum_or_product_of_2_to_30():
    half, root = 1 << 29, 1 << 15
    micropython.heap_lock()
    try:
        assert half - 1 + half == 0x3FFFFFFF
        for step in range(2):
            try:
                if step:
                    half + half
                else:
                    root * root
            except MemoryError:
                continue
            raise ValueError
    finally:
        micropython.heap_unlock()
