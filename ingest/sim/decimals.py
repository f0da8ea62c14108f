"""Prices and quantities as whole numbers of 1e-8, and the text in which the exchange prints them.

Pure. Everything inside the double counts in these units, so that sums are exact and comparing is
cheap; text appears only where a frame, an answer or a digest is made.
"""

UNIT = 10**8
"""How many units make 1."""


def printed(amount: int) -> bytes:
    """Eight decimals, as on the wire: 6173763000000 is `61737.63000000`."""
    return b"%d.%08d" % divmod(amount, UNIT)


def printed_signed(amount: int) -> bytes:
    """Like `printed`, for amounts that may be negative (price changes)."""
    return b"-" + printed(-amount) if amount < 0 else printed(amount)


def printed_product(product: int) -> bytes:
    """Eight decimals of a price times a quantity (units of 1e-16), cut off like the exchange does."""
    return printed(product // UNIT)


def units(text: str | bytes) -> int:
    """The number of units in a decimal text with up to eight decimals; not for negative numbers."""
    if isinstance(text, bytes):
        text = text.decode("ascii")
    if text[-9:-8] == ".":  # the exchange's own form, of which there are hundreds of thousands
        return int(text[:-9] + text[-8:])
    whole, _, fraction = text.partition(".")
    if len(fraction) > 8:
        raise ValueError(f"more than eight decimals: {text!r}")
    return int(whole + fraction.ljust(8, "0"))
