"""Checks that outside estimands can be held to as well."""

from causalif.testing.derivative import EstimandReport, check_estimand, random_law

__all__ = ["EstimandReport", "check_estimand", "random_law"]
