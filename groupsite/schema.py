"""OpenAPI from the code: what every call has in common is added here."""

from typing import Any, Literal

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _
from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import PolymorphicProxySerializer
from rest_framework import serializers

from core.schema import tell_spectacular
from core.serializers import StrictCharField, StrictSerializer

from .errors import CATALOGUE


class ErrorOutput(serializers.Serializer[Any]):
    code = serializers.ChoiceField([(row.code, row.when) for row in CATALOGUE])
    detail = serializers.CharField(help_text=_("A sentence in the request's language."))
    requestId = serializers.CharField()
    fields = serializers.DictField(  # type: ignore[assignment]
        child=serializers.ListField(child=serializers.CharField()), required=False
    )
    retryAfter = serializers.IntegerField(required=False, help_text=_("seconds"))


class ApiGenerator(SchemaGenerator):
    """Makes the schema with what `core.schema` keeps."""

    def get_schema(self, *args: Any, **kwargs: Any) -> Any:
        tell_spectacular()
        return super().get_schema(*args, **kwargs)  # type: ignore[no-untyped-call]


class ApiSchema(AutoSchema):
    """Adds the error object to every call as its `default` response, and to inputs what serializers
    enforce: no unknown key, no empty text, no text that does not match its pattern."""

    def _map_basic_serializer(self, serializer: Any, direction: Any) -> dict[str, Any]:
        schema: dict[str, Any] = super()._map_basic_serializer(serializer, direction)  # type: ignore[no-untyped-call]
        if isinstance(serializer, StrictSerializer):
            schema["properties"] |= {
                key: {"description": gettext("ignored")} for key in sorted(serializer.ignored)
            }
            schema["additionalProperties"] = False
        return schema

    def _map_serializer_field(
        self, field: Any, direction: Any, bypass_extensions: bool = False
    ) -> Any:
        schema = super()._map_serializer_field(field, direction, bypass_extensions)  # type: ignore[no-untyped-call]
        return schema | refused_by(field) if isinstance(field, StrictCharField) else schema

    def _get_request_for_media_type(
        self, serializer: Any, direction: Literal["request", "response"] = "request"
    ) -> tuple[Any, bool]:
        """Require a body where it has several forms, one of which must be sent, or is a file."""
        schema, required = super()._get_request_for_media_type(serializer, direction)  # type: ignore[no-untyped-call]
        is_sent = isinstance(serializer, PolymorphicProxySerializer | OpenApiTypes)
        return schema, required or is_sent

    def _get_response_bodies(
        self, direction: Literal["request", "response"] = "response"
    ) -> dict[str, Any]:
        bodies: dict[str, Any] = super()._get_response_bodies(direction)
        if self.path.startswith("/api/v1/"):
            bodies["default"] = self._get_response_for_code(ErrorOutput, "default")  # type: ignore[no-untyped-call]
        return bodies


def refused_by(field: StrictCharField) -> dict[str, Any]:
    """Return, as JSON Schema, what `field` refuses without drf-spectacular's knowledge."""
    if field.pattern:
        return {"pattern": field.pattern}
    if field.allow_blank:
        return {}
    return {"minLength": 1} | ({"pattern": r"\S"} if field.trim_whitespace else {})


class BearerScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "accounts.authentication.BearerAuthentication"
    name = "bearer"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": gettext("The `token` that a log-in answered."),
        }


class KeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "groups.authentication.KeyAuthentication"
    name = "serverKey"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "header",
            "name": "Authorization",
            "description": gettext("`Key <server key>`; operators make the keys in the console."),
        }
