"""A headless Chromium that looks at our pages."""

from __future__ import annotations

from browsers import Browser, browser

__all__ = ["Browser", "browser"]
