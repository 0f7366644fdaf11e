"""compare."""

from ui import widgets

widgets.head("compare", "x")
