"""Debiased, cross-fitted causal estimates with honest standard errors, through influence functions."""
