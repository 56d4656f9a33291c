from django.apps import AppConfig


class GroupsiteConfig(AppConfig):
    name = "groupsite"

    def ready(self) -> None:
        from . import checks  # noqa: F401
