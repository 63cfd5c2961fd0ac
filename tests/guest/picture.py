# SPDX-License-Identifier: Apache-2.0
"""What stands on a machine's screen, by a picture of it: Linux's console has cells of 8 by 16, of 9 by
16 where it is the VGA's own text mode, and Chinese characters there are two cells wide."""

FONT = "/usr/share/unifont/unifont.hex"
LINES = 16


def glyphs(text):
    """Per character its 16 lines as numbers of 16 bits."""
    wanted, found = {ord(letter) for letter in text}, {}
    with open(FONT, encoding="ascii") as font:
        for line in font:
            code, _, lines = line.strip().partition(":")
            if int(code, 16) in wanted:
                found[int(code, 16)] = lines
    return [tuple(int(found[ord(letter)][at:at + 4], 16) for at in range(0, 64, 4))
            for letter in text]


def read(path):
    """(width, height, bytes) of a PPM."""
    with open(path, "rb") as file:
        data = file.read()
    kind, width, height, _ = data.split(None, 4)[:4]
    if kind != b"P6":
        raise ValueError(f"{path} is no PPM")
    width, height = int(width), int(height)
    return width, height, data[len(data) - 3 * width * height:]


def rows(path):
    """Of each line of text, per cell its 16 lines as numbers of 8 bits: what is not black is drawn."""
    width, height, data = read(path)
    cell = 9 if width == 720 else 8
    lit = bytes(1 if any(data[at:at + 3]) else 0 for at in range(0, len(data), 3))
    return [[tuple(int("".join(map(str, lit[(top + line) * width + left:][:8])), 2)
                   for line in range(LINES))
             for left in range(0, width - 7, cell)]
            for top in range(0, height - LINES + 1, LINES)]


def shows(path, text):
    """Whether the Chinese @text stands somewhere on one line of the picture."""
    wanted = [tuple(line >> shift & 0xff for line in glyph)
              for glyph in glyphs(text) for shift in (8, 0)]
    return any(row[at:at + len(wanted)] == wanted
               for row in rows(path) for at in range(len(row) - len(wanted) + 1))
