"""The rows of a ranking on its page, written as text: a template takes twenty times as long.

The rows of others are written once for as long as the standings are kept; see `Ranking.written`.
"""

from collections.abc import Iterable
from functools import lru_cache
from html import escape  # Django's, which looks for lazy values too, takes five times as long
from typing import NamedTuple

from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import get_language, gettext

from .ranking import Movement, Ranking, Standing

SMALL_PICTURE = 48  # pixels; larger ones are of the large file
ROOM = len("9,999,999")  # what fits beside a name on a small phone
CHINESE = ((10**12, "万亿"), (10**8, "亿"), (10**4, "万"))
ENGLISH = ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K"))


class _Words(NamedTuple):
    """What rows say, in one language."""

    rank: str
    no_rank: str
    no_score: str
    new: str
    unchanged: str
    up: str
    down: str
    me: str
    go: str

    @staticmethod
    @lru_cache(maxsize=8)
    def of(language: str | None) -> "_Words":
        """Return the words of the language, which is the active one."""
        return _Words(
            rank=gettext("Rank"),
            no_rank=gettext("No rank"),
            no_score=gettext("No score"),
            new=gettext("New"),
            unchanged=gettext("Unchanged"),
            up=gettext("Up"),
            down=gettext("Down"),
            me=gettext("Me"),
            go=gettext("Go to my place"),
        )


_ROW = """<li class="{me}place-{place}"{mark}>
  <span class="rank">{rank}</span>
  {movement}
  <img src="{picture}" width="{size}" height="{size}" alt="" loading="{loading}" decoding="async">
  {name}
  <span class="score">{score}</span>
</li>
"""


def rows(
    found: Ranking,
    entries: Iterable[Standing],
    size: int,
    loading: str,
    link: str = "",
    marked: Standing | None = None,
) -> SafeString:
    """Write entries as items of a list, with pictures of `size` pixels.

    My own row leads to `link`, if there is one; `marked` is the row to which links to my place
    lead.
    """
    unit = found.board.unit
    written = found.written.setdefault(("page", size, loading, unit, get_language()), {})
    texts = []
    for each in entries:
        if each.is_me or each == marked:
            texts.append(_row(found, each, size, loading, link, is_marked=each == marked))
            continue
        text = written.get(each.member.id)
        if text is None:
            text = written[each.member.id] = _row(found, each, size, loading)
        texts.append(text)
    return mark_safe("".join(texts))  # noqa: S308  # `_row` escapes what people wrote


def _row(
    found: Ranking,
    standing: Standing,
    size: int,
    loading: str,
    link: str = "",
    is_marked: bool = False,
) -> str:
    member, words = standing.member, _Words.of(get_language())
    path = member.avatar_path if size > SMALL_PICTURE else member.small_avatar_path
    return _ROW.format(
        me="me " if standing.is_me else "",
        place=standing.rank or "none",
        mark=' id="me"' if is_marked else "",
        rank=_rank(standing.rank, words),
        movement=_movement(standing.movement, words),
        picture=escape(path),
        size=size,
        loading=loading,
        name=_name(standing, link, words),
        score=_score(found, standing, words),
    )


def _rank(rank: int | None, words: _Words) -> str:
    if rank is None:
        return _absent(words.no_rank)
    return f'<span class="visually-hidden">{words.rank} </span>{rank:,}'


def _absent(label: str) -> str:
    return f'<span class="visually-hidden">{label}</span><span aria-hidden="true">–</span>'


def movement(moved: Movement) -> SafeString:
    """Write how far a member moved: an arrow to see, a word to hear."""
    text = _movement(moved, _Words.of(get_language()))
    return mark_safe(text)  # noqa: S308  # of our words and numbers


def _movement(moved: Movement, words: _Words) -> str:
    text = ""
    if moved == "new":
        text = f'<span class="up">{words.new}</span>'
    elif moved == 0:
        text = (
            f'<span class="visually-hidden">{words.unchanged}</span>'
            '<span class="same" aria-hidden="true">–</span>'
        )
    elif isinstance(moved, int):
        up, down = ("up", words.up, "▲"), ("down", words.down, "▼")
        kind, word, arrow = up if moved > 0 else down
        text = (
            f'<span class="{kind}"><span class="visually-hidden">{word} </span>'
            f'<span aria-hidden="true">{arrow}</span>{abs(moved):,}</span>'
        )
    return f'<span class="move">{text}</span>'


def _name(standing: Standing, link: str, words: _Words) -> str:
    name = f"<bdi>{escape(standing.member.nickname)}</bdi>"
    if not standing.is_me:
        return f'<span class="name">{name}</span>'
    name += f'<span class="tag">{words.me}</span>'
    if not link:
        return f'<span class="name">{name}</span>'
    return f'<a class="name" href="{escape(link)}" title="{escape(words.go)}">{name}</a>'


def _score(found: Ranking, standing: Standing, words: _Words) -> str:
    text, board = standing.score_text, found.board
    if not text:
        return _absent(words.no_score)
    if short := compact(standing, board.decimals):
        text = (
            f'<span class="visually-hidden">{text}</span>'
            f'<span aria-hidden="true" title="{text}">{short}</span>'
        )
    return text + (f"<small> {escape(board.unit)}</small>" if board.unit else "")


def compact(standing: Standing, decimals: int) -> str:
    """Round a score too long for its row, 12,345,678 → "1,235万"; "" for one that fits."""
    if standing.score is None or len(standing.score_text or "") <= ROOM:
        return ""
    value = standing.score / 10**decimals
    for size, unit in ENGLISH if get_language() == "en" else CHINESE:
        if abs(value) >= size:
            return f"{value / size:,.{int(abs(value) < 1000 * size)}f}{unit}"
    return ""
