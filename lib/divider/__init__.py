"""A voltage behind a divider of two resistors, measured by an ADC."""

_READS = 16  # their mean: a single one is off by some millivolts of noise


def millivolts(adc, ratio, exponent):
    """Millivolts ahead of the divider: those at the pin times `ratio` * 10 ** `exponent`.

    `adc.read_uv()` gives microvolts, up to 3.3 V; `ratio` up to 32,768 keeps every product below 2^30.
    """
    total = 0
    for _ in range(_READS):
        total += adc.read_uv()
    mv = (total // _READS + 500) // 1000 * ratio
    return mv * 10**exponent if exponent >= 0 else mv // 10**-exponent
