"""Nicknames that are safe to show: one line, visible, not turned round, no towers of marks.

Markup such as ``<script>`` is kept: escaping is the page's job. Sources: UAX #15 (NFC),
UAX #29 (grapheme clusters), UAX #31 (joiners within words), UAX #44 (general categories,
Default_Ignorable_Code_Point), UTS #51 (emoji sequences).
"""

from typing import Final, Literal
from unicodedata import normalize

import regex

Reason = Literal["blank", "too_long"]

MAX_GRAPHEMES: Final = 32
MAX_CODE_POINTS: Final = 255

# NFC sorts a run of marks in quadratic time, so an endless name is refused unread.
MAX_RAW_CODE_POINTS: Final = 4096

# Show nothing in ordinary fonts, though Unicode calls them letters, symbols or marks:
# object replacement, braille blank, half fill space, Egyptian blanks, Khitan filler,
# Duployan selector, null notehead.
_BLANKS = r"\uFFFC\u2800\u303F\U00013441\U00013442\U00016FE4\U0001BC9D\U0001D159"

# \p{C} is controls, formats (bidi among them), surrogates, private use and unassigned.
# Joiners, tags and emoji selectors wait for _LOOSE_JOINERS, which sees their neighbours. Selectors
# of ideographs are dropped: most pairs look like the plain character, so one name could be
# written in 240 ways.
_UNSEEN = regex.compile(
    rf"[[\p{{C}}\p{{Default_Ignorable_Code_Point}}{_BLANKS}]"
    r"--[\p{White_Space}\u200C\u200D\uFE0E\uFE0F\U000E0020-\U000E007F]]+",
    regex.V1,
)
_SPACES = regex.compile(r"\p{White_Space}+")


def _tags(letters: str) -> str:
    return "".join(chr(0xE0000 + ord(letter)) for letter in letters)


# Both properties: Emoji alone has the digits, Extended_Pictographic alone plain dingbats.
_PICTURE = r"[\p{Emoji}&&\p{Extended_Pictographic}]"
_TONED = rf"{_PICTURE}[\uFE0F\p{{Emoji_Modifier}}]?"

# The flags of England, Scotland and Wales; other tags would hide a message.
_FLAG = rf"\U0001F3F4(?:{'|'.join(map(_tags, ('gbeng', 'gbsct', 'gbwls')))})\U000E007F"

# Where a joiner shows, after UAX #31: a non-joiner between Arabic letters that would join (Persian
# می‌خواهم); either one behind a virama, before a letter of the same script (Sinhala ශ්‍රී); a joiner
# that ends an old spelling (Malayalam അവന്‍), or is written before the virama (Bengali র‍্যাব).
_ARABIC = (
    r"(?<=[\p{Arabic}&&[\p{jt=D}\p{jt=L}]][\p{M}&&\p{jt=T}]{0,3})\u200C"
    r"(?=[\p{Arabic}&&[\p{jt=D}\p{jt=R}]])"
)
_CONJUNCTS = [
    rf"(?<=[\p{{{script}}}&&\p{{L}}][\p{{{script}}}&&\p{{M}}]{{0,2}}[\p{{{script}}}&&\p{{ccc=9}}])"
    rf"(?:[\u200C\u200D](?=[\p{{{script}}}&&\p{{L}}]){ending})"
    for script, ending in {
        **dict.fromkeys(("Devanagari", "Gujarati", "Gurmukhi", "Kannada", "Oriya"), ""),
        **dict.fromkeys(("Sinhala", "Telugu"), ""),
        **dict.fromkeys(("Bengali", "Malayalam"), r"|\u200D(?![\p{M}\u200C\u200D])"),
    }.items()
]
_BEFORE_VIRAMA = r"(?<=\u09B0)\u200D(?=\u09CD\u09AF)|(?<=\u0CB0)\u200D(?=\u0CCD\p{Kannada})"
_IN_WORDS = "|".join((_ARABIC, *_CONJUNCTS, _BEFORE_VIRAMA))

# At most four pictures a sequence (a family of four): a longer chain shows as separate
# pictures yet counts as one grapheme. A digit keeps U+FE0F only in a keycap.
_LOOSE_JOINERS = regex.compile(
    rf"(?P<kept>{_FLAG}|{_PICTURE}\uFE0E|{_TONED}(?:\u200D{_TONED}){{0,3}}|[0-9\#*]\uFE0F\u20E3"
    rf"|{_IN_WORDS})|[\u200C\u200D\uFE0E\uFE0F\U000E0020-\U000E007F]",
    regex.V1,
)

# Everyday spelling here needs three or four marks: Hindi पढ़ें, Tibetan སྒྲོལ་མ (Drolma),
# Burmese မြို့, Lao ຫຼິ້ນ, Khmer ស៊ាំ, pointed Hebrew. Thai and Vietnamese stay within two.
_STACKING = (
    r"[\p{Bengali}\p{Devanagari}\p{Gujarati}\p{Gurmukhi}\p{Hebrew}\p{Kannada}\p{Khmer}"
    r"\p{Lao}\p{Myanmar}\p{Oriya}\p{Tai_Tham}\p{Tibetan}]"
)

_BASE = r"[^\p{M}\p{White_Space}]"

# Atomic, or a lawful third mark would be given back and dropped. A space is no base:
# stripping it would leave its mark at the start.
_LOOSE_MARKS = regex.compile(
    rf"(?P<kept>(?>[{_STACKING}--\p{{M}}][{_STACKING}&&\p{{M}}]{{3,4}}|{_BASE}\p{{M}}{{2}}))"
    rf"\p{{M}}+|(?<![^\p{{White_Space}}])\p{{M}}+",
    regex.V1,
)


class UnacceptableNickname(ValueError):
    """A nickname refused; ``reason`` is ``"blank"`` or ``"too_long"``."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason: Reason = reason


def clean_nickname(text: str) -> str:
    """Return ``text`` as it may be shown: NFC, trimmed, 1-32 graphemes, 1-255 code points.

    What cannot be seen, and marks beyond two a base (four in scripts that stack), are
    dropped; white space becomes single spaces. Cleaning twice changes nothing.
    Raises UnacceptableNickname for a name that shows nothing or is too long: none is cut.
    """
    if len(text) > MAX_RAW_CODE_POINTS:
        raise UnacceptableNickname("too_long")
    name = shown(text)
    if not name:
        raise UnacceptableNickname("blank")
    if len(name) > MAX_CODE_POINTS or len(regex.findall(r"\X", name)) > MAX_GRAPHEMES:
        raise UnacceptableNickname("too_long")
    return name


def shown(text: str) -> str:
    """Return what of ``text`` is visible, in one line.

    One pass is not enough: in 👩 ZWJ ↔ U+0338 the joiner stands between pictures until NFC
    turns the last two into ↮, which is none.
    """
    while (name := _pass(text)) != text:
        text = name
    return name


def _pass(text: str) -> str:
    text = _UNSEEN.sub("", text)
    text = _LOOSE_JOINERS.sub(r"\g<kept>", text)
    text = normalize("NFC", text)
    text = _LOOSE_MARKS.sub(r"\g<kept>", text)
    return _SPACES.sub(" ", text).strip(" ")


_HALF, _FULL = "".join(map(chr, range(0x21, 0x7F))), "".join(map(chr, range(0xFF01, 0xFF5F)))
_TO_HALF, _TO_FULL = str.maketrans(_FULL, _HALF), str.maketrans(_HALF, _FULL)


def spellings(text: str) -> set[str]:
    """Return ``text`` as it may be written: as it stands, in half width, in full width.

    MariaDB takes the widths for the same, the other databases do not.
    """
    return {text, text.translate(_TO_HALF), text.translate(_TO_FULL)}


def folded(text: str) -> str:
    """Return ``text`` as it compares without regard to case and width."""
    return normalize("NFKC", text).casefold()
