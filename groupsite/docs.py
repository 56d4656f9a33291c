"""The API's documentation: its schema, and the page that shows it."""

from django.conf import settings
from django.utils.decorators import method_decorator
from django.utils.translation import get_language, override
from django.utils.translation import gettext_lazy as _
from django.views.decorators.gzip import gzip_page
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from . import reference


class ReferenceView(APIView):
    """A view of the API's documentation: in the reader's language, or in the one `?lang=` names."""

    http_method_names = ["get", "head"]

    def initial(self, request: Request, *args: object, **kwargs: object) -> None:
        """Refuse a language that is not ours: Django would keep a catalogue for each."""
        super().initial(request, *args, **kwargs)
        language = request.query_params.get("lang")
        if language and language not in dict(settings.LANGUAGES):
            raise ValidationError({"lang": [_("Write zh-hans or en.")]})


@method_decorator(gzip_page, "dispatch")  # nothing in it is secret, or of a member
class SchemaView(ReferenceView, SpectacularAPIView):
    pass


class DocsView(ReferenceView, SpectacularSwaggerSplitView):
    """The page first lists the calls, for as long as the scripts that show them in full take."""

    @extend_schema(exclude=True)
    def get(self, request: Request, *args: object, **kwargs: object) -> Response:
        answer: Response = super().get(request, *args, **kwargs)  # type: ignore[no-untyped-call]
        if "script" not in request.query_params:
            with override(request.query_params.get("lang") or get_language()):
                generator = SchemaView.generator_class()
                schema = generator.get_schema(request, public=True)  # type: ignore[no-untyped-call]
                answer.data["chapters"] = reference.outline(schema)
        return answer
