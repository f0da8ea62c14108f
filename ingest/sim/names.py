"""Names for the symbols of a seeded market: first well-known ones, then made-up ones.

Pure. Names outside ASCII exist on the exchange since 2025-12 and have to survive URLs and JSON.
"""

from itertools import chain, count, islice

_KNOWN = (
    "BTC ETH SOL BNB XRP DOGE ADA TRX AVAX LINK TON DOT SUI LTC BCH SHIB PEPE UNI NEAR APT ICP ETC POL "
    "HBAR FIL ARB OP ATOM XLM VET INJ IMX GRT AAVE ALGO RUNE SEI TIA LDO STX EGLD FTM SAND MANA AXS "
    "THETA FLOW CHZ KAVA ZEC DASH COMP SNX CRV ENJ ZIL BAT IOTA NEO QTUM ONT"
).split()
_NON_ASCII = ("币安人生", "龙", "我踏马来了", "客服小何")


def symbol_names(number: int, avoid: frozenset[str], non_ascii: int) -> list[str]:
    """`number` different symbols, none of them in `avoid`, the last `non_ascii` outside ASCII."""
    made_up = (f"SIM{index}" for index in count(1))
    ascii_names = (f"{base}USDT" for base in chain(_KNOWN, made_up))
    wide = min(non_ascii, number)
    names = list(islice((name for name in ascii_names if name not in avoid), number - wide))
    return names + [_wide_name(index) for index in range(wide)]


def _wide_name(index: int) -> str:
    lap, place = divmod(index, len(_NON_ASCII))
    return f"{_NON_ASCII[place]}{lap or ''}USDT"
