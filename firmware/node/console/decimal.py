"""Decimal numbers as text and as the integers a node holds. No value passes through a float."""


def scaled(text, exponent):
    """The integer n with n x 10^exponent = text. ValueError for what is no decimal number or too fine."""
    sign = -1 if text[:1] == "-" else 1
    whole, _, part = text.lstrip("+-").partition(".")
    if not (whole + part).isdigit() or len(text) - len(text.lstrip("+-")) > 1:
        raise ValueError("%r is no decimal number" % text)
    part = part.rstrip("0")
    if len(part) > -exponent:
        raise ValueError("%s is finer than the channel's steps of %s" % (text, decimal(1, exponent)))
    return sign * int(whole + part + "0" * (-exponent - len(part)))


def decimal(value, exponent):
    """value x 10^exponent as text."""
    if exponent >= 0:
        return str(value * 10**exponent)
    digits = str(abs(value))
    digits = "0" * (1 - exponent - len(digits)) + digits
    return ("-" if value < 0 else "") + digits[:exponent] + "." + digits[exponent:]
