"""Plotly figures from finished results: nothing is computed here that a person would quote."""
