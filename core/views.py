"""The base of every call of the API."""

from datetime import datetime
from functools import lru_cache
from typing import Any, ClassVar

from django.utils import timezone
from django.utils.functional import cached_property
from rest_framework import serializers, status
from rest_framework.response import Response
from rest_framework.views import APIView

Serializer = type[serializers.Serializer[Any]]


def _validated(serializer: Serializer, data: Any, **context: Any) -> dict[str, Any]:
    checked = serializer(data=data, context=context)
    checked.is_valid(raise_exception=True)
    return dict(checked.validated_data)


@lru_cache(maxsize=200)
def _validated_query(serializer: Serializer, *items: tuple[str, str]) -> dict[str, Any]:
    """Validate a query string, which many send alike; what is refused is not remembered."""
    return _validated(serializer, dict(items))


class JsonView(APIView):
    """A call that reads bodies and queries, and writes answers, through serializers."""

    http_method_names = ["get", "head", "post", "put", "delete"]  # all that wx.request knows

    # Methods that ask WeChat, draw pictures or read a great deal: they have a lower limit.
    costly: ClassVar[set[str]] = set()

    @cached_property
    def now(self) -> datetime:
        """Return the moment that all of this answer is about."""
        return timezone.now()

    def read(self, serializer: Serializer) -> dict[str, Any]:
        """Return the validated body. Raises ValidationError."""
        return _validated(serializer, self.request.data, request=self.request)

    def query(self, serializer: Serializer) -> dict[str, Any]:
        """Return the validated query string. Raises ValidationError."""
        return dict(_validated_query(serializer, *self.request.query_params.dict().items()))

    def answer(
        self, serializer: Serializer, value: Any, code: int = status.HTTP_200_OK
    ) -> Response:
        """Return `value` as `serializer` writes it, with the status `code`."""
        return Response(serializer(value, context={"request": self.request}).data, code)
