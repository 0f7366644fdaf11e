"""about_data."""

from ui import widgets

widgets.head("about_data", "x")
