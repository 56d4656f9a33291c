from django.conf import settings
from django.db import Error
from django.http import HttpRequest, JsonResponse
from django.http.response import HttpResponseBase
from django.utils.text import format_lazy
from django.utils.translation import gettext_lazy as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from django.views.generic import RedirectView
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.views import APIView

from core.database import BEHIND, ring_for
from core.migrations import missing_migrations
from core.schema import extend_schema


@extend_schema(exclude=True)
class ApiNotFoundView(APIView):
    """Every path below /api/ that is no call; a route, so that Django never redirects to one."""

    authentication_classes = ()
    permission_classes = ()

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        raise NotFound


@csrf_exempt
def schema(request: HttpRequest) -> HttpResponseBase:
    """Answer with the OpenAPI schema; what makes it is imported when it is first asked for."""
    from .docs import SchemaView

    return SchemaView.as_view()(request)


@csrf_exempt
def docs(request: HttpRequest) -> HttpResponseBase:
    """Show the API's documentation."""
    from .docs import DocsView

    return DocsView.as_view(url_name="schema")(request)


@csrf_exempt
@require_safe
@never_cache
def livez(request: HttpRequest) -> JsonResponse:
    """Answer that the process is alive."""
    return JsonResponse({"status": "ok"})


@csrf_exempt
@require_safe
@never_cache
def readyz(request: HttpRequest) -> JsonResponse:
    """Answer whether the process can work: the database answers, with all migrations of the code.

    `database` is `up`, `down` or `behind`; `detail` says in words what is missing, and so does the
    log, with what fixes it.
    """
    try:
        missing = missing_migrations()
    except Error as error:
        state, detail = "down", _("The database does not answer, or has no tables.")
        ring_for(error)
    else:
        if not missing:
            return JsonResponse({"status": "ok", "database": "up"})
        names = ", ".join(missing)
        state = "behind"
        detail = format_lazy(_("The database lacks migrations: {names}. Run migrate."), names=names)
        BEHIND.ring(facts={"migrations": names})
    return JsonResponse(
        {"status": "unavailable", "database": state, "detail": str(detail)},
        status=503,
        json_dumps_params={"ensure_ascii": False},
    )


favicon = RedirectView.as_view(url=f"{settings.STATIC_URL}favicon.svg")
home = RedirectView.as_view(pattern_name="group-list")
