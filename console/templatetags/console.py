from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

register = template.Library()


@register.filter
def code(text: str) -> SafeString:
    """Show what stands between backticks as code: the causes are written for docs/ as well."""
    plain, *rest = str(text).split("`")
    if len(rest) % 2:
        return format_html("{}", text)
    pairs = zip(rest[::2], rest[1::2], strict=True)
    return format_html("{}{}", plain, format_html_join("", "<code>{}</code>{}", pairs))
