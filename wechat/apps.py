from django.apps import AppConfig


class WechatConfig(AppConfig):
    name = "wechat"
    verbose_name = "WeChat"

    def ready(self) -> None:
        from . import checks, examinations  # noqa: F401
