"""Fetch, split and audit HAM10000."""
