"""The call by which a phone reports what it could not do."""

import re
from typing import Any

from django.utils.translation import gettext_lazy as _
from drf_spectacular.utils import extend_schema_field
from rest_framework import status
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from core.schema import extend_schema
from core.serializers import StrictCharField, StrictIntegerField, StrictSerializer
from core.views import JsonView

from .diagnostics import count_failure, without_ids
from .models import MAX_ERR_MSG, MAX_ERRNO, MAX_WORD

CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
NOT_BLANK = r"[^\s\u0000-\u001F\u007F-\u009F]"
NEEDED: dict[str, Any] = {
    "required": True,
    "allow_null": False,
    "allow_blank": False,
    "pattern": NOT_BLANK,
}
MAX_SCENE = 2**31 - 1  # what every database holds


class CutCharField(StrictCharField):
    """A text cut to what is kept: a phone in trouble should be heard."""

    default_error_messages = {"blank": _("Not a text that can be seen.")}

    def __init__(self, cut: int, **kwargs: Any) -> None:
        how = {"required": False, "allow_null": True, "allow_blank": True}
        super().__init__(**{**how, **kwargs})
        self.cut = cut
        # NUL is removed with the other control characters.
        self.validators = []

    def to_internal_value(self, data: Any) -> str:
        text = CONTROLS.sub(" ", super().to_internal_value(data))
        kept = without_ids(text).strip()[: self.cut].strip()
        if not kept and not self.allow_blank:
            self.fail("blank")
        return kept


@extend_schema_field({"type": ["integer", "string"]})
class ErrnoField(CutCharField):
    """A number of WeChat's, which on some phones is a string."""

    def to_internal_value(self, data: Any) -> str:
        is_number = isinstance(data, int) and not isinstance(data, bool)
        return super().to_internal_value(str(data)[: self.cut] if is_number else data)


class DiagnosticsInput(StrictSerializer):
    """What failed: no ids. Texts that are too long are cut."""

    ignored = frozenset()  # `errMsg` is a field here, not what `wx` adds to a result

    where = CutCharField(
        MAX_WORD,
        **NEEDED,
        help_text=_("which call, such as getGroupEnterInfo"),
    )
    code = CutCharField(
        MAX_WORD,
        **NEEDED,
        help_text=_("the `code` of the client kit's error"),
    )
    errMsg = CutCharField(MAX_ERR_MSG, help_text=_("WeChat's words; ids in them are masked"))
    errno = ErrnoField(MAX_ERRNO)
    scene = StrictIntegerField(required=False, allow_null=True, help_text=_("of the launch"))
    SDKVersion = CutCharField(MAX_WORD, help_text=_("of the base library"))
    platform = CutCharField(MAX_WORD)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        scene = attrs.get("scene") or 0
        return {
            "kind": {
                "call": attrs["where"],
                "code": attrs["code"],
                "scene": scene if 0 <= scene <= MAX_SCENE else 0,
                "platform": attrs.get("platform") or "",
                "sdk_version": attrs.get("SDKVersion") or "",
            },
            "example": {"err_msg": attrs.get("errMsg") or "", "errno": attrs.get("errno") or ""},
        }


class DiagnosticsView(JsonView):
    throttle_scope = "diagnostics"  # by address: no one logs in for it
    authentication_classes = ()
    permission_classes = (AllowAny,)

    @extend_schema(request=DiagnosticsInput, responses={204: None}, operation_id="diagnostics")
    def post(self, request: Request) -> Response:
        """Report what a phone could not do, for the operators; no ids."""
        body = self.read(DiagnosticsInput)
        count_failure(body["kind"], body["example"], self.now)
        return Response(status=status.HTTP_204_NO_CONTENT)
