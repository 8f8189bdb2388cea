"""Structural equation models whose structure is uncertain: data in, a posterior over DAGs out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from causalif.discovery.linear_sem import LinearSEM
from causalif.discovery.spline_sem import SplineSEM

if TYPE_CHECKING:
    from causalif.discovery.flow_sem import FlowSEM

__all__ = ["FlowSEM", "LinearSEM", "SplineSEM"]


def __getattr__(name: str) -> Any:
    if name == "FlowSEM":  # torch is only imported for it
        from causalif.discovery.flow_sem import FlowSEM

        return FlowSEM
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
