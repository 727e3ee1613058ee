"""The output of a machine's serial console, as text to search in.

The NixOS tests begin with this file too, so it imports nothing of this package.
"""

import re

# Colours and cursor movements of firmware and iPXE.
_ESCAPES = re.compile(r"\x1b\[[0-9;?=]*[A-Za-z]|\x1b[()][A-Z0-9]|\x1bc|\x00")


def console_text(raw: str) -> str:
    r"""The text without what moves a cursor, in the lines that were meant.

    The BIOS breaks a line when its 80 columns are full, also in the middle of a word or number:

    >>> first = "https://boot.farmgate.test/boot/ipxe... ".ljust(54) + "https://ipxe.org/410de1"
    >>> console_text(f"{first.rjust(80)}\r\n3c\r\n").split()[-1]
    'https://ipxe.org/410de13c'

    A line of 80 columns that ends there is followed by an empty one, or by none:

    >>> console_text("x" * 80 + "\n\nnext\n").split()[1]
    'next'
    >>> console_text("\x1b[1;36mshort\x1b[0m\nnext").split("\n")
    ['short', 'next']
    """
    text = _ESCAPES.sub("", raw).replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"(?m)^([^\n]{80})\n(?!\n)", r"\1", text)
