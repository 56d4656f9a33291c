"""What fuzzing is made of: bytes, texts and JSON values, changed by chance."""

import json
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

ODD_TEXTS = (
    *("", " ", "0", "-1", "null", "true", "x", "群" * 22, "a" * 65, "A" * 10_000, "\ud800"),
    *("\0", "\ufeff", "../../etc/passwd", "<b>", "]]>", "&a;", "%00", "' OR 1=1 --", "1e999"),
)
ODD_NUMBERS = (0, -1, 1, 3, 4, 2**31, 2**63, 2**64, 10**30, -(10**30), 0.5, 1e308, 3.0)
TOKENS = (
    *(b"{", b"}", b"[", b"]", b'"', b"\\", b",", b":", b"\\u0000", b"\\ud800", b"null", b"NaN"),
    *(b"-Infinity", b"1e999", b"9" * 5000, b"[" * 2000, b'{"a":' * 1500, b"\xef\xbb\xbf", b"\xff"),
    *(b"\xc0\xaf", b"\xed\xa0\x80", b"\0", b"<", b">", b"</xml>", b"<xml>", b"<a>" * 40, b"&amp;"),
    *(b"<![CDATA[", b"]]>", b"<!--", b"-->", b"<?x y?>", b'<?xml version="1.0" encoding="q"?>'),
    *(
        b"<!DOCTYPE x>",
        b'<!DOCTYPE x [<!ENTITY a "b">]>',
        b"&#0;",
        b"&#x41;",
        b"&a;",
        b" xmlns:a='b'",
    ),
)


def _flip(chance: Random, text: bytearray) -> None:
    for _ in range(chance.randint(1, 3)):
        text[chance.randrange(len(text))] ^= 1 << chance.randrange(8)


def _overwrite(chance: Random, text: bytearray) -> None:
    text[chance.randrange(len(text))] = chance.randrange(256)


def _cut(chance: Random, text: bytearray) -> None:
    start = chance.randrange(len(text))
    del text[start : start + chance.randint(1, 1 + len(text) // 2)]


def _repeat(chance: Random, text: bytearray) -> None:
    start = chance.randrange(len(text))
    part = text[start : start + chance.randint(1, 64)]
    at = chance.randrange(len(text) + 1)
    text[at:at] = part * chance.randint(1, 3)


def _insert(chance: Random, text: bytearray) -> None:
    at = chance.randrange(len(text) + 1)
    text[at:at] = chance.choice(TOKENS)


def _replace(chance: Random, text: bytearray) -> None:
    start = chance.randrange(len(text))
    text[start : start + chance.randint(1, 8)] = chance.choice(TOKENS)


CHANGES: tuple[Callable[[Random, bytearray], None], ...] = (
    *(_flip, _overwrite, _cut, _repeat, _insert, _replace),
)


def changed_bytes(chance: Random, text: bytes) -> bytes:
    """Return `text` with one to three changes."""
    found = bytearray(text)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        if found:
            chance.choice(CHANGES)(chance, found)
    return bytes(found)


def odd_value(chance: Random) -> Any:
    """Return a JSON value that its reader may not expect."""
    match chance.randrange(9):
        case 0:
            return None
        case 1:
            return chance.random() < 0.5
        case 2 | 3:
            return chance.choice(ODD_NUMBERS)
        case 4 | 5:
            return chance.choice(ODD_TEXTS)
        case 6:
            return [odd_value(chance)] * chance.randrange(3)
        case 7:
            return {chance.choice(ODD_TEXTS): odd_value(chance)}
    deep: Any = []
    for _ in range(chance.choice((3, 30, 300))):
        deep = [deep] if chance.random() < 0.5 else {"a": deep}
    return deep


def changed_object(
    chance: Random, value: Mapping[str, Any], keys: tuple[str, ...]
) -> dict[str, Any]:
    """Return a JSON object with one to three keys changed, dropped, renamed or added."""
    found = dict(value)
    for _ in range(chance.choice((1, 1, 2, 3))):
        key = chance.choice(list(found)) if found else "a"
        match chance.randrange(6):
            case 0:
                found.pop(key, None)
            case 1:
                found[chance.choice(keys)] = found.pop(key, 0)
            case 2:
                found[chance.choice(keys)] = odd_value(chance)
            case 3 if isinstance(found.get(key), dict):
                found[key] = changed_object(chance, found[key], keys)
            case 4 if isinstance(found.get(key), str):
                text = changed_bytes(chance, found[key].encode("utf-8", "surrogatepass"))
                found[key] = text.decode(errors="replace")
            case _:
                found[key] = odd_value(chance)
    return found


def json_text(chance: Random, value: Any) -> bytes:
    """Write a JSON value in one of the ways there are."""
    escaped = json.dumps(value, separators=chance.choice(((",", ":"), (", ", ": "))))
    if chance.random() < 0.3:
        return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")
    return escaped.encode()


def deep_text(chance: Random) -> bytes:
    """Return JSON about as deep as Python reads it: what comes out may be too deep to be shown."""
    depth = chance.randint(880, 1000)
    if chance.random() < 0.5:
        return b"[" * depth + b"]" * depth
    return b'{"a":' * depth + b"1" + b"}" * depth
