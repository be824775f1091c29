"""Error rates at every threshold: ROC, DET, the equal error rate, and thresholds for a wanted rate."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from visavis.errors import InputError

__all__ = ["ErrorCurve", "equal_error_rate"]

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ErrorCurve:
    """Error rates at thresholds.

    Attributes
    ----------
    thresholds
        Float64 ``(k,)``, rising; the last lies above every similarity.
    mated_accepted, nonmated_accepted
        Int64 ``(k,)``: how many pairs reach each threshold.
    mated, nonmated
        How many pairs there are.
    """

    thresholds: Floats
    mated_accepted: Counts
    nonmated_accepted: Counts
    mated: int
    nonmated: int

    @classmethod
    def of(cls, mated: npt.ArrayLike, nonmated: npt.ArrayLike) -> ErrorCurve:
        """Return the curve through every similarity that occurs.

        Examples
        --------
        >>> curve = ErrorCurve.of([0.9, 0.6, 0.4], [0.5, 0.1])
        >>> curve.thresholds[:-1].tolist()
        [0.1, 0.4, 0.5, 0.6, 0.9]
        >>> curve.fmr.tolist()
        [1.0, 0.5, 0.5, 0.0, 0.0, 0.0]
        """
        yes, no = np.sort(np.asarray(mated, np.float64)), np.sort(np.asarray(nonmated, np.float64))
        if not len(yes) or not len(no):
            raise InputError(f"an error curve needs mated and non-mated pairs, not {len(yes)} and {len(no)}")
        found = np.unique(np.concatenate([yes, no]))
        thresholds = np.append(found, np.nextafter(found[-1], np.inf))
        counts = [(len(some) - np.searchsorted(some, thresholds)).astype(np.int64) for some in (yes, no)]
        return cls(thresholds, counts[0], counts[1], len(yes), len(no))

    @property
    def fmr(self) -> Floats:
        """False match rate at each threshold, falling."""
        return self.nonmated_accepted / self.nonmated

    @property
    def fnmr(self) -> Floats:
        """False non-match rate at each threshold, rising."""
        return 1 - self.mated_accepted / self.mated

    def roc(self) -> tuple[Floats, Floats]:
        """Return FMR and TAR from (0, 0) to (1, 1)."""
        return self.fmr[::-1], 1 - self.fnmr[::-1]

    def det(self) -> tuple[Floats, Floats]:
        """Return FMR, rising, and FNMR."""
        return self.fmr[::-1], self.fnmr[::-1]

    def eer(self) -> tuple[float, float]:
        """Return the equal error rate and a threshold for it; between thresholds the curve is taken to be straight.

        Examples
        --------
        >>> ErrorCurve.of([0.9, 0.8, 0.4, 0.7], [0.5, 0.1, 0.2, 0.3]).eer()
        (0.25, 0.5)
        """
        rate, at = equal_error_rate(self.fmr[::-1], self.fnmr[::-1])
        return rate, float(self.thresholds[::-1][at])

    def auc(self) -> float:
        """Return the area under the ROC curve: how often a mated pair beats a non-mated one, ties counting half."""
        fmr, tar = self.roc()
        return float(np.sum(np.diff(fmr) * (tar[1:] + tar[:-1])) / 2)

    def threshold_at_fmr(self, fmr: float) -> float:
        """Return the least of the thresholds that no more than ``fmr`` of the non-mated pairs reach."""
        return float(self.thresholds[self._at(fmr)])

    def fnmr_at_fmr(self, fmr: float) -> float:
        """Return the FNMR at that threshold."""
        return 1 - self.tar_at_far(fmr)

    def tar_at_far(self, far: float) -> float:
        """Return the true accept rate where no more than ``far`` of the non-mated pairs are accepted."""
        return float(self.mated_accepted[self._at(far)] / self.mated)

    def at(self, threshold: float) -> tuple[float, float]:
        """Return FMR and FNMR at the curve's least threshold that is not below ``threshold``."""
        i = min(int(np.searchsorted(self.thresholds, threshold)), len(self.thresholds) - 1)
        return float(self.fmr[i]), float(self.fnmr[i])

    def thinned(self, points: int = 1000) -> ErrorCurve:
        """Return a curve of about so many thresholds, for drawing: dense where one of the rates is small."""
        k = len(self.thresholds)
        if k <= points:
            return self
        keep = [np.array([0, k - 1])]
        for accepted in (self.nonmated_accepted, self.mated - self.mated_accepted):
            logs = np.log(np.maximum(accepted, 0.5))
            order = logs if logs[0] <= logs[-1] else logs[::-1]
            found = np.searchsorted(order, np.linspace(order[0], order[-1], points // 3)).clip(0, k - 1)
            keep.append(found if order is logs else k - 1 - found)
        keep.append(
            np.searchsorted(self.thresholds, np.linspace(self.thresholds[0], self.thresholds[-1], points // 3)).clip(
                0, k - 1
            )
        )
        rows = np.unique(np.concatenate(keep))
        return ErrorCurve(
            self.thresholds[rows], self.mated_accepted[rows], self.nonmated_accepted[rows], self.mated, self.nonmated
        )

    def _at(self, fmr: float) -> int:
        if not 0 <= fmr <= 1:
            raise InputError(f"a false match rate lies in 0..1, not {fmr}")
        return int(np.argmax(self.nonmated_accepted <= fmr * self.nonmated * (1 + 1e-12)))


def equal_error_rate(fmr: Floats, fnmr: Floats) -> tuple[float, int]:
    """Return where two error rates cross, the first rising and the other falling, and the first point not before it.

    Between points both are taken to be straight.
    """
    at = int(np.argmax(fmr >= fnmr))
    if at == 0:
        return float(fmr[0]), 0
    before, after = fnmr[at - 1] - fmr[at - 1], fmr[at] - fnmr[at]
    share = before / (before + after)
    return float(fmr[at - 1] + share * (fmr[at] - fmr[at - 1])), at
