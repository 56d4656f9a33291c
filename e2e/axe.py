"""Check the accessibility of a page with axe-core, against WCAG 2.2, levels A and AA."""

from pathlib import Path

from playwright.sync_api import Page

SOURCE = Path(__file__).parent.parent / "miniprogram/node_modules/axe-core/axe.min.js"
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def violations(page: Page) -> list[str]:
    """Return a line for each violated rule, with the first elements that violate it."""
    page.evaluate(SOURCE.read_text())
    found = page.evaluate("tags => axe.run({runOnly: tags})", TAGS)["violations"]
    return [f"{rule['id']}: {[node['target'] for node in rule['nodes'][:3]]}" for rule in found]
