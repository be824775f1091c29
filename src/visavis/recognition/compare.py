"""Similarity, thresholds and what they are worth: cosine scores to decisions with a stated error rate.

Words are those of ISO/IEC 19795-1: FMR is the share of non-mated comparisons that reach the threshold, FPIR the
share of probes of people who are not in the gallery that return a candidate all the same.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visavis.errors import CalibrationError, InputError
from visavis.models.cards import Calibration
from visavis.types import Embeddings, FloatArray, Verification

__all__ = [
    "DEFAULT_FMR",
    "DEFAULT_FPIR",
    "CalibrationWarning",
    "OperatingPoint",
    "fmr_at",
    "fmr_for_fpir",
    "fpir_of",
    "operating_point",
    "similarity",
    "threshold_at",
    "verification",
]

DEFAULT_FMR = 1e-4
DEFAULT_FPIR = 0.01


class CalibrationWarning(UserWarning):
    """The error rate asked for lies outside what was measured; the result says which rate holds instead."""


def similarity(a: Embeddings, b: Embeddings) -> FloatArray:
    """Return the cosine similarity of every row of ``a`` with every row of ``b``.

    Parameters
    ----------
    a, b
        Embeddings of n and m rows of the same model.

    Returns
    -------
    Float32 ``(n, m)``, -1..1, higher is closer.

    Raises
    ------
    ModelMismatch
        If the embeddings come from different models or variants.

    Examples
    --------
    >>> import numpy as np
    >>> a = Embeddings(np.array([[1.0, 0.0]], np.float32), "sface")
    >>> similarity(a, a)
    array([[1.]], dtype=float32)
    """
    a.require_same_model(b)
    product: FloatArray = np.clip(a.vectors @ b.vectors.T, -1.0, 1.0)
    return product


def fmr_at(calibration: Calibration, at: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Return the false match rate of a threshold at each similarity ``at``.

    Between measured points the logarithm of the rate is interpolated linearly. Above the strictest point the rate
    of that point is returned (an upper bound); below the loosest, 1.

    Examples
    --------
    >>> import numpy as np
    >>> table = Calibration("m", "toy", 10, 100, np.array([0.1, 0.3]), np.array([1e-1, 1e-3]))
    >>> float(fmr_at(table, 0.2).round(4))
    0.01
    """
    values = np.asarray(at, dtype=np.float64)
    rates = np.exp(np.interp(values, calibration.similarities, np.log(calibration.fmr)))
    rates = np.clip(rates, calibration.fmr[-1], calibration.fmr[0])  # the detour over logarithms rounds
    return np.where(values < calibration.similarities[0], 1.0, rates)


def threshold_at(calibration: Calibration, fmr: float) -> float:
    """Return the similarity threshold whose measured false match rate is ``fmr``.

    Raises
    ------
    InputError
        If ``fmr`` is not in 0..1.
    CalibrationError
        If it lies outside the measured range.
    """
    if not 0 < fmr < 1:
        raise InputError(f"fmr must lie between 0 and 1, not {fmr}")
    strictest, loosest = float(calibration.fmr[-1]), float(calibration.fmr[0])
    if not strictest * (1 - 1e-9) <= fmr <= loosest * (1 + 1e-9):
        own = f", or drop your own measurement: visavis calibrate --remove {calibration.model.partition('+')[0]}"
        raise CalibrationError(
            f"FMR {fmr:.3g} was not measured for {calibration.model!r}: {calibration.data} covers "
            f"{strictest:.3g} to {loosest:.3g}; ask within that range or give a threshold"
            f"{own if calibration.measured else ''}"
        )
    return float(np.interp(-math.log(fmr), -np.log(calibration.fmr), calibration.similarities))


def fpir_of(fmr: float, templates: int) -> float:
    """Return the false positive identification rate over ``templates`` independent comparisons at ``fmr``.

    ``1 - (1 - fmr)**templates`` (ISO/IEC 19795-1, annex on identification from verification). Several templates of
    one subject are not independent, so this is an upper bound for such a gallery.

    Examples
    --------
    >>> round(fpir_of(1e-4, 100), 5)
    0.00995
    """
    return -math.expm1(templates * math.log1p(-fmr)) if fmr < 1 else 1.0


def fmr_for_fpir(fpir: float, templates: int) -> float:
    """Return the FMR at which ``templates`` comparisons reach ``fpir``: the inverse of `fpir_of`.

    Examples
    --------
    >>> round(fmr_for_fpir(0.01, 100), 7)
    0.0001005
    """
    if not 0 < fpir < 1:
        raise InputError(f"fpir must lie between 0 and 1, not {fpir}")
    return -math.expm1(math.log1p(-fpir) / max(templates, 1))


@dataclass(frozen=True)
class OperatingPoint:
    """A threshold and the error rates it stands for (None where they were not measured)."""

    threshold: float
    fmr: float | None
    fpir: float | None = None


def operating_point(
    calibration: Calibration | None,
    *,
    fmr: float | None = None,
    fpir: float | None = None,
    threshold: float | None = None,
    templates: int | None = None,
    model: str = "this model",
) -> OperatingPoint:
    """Turn exactly one of ``fmr``, ``fpir`` or ``threshold`` into a threshold with its error rates.

    Parameters
    ----------
    calibration
        The model's measured table, or None; without one only ``threshold`` can be used, and its rates are unknown.
    fmr, fpir, threshold
        What the caller fixes. ``fpir`` needs ``templates``, the number of templates searched.
    model
        Named in the error where there is no calibration.

    Raises
    ------
    InputError
        If not exactly one is given or it is out of range.
    CalibrationError
        If the model was not calibrated, or not at that FMR.

    Warns
    -----
    CalibrationWarning
        If ``fpir`` needs a stricter FMR than was measured: the strictest measured threshold is used, and the FPIR
        of the result says what that gives.
    """
    given = [name for name, value in (("fmr", fmr), ("fpir", fpir), ("threshold", threshold)) if value is not None]
    if len(given) != 1:
        raise InputError(f"give one of fmr, fpir or threshold, not {' and '.join(given) or 'none'}")
    if threshold is not None:
        if not -1 <= threshold <= 1:
            raise InputError(f"threshold is a cosine similarity, -1..1, not {threshold}")
        rate = None if calibration is None else float(fmr_at(calibration, threshold))
        return OperatingPoint(float(threshold), rate, _fpir(rate, templates))
    if calibration is None:
        name, _, points = model.partition("@")
        laid = f" with crops laid by {points}" if points else ""
        raise CalibrationError(f"{name!r}{laid} has no calibration, so its error rates are unknown; give a threshold")
    if fpir is not None:
        if templates is None:
            raise InputError("fpir needs the number of templates searched")
        fmr = min(fmr_for_fpir(fpir, templates), float(calibration.fmr[0]))
        strictest = float(calibration.fmr[-1])
        if fmr < strictest * (1 - 1e-9):
            reached = fpir_of(strictest, templates)
            warnings.warn(
                f"FPIR {fpir:.2g} over {templates} templates needs FMR {fmr:.1e}, but {calibration.data} measures "
                f"down to {strictest:.0e} only; using that threshold, whose FPIR here is {reached:.2g}",
                CalibrationWarning,
                stacklevel=3,
            )
            fmr = strictest
    assert fmr is not None
    return OperatingPoint(threshold_at(calibration, fmr), fmr, _fpir(fmr, templates))


def _fpir(fmr: float | None, templates: int | None) -> float | None:
    return None if fmr is None or templates is None else fpir_of(fmr, templates)


def verification(
    a: Embeddings,
    b: Embeddings,
    calibration: Calibration | None,
    *,
    fmr: float | None = None,
    threshold: float | None = None,
    calibrated_as: str | None = None,
) -> Verification:
    """Decide whether two one-row embeddings are of one person.

    ``fmr`` defaults to `DEFAULT_FMR`; without a calibration ``threshold`` must be given, which the error says of
    ``calibrated_as``, or of the embeddings' model.
    """
    if len(a) != 1 or len(b) != 1:
        raise InputError(f"verification compares one face with one face, not {len(a)} with {len(b)}")
    if fmr is None and threshold is None:
        fmr = DEFAULT_FMR
    point = operating_point(calibration, fmr=fmr, threshold=threshold, model=calibrated_as or a.model)
    score = float(similarity(a, b)[0, 0])
    at = None if calibration is None else float(fmr_at(calibration, score))
    return Verification(score, point.threshold, score >= point.threshold, point.fmr, at, a.model)
