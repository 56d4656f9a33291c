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


def fits(page: Page) -> bool:
    """Return whether nothing reaches past the right edge of the page."""
    return page.evaluate("document.scrollingElement.scrollWidth <= innerWidth")


def faint_texts(page: Page) -> list[str]:
    """Return the texts whose contrast is too low for WCAG AA."""
    return page.evaluate(
        """() => {
          const rgb = css => css.match(/[\\d.]+/g).map(Number);
          const light = css => rgb(css).slice(0, 3)
            .map(v => v / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
            .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
          const solid = css => (rgb(css)[3] ?? 1) === 1;
          const background = el =>
            !el ? 'rgb(255, 255, 255)'
            : solid(getComputedStyle(el).backgroundColor) ? getComputedStyle(el).backgroundColor
            : background(el.parentElement);
          const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
          return [...document.body.querySelectorAll('*')]
            .filter(el => [...el.childNodes].some(n => n.nodeType === 3 && n.data.trim()))
            .filter(el => contrast(light(getComputedStyle(el).color), light(background(el))) < 4.5)
            .map(el => el.outerHTML);
        }"""
    )


def assert_readable(page: Page) -> None:
    assert fits(page)
    assert not (faint := faint_texts(page)), faint


def assert_accessible(page: Page, but: str = "none") -> None:
    """Assert that no rule is violated, `but` the one of that name."""
    assert fits(page)
    violated = [line for line in violations(page) if not line.startswith(f"{but}:")]
    assert not violated, violated
