"""How the API reads every body and answers every error."""

import json
import logging
from collections.abc import Callable, Iterator
from math import ceil
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from rest_framework import exceptions, status
from rest_framework.exceptions import APIException
from rest_framework.parsers import BaseParser
from rest_framework.response import Response

from core.context import request_id
from core.database import database_is_away, ring_for
from wechat.errors import WeChatError

from .errors import ServerError, TooLarge, as_api_exception

logger = logging.getLogger(__name__)

MAX_BODY = 256 * 1024


class StrictJSONParser(BaseParser):
    """Reads JSON in UTF-8 (RFC 8259) of bounded size, without the liberties of json.loads."""

    media_type = "application/json"

    def parse(self, stream: Any, media_type: Any = None, parser_context: Any = None) -> Any:
        # Read here and bounded: Django's own limit does not see a stream that DRF reads.
        body = stream.read(MAX_BODY + 1)
        if len(body) > MAX_BODY:
            raise TooLarge
        request = (parser_context or {}).get("request")
        if request is not None:  # so that it can be answered anew: SecondTryMiddleware
            request._request._body = body
        try:
            return loads_strictly(body.decode())
        except (ValueError, RecursionError):
            raise exceptions.ParseError(_("The body is not valid JSON.")) from None


def loads_strictly(text: str) -> Any:
    """Return the value of a JSON text.

    Raises ValueError, also for NaN, Infinity and lone surrogates, and RecursionError for deep
    nesting.
    """
    data = json.loads(text, parse_constant=_refuse_constant)
    if "\\u" in text:
        json.dumps(data, ensure_ascii=False).encode()
    return data


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def exception_handler(error: Exception, context: dict[str, Any]) -> Response:
    """Turn an exception into an answer: DRF's EXCEPTION_HANDLER, the one place that does."""
    refusal = as_api_exception(error)
    ring_for(error)
    if isinstance(refusal, ServerError):
        logger.error("unhandled %s", type(error).__name__, exc_info=error)
    elif isinstance(error, WeChatError):
        facts = {"errcode": error.errcode, "rid": error.rid}
        logger.warning("%s: %s", type(error).__name__, error, extra=facts)
    elif database_is_away(error):
        logger.warning("%s: %s", type(error).__name__, error)
    return Response(answer_body(refusal), refusal.status_code, headers=answer_headers(refusal))


def answer_body(error: APIException) -> dict[str, Any]:
    """Return the error object; `fields` only for `invalid`, `retryAfter` only with a wait."""
    body: dict[str, Any] = {
        "code": error.default_code,
        "detail": str(error.detail),
        "requestId": request_id.get(),
    }
    if isinstance(error, exceptions.ValidationError):
        fields = dict(_flat(error.detail))
        general = fields.pop("", None)
        body["detail"] = " ".join(general or [gettext("The request is not valid. See `fields`.")])
        body |= {"fields": fields} if fields else {}
    if (wait := getattr(error, "wait", None)) is not None:
        body["retryAfter"] = max(1, ceil(wait))
    return body


def _flat(detail: Any, path: str = "") -> Iterator[tuple[str, list[str]]]:
    """Yield nested errors as `("scores.3.value", [sentence])`; "" is the whole body."""
    if isinstance(detail, dict):
        for name, inner in detail.items():
            step = "" if name == "non_field_errors" else str(name)
            yield from _flat(inner, ".".join(filter(None, (path, step))))
    elif any(isinstance(inner, dict) for inner in detail):
        for place, inner in enumerate(detail):
            yield from _flat(inner, f"{path}.{place}" if path else str(place))
    else:
        yield path, [str(sentence) for sentence in detail]


def answer_headers(error: APIException) -> dict[str, str]:
    headers = {}
    if error.status_code == status.HTTP_401_UNAUTHORIZED:
        headers["WWW-Authenticate"] = getattr(error, "auth_header", None) or "Bearer"
    if (wait := getattr(error, "wait", None)) is not None:
        headers["Retry-After"] = str(max(1, ceil(wait)))
    return headers


def answer(request: HttpRequest, refusal: Callable[[], APIException]) -> HttpResponse:
    """Return an error from outside DRF: the error object below /api/, elsewhere a page.

    It needs neither the database nor another middleware; pages are templates named by status. The
    error is made here: its sentence is in the language that is active when it is made, which
    before LocaleMiddleware is that of the last request of this thread.
    """
    with translation.override(translation.get_language_from_request(request)):
        error = refusal()
        headers = answer_headers(error)
        if not request.path_info.startswith("/api/"):
            page = render_to_string([f"{error.status_code}.html", "400.html"])
            return HttpResponse(page, status=error.status_code, headers=headers)
        return JsonResponse(
            answer_body(error),
            status=error.status_code,
            headers=headers,
            json_dumps_params={"ensure_ascii": False},
        )
