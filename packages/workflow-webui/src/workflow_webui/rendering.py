"""HTML out of templates; every value is escaped, there is no way around it."""

from __future__ import annotations

import hashlib
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from workflow_webui import words
from workflow_webui.security.access import TokenAuth
from workflow_webui.ui import Ask
from workflow_webui.users import Right

__all__ = ["asset", "render"]


def render(template: str, **values: Any) -> str:
    """The page. Any thread."""
    return _environment().get_template(template).render(**values)


@cache
def asset(name: str) -> bytes:
    """A file that pages load; all are in the wheel."""
    return resources.files("workflow_webui").joinpath("static", name).read_bytes()


@cache
def _version(name: str) -> str:
    """So that a browser keeps an asset for long, and never an old one."""
    return hashlib.sha256(asset(name)).hexdigest()[:12]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("workflow_webui", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        ago=words.ago,
        clean=words.clean,
        count=words.count,
        exact=words.exact,
        span=words.length,
        state_words=words.state_words,
        css=_css,
        capitalize_first=lambda text: text[:1].upper() + text[1:],
    )
    environment.globals.update(
        Right=Right,
        version_of=_version,
        icon=_icon,
        nav_items=_nav_items,
        may_log_out=_may_log_out,
        told_verb=words.VERBS.__getitem__,
        explained_verb=words.EXPLAINED.__getitem__,
        told_status=words.told_status,
        type_name=words.type_name,
    )
    return environment


def _nav_items(ask: Ask) -> list[tuple[str, str, str, str]]:
    """Key, path, icon and words of each page of the navigation."""
    return [
        ("overview", "/", "overview", "Overview"),
        ("runs", "/runs", "runs", "Runs"),
        ("graph", "/workflows", "graph", "Workflows"),
        ("schedules", "/schedules", "schedule", "Schedules"),
        ("flow", "/flow", "flow", "Outbox and lag"),
        ("letters", "/letters", "letters", "Dead letters"),
        ("bulk", "/bulk", "bulk", "Bulk actions"),
        ("audit", "/audit", "audit", "Audit"),
    ]


def _may_log_out(ask: Ask) -> bool:
    return isinstance(ask.ui.auth, TokenAuth)


def _css(text: str) -> str:
    """Part of a class's name: nothing but letters, digits and hyphens."""
    return "".join(c if c.isascii() and c.isalnum() else "-" for c in text.lower())


@cache
def _icon(name: str) -> Markup:
    """A drawing of ours; a constant, so it may be marked as safe."""
    return Markup(f'<svg class="icon" viewBox="0 0 16 16" aria-hidden="true">{_ICONS[name]}</svg>')


_ICONS = {
    "overview": '<path d="M2 2h5v7H2zM9 2h5v4H9zM9 8h5v6H9zM2 11h5v3H2z"/>',
    "runs": '<path d="M2 3h12v2H2zM2 7h12v2H2zM2 11h12v2H2z"/>',
    "graph": '<path d="M2 2h4v4H2zM10 10h4v4h-4zM10 2h4v4h-4zM6 3.4h4v1.2H6zM11.4 6h1.2v4h-1.2z"/>',
    "schedule": '<path d="M8 1.5a6.5 6.5 0 1 0 0 13 6.5 6.5 0 0 0 0-13zm0 1.5a5 5 0 1 1 0 10A5 5 0 '
    '0 1 8 3zm-.7 1.6v3.7l2.8 1.7.7-1.1-2.2-1.3V4.6z"/>',
    "flow": '<path d="M1 7h8V3.5L15 8l-6 4.5V9H1z"/>',
    "letters": '<path d="M1.5 3h13v10h-13zM3 4.6v.5l5 3.4 5-3.4v-.5zm10 2.3L8 10.3 3 6.9v4.5'
    'h10z"/>',
    "audit": '<path d="M3 1.5h7l3 3v10H3zm1.5 1.5v10h7V5.6H9V3zM6 7.5h4v1.2H6zM6 10h4v1.2H6z"/>',
    "bulk": '<path d="M2 2h9v9H2zm1.4 1.4v6.2h6.2V3.4zM12 5h2v9H5v-2h7z"/>',
}
