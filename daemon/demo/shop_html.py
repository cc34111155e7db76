"""Makes descriptions from a foreign system safe to show.

Invariant: the result holds only the tags and attributes listed here, every tag is closed, and no text is lost but that
of scripts, styles and the like. What comes out is safe as the content of a block element.
"""

from __future__ import annotations

from html import escape
from html.parser import HTMLParser
from typing import Final

_TAGS: Final = frozenset(
    {
        *("p", "br", "hr", "h2", "h3", "h4", "h5", "div", "span", "blockquote", "pre", "code", "a"),
        *("ul", "ol", "li", "dl", "dt", "dd", "strong", "b", "em", "i", "u", "s", "small", "sub", "sup"),
        *("table", "thead", "tbody", "tr", "th", "td"),
    }
)
_VOID: Final = frozenset({"br", "hr"})
_SILENT: Final = frozenset({"script", "style", "template", "noscript", "iframe", "object", "svg", "math", "title"})
_SCHEMES: Final = ("https://", "http://", "mailto:", "tel:")


class _Cleaner(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.parts: list[str] = []
        self.open: list[str] = []
        self.silent: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if self.silent or tag in _SILENT:
            if tag in _SILENT:
                self.silent.append(tag)
            return
        if tag not in _TAGS:
            return
        if tag == "a":
            target = next((value for name, value in attrs if name == "href" and value), "")
            link = target.strip()
            if link.lower().startswith(_SCHEMES):
                self.parts.append(f'<a href="{escape(link)}" rel="noopener noreferrer nofollow">')
            else:
                self.parts.append("<a>")
        else:
            self.parts.append(f"<{tag}>")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _SILENT:
            self.handle_starttag(tag, attrs)
            if tag not in _VOID:
                self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        if self.silent:
            if tag == self.silent[-1]:
                self.silent.pop()
            return
        if tag in self.open:
            while True:
                last = self.open.pop()
                self.parts.append(f"</{last}>")
                if last == tag:
                    return

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.parts.append(escape(data, quote=False))


def safe_html(text: str) -> str:
    """The description without anything that could act, load or escape from its place."""
    cleaner = _Cleaner()
    cleaner.feed(text)
    cleaner.close()
    return "".join(cleaner.parts) + "".join(f"</{tag}>" for tag in reversed(cleaner.open))
