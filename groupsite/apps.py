from django.apps import AppConfig
from django.conf import settings

from . import reports


class GroupsiteConfig(AppConfig):
    name = "groupsite"

    def ready(self) -> None:
        from . import checks, examinations  # noqa: F401

        # If there is a problem, a check says so and nothing is served.
        if settings.SENTRY_DSN and not reports.problem_with(settings.SENTRY_DSN):
            reports.start(settings.SENTRY_DSN)
