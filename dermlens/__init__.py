"""Dermlens: from an untrusted dermoscopic image to a trustworthy answer, without a GUI or training code."""
