"""Readouts in; tables, figures and the page out."""
