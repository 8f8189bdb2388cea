"""Which formula every working model uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from causalif._errors import InputError
from causalif.engine.parametric.formulas import quoted


def default_formulas(adjust: Sequence[str], instrument: str, *, binary: bool) -> dict[str, str]:
    """Formulas used where none is given.

    Parameters
    ----------
    adjust : sequence of str
        Covariates.
    instrument : str
        Name of the instrument.
    binary : bool
        Whether the treatment is binary; then its variance follows from its mean.

    Returns
    -------
    dict of str to str

    Notes
    -----
    Main effects everywhere. The treatment and outcome models also let the instrument interact with every covariate,
    because D = V_1 - V_0 and the direct effect g_1 - g_0 live in those interactions. The variance model has none: one
    log-linear model in Z and X jointly keeps D stable.

    Examples
    --------
    >>> default_formulas(["age"], "z", binary=True)["treatment"]
    '~ `z` * (`age`)'
    """
    main = " + ".join(quoted(name) for name in adjust)
    with_z = f"~ {quoted(instrument)} * ({main})" if adjust else f"~ {quoted(instrument)}"
    plain = f"~ {main}" if adjust else "~ 1"
    chosen = {"instrument": plain, "treatment": with_z}
    if not binary:
        chosen["variance"] = f"~ {quoted(instrument)} + {main}" if adjust else with_z
    return {**chosen, "effect": plain, "confounding": plain, "outcome": with_z}


def resolved_formulas(
    given: Mapping[str, str] | None, adjust: Sequence[str], instrument: str, binary: bool
) -> dict[str, str]:
    """Return the given formulas, and the default ones for the nuisances that have none."""
    chosen = default_formulas(adjust, instrument, binary=binary)
    unknown = sorted(set(given or {}) - set(chosen))
    if unknown == ["variance"]:
        raise InputError("`formulas` has 'variance', but a binary treatment's variance is mu(1 - mu). Leave it out.")
    if unknown:
        raise InputError(f"`formulas` has unknown names {unknown}. Known: {', '.join(chosen)}.")
    return {**chosen, **(given or {})}
