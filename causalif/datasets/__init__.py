"""Real tables with their provenance, and seeded simulations whose true answers are known exactly."""

from causalif.datasets.sem_designs import (
    SimulatedSEM,
    simulate_null_sem,
    simulate_random_sem,
    simulate_sem1,
    simulate_sem2,
)
from causalif.datasets.simulations import (
    Simulation,
    simulate_confounded,
    simulate_invalid_iv_binary,
    simulate_invalid_iv_continuous,
    simulate_multilevel_iv,
    simulate_noncompliance,
    simulate_wcde,
    simulate_wcde_continuous,
    simulate_weak_iv,
)
from causalif.datasets.tables import load_401k, load_card, load_loanapp, load_nhefs, load_nsw

__all__ = [
    "SimulatedSEM",
    "Simulation",
    "load_401k",
    "load_card",
    "load_loanapp",
    "load_nhefs",
    "load_nsw",
    "simulate_confounded",
    "simulate_invalid_iv_binary",
    "simulate_invalid_iv_continuous",
    "simulate_multilevel_iv",
    "simulate_noncompliance",
    "simulate_null_sem",
    "simulate_random_sem",
    "simulate_sem1",
    "simulate_sem2",
    "simulate_wcde",
    "simulate_wcde_continuous",
    "simulate_weak_iv",
]
