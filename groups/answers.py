"""Rankings as phones get them: what the answers to two members have in common is written once, and
what has not changed is not sent again.

The shape is that of `RankingOutput`, which the documentation is made from.
"""

from hashlib import blake2b

from django.http import HttpResponse, HttpResponseNotModified
from django.http.response import HttpResponseBase
from django.utils.cache import patch_vary_headers
from django.utils.http import parse_etags
from django.utils.translation import get_language
from rest_framework.request import Request

from core.renderers import as_json
from core.serializers import origin, timestamp

from .ranking import Ranking, Standing
from .serializers import StandingOutput, ranking_head


def ranking_answer(request: Request, found: Ranking) -> HttpResponseBase:
    """Return the answer with a ranking, or 304 without one where the client has it already.

    The ETag is over all of it but the time. Others' entries are taken from what was written of
    these standings before, for this host and language.
    """
    output = StandingOutput(context={"request": request})
    written = found.written.setdefault((origin(request), get_language()), {})

    def entry(standing: Standing) -> bytes:
        text: bytes | None = None if standing.is_me else written.get(standing.member.id)
        if text is None:
            text = as_json(output.to_representation(standing))
            if not standing.is_me:
                # A copy: what orjson returns keeps the kilobytes in which it was written.
                written[standing.member.id] = bytes(memoryview(text))
        return text

    before = as_json(ranking_head(found))[1:-1]
    count = as_json({"total": found.total, "percentile": found.percentile})[1:-1]
    entries = b",".join(map(entry, found.entries))
    me = entry(found.me) if found.me else b"null"
    after = as_json({"absent": found.absent, "next": found.next})[1:-1]
    lasting = b'%b,"entries":[%b],"me":%b,%b}' % (count, entries, me, after)
    tag = f'W/"{blake2b(before + lasting, digest_size=16).hexdigest()}"'

    answer: HttpResponseBase = HttpResponseNotModified()
    if not _has(request, tag):
        time = as_json(timestamp(found.server_time))
        body = b'{%b,"serverTime":%b,%b' % (before, time, lasting)
        answer = HttpResponse(body, content_type="application/json")
    answer.headers["ETag"] = tag
    answer.headers["Cache-Control"] = "private, no-cache"
    patch_vary_headers(answer, ["Authorization", "Accept-Language"])
    return answer


def _has(request: Request, tag: str) -> bool:
    """Tell whether the client has an answer of this tag, compared weakly (RFC 9110, 13.1.2)."""
    given = parse_etags(request.headers.get("If-None-Match", ""))
    return "*" in given or tag.removeprefix("W/") in {each.removeprefix("W/") for each in given}
