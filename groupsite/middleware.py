import uuid
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from .api import error_answer
from .logs import request_id

GetResponse = Callable[[HttpRequest], HttpResponse]


class RequestId:
    """Names each request in its log lines and in `X-Request-ID`."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        # Not reset afterwards: Django logs an error answer after the last middleware is done.
        request_id.set(uuid.uuid4().hex)
        response = self.get_response(request)
        response["X-Request-ID"] = request_id.get()
        return response


class ApiErrors:
    """Gives every error below /api/ the contract's shape, also those raised before or beside DRF.

    Django's handler404 and handler500 are no place for this: they do not run with DEBUG on.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        if response.status_code < 400 or is_json or not request.path_info.startswith("/api/"):
            return response
        answer = error_answer(request, response.status_code)
        for name, value in response.items():
            if name not in {"Content-Type", "Content-Length"}:
                answer.headers.setdefault(name, value)
        return answer


class Private:
    """What depends on who asks is kept by no cache on the way, refusals included.

    A member's page is for the holder of its link: not for search engines, not for the next site.
    """

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        if request.path_info.startswith(("/api/", "/groups/", "/g/")):
            response.headers.setdefault("Cache-Control", "private, no-store")
        if request.path_info.startswith("/g/"):
            response.headers.setdefault("X-Robots-Tag", "noindex")
            response.headers.setdefault("Referrer-Policy", "no-referrer")
        return response
