from django.conf import settings
from django.db import Error
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_safe
from django.views.generic import RedirectView
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.exceptions import NotFound
from rest_framework.request import Request
from rest_framework.views import APIView

from groups.models import Board


@extend_schema(exclude=True)
class ApiNotFoundView(APIView):
    """Every path below /api/ that is no call; a route, so that Django never redirects to one."""

    authentication_classes = ()
    permission_classes = ()

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        raise NotFound


class SchemaView(SpectacularAPIView):
    http_method_names = ["get", "head"]


class DocsView(SpectacularSwaggerSplitView):
    http_method_names = ["get", "head"]


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
    """Answer whether the process can work: the database answers, and has its tables."""
    try:
        Board.objects.exists()
    except Error:
        return JsonResponse({"status": "unavailable", "database": "down"}, status=503)
    return JsonResponse({"status": "ok", "database": "up"})


favicon = RedirectView.as_view(url=f"{settings.STATIC_URL}favicon.svg")
home = RedirectView.as_view(pattern_name="group-list")
