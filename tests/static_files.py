"""Static files for a process that makes hundreds of browsers, each with middlewares of its own."""

from typing import Any, ClassVar

from whitenoise.middleware import WhiteNoiseMiddleware


class StaticListMiddleware(WhiteNoiseMiddleware):
    """Lists the static files once in a process; each browser took longer for it than most tests."""

    lists: ClassVar[dict[tuple[str, int], dict[str, Any]]] = {}

    def add_files_from_finders(self) -> None:
        key = (self.static_prefix, self.max_age)
        if key not in self.lists:
            super().add_files_from_finders()
            self.lists[key] = self.files
        self.files = self.lists[key]
