"""Parametric working models: formulas, fits, and the sandwich of stacked estimating equations."""
