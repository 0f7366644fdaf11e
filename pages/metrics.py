"""metrics."""

from ui import widgets

widgets.head("metrics", "x")
