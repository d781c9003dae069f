"""Requests that aren't answered, and why."""

from __future__ import annotations


class Unanswerable(ValueError):
    """A request whose fields make no sense."""


class Superseded(Exception):
    """A later request of the same client has taken the place of this one."""
