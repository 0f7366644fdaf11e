"""training_curves."""

from ui import widgets

widgets.head("training_curves", "x")
