# SPDX-License-Identifier: Apache-2.0
"""Learning the wraps of a tape from its own recalls: how long a locate took says how far apart two places are.

A table that is 1 % off makes every order as bad as none, because the error adds up over the wraps; and LTFS does not
tell the table. So the scheduler compares each locate time with what it expected. Many hypotheses about the mean length
of the wraps run side by side; within each, the deviations of single wraps are a random walk that the times narrow down
(a Gaussian process, linearised at the current belief). The likeliest hypothesis gives the table.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np

from holdfast.scheduling.cost import LOCATE
from holdfast.scheduling.geometry import BANDS, Floats, MediaType, Places, WrapMap

_OUTLIER: Final = 0.02  # share of times that no model explains: retries, a drive that cleans itself
_SPAN: Final = 200.0  # seconds over which such times are spread
_FAR: Final = 4.0  # standard deviations; a time farther off says nothing about wraps, only about the hypothesis
_SURE: Final = 15.0  # a hypothesis this much less likely (natural logarithm) is dropped
_STREAMED: Final = 1.2  # times what could be read in the same time: not farther apart, and no locate was needed
KEPT: Final = 60  # observations; older ones are forgotten, so that a tape costs the same work for ever


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed of a kind of media before anything is measured: shares of a wrap, and seconds."""

    bias: float = 0.0  # wraps are longer than nominal by this share, in the mean
    spread: float = 0.01  # standard deviation of that share from tape to tape
    jitter: float = 0.01  # standard deviation of single wraps of a tape
    noise: float = 1.5  # standard deviation of a locate time
    hypotheses: int = 121


@dataclass(slots=True)
class _Hypothesis:
    bias: float
    likely: float  # logarithm
    slopes: list[tuple[float, float]] = field(default_factory=list)
    rest: list[float] = field(default_factory=list)  # seconds that deviations of wraps must explain
    used: list[int] = field(default_factory=list)  # numbers of the observations


def teaches(medium: MediaType, start: float, end: float, seconds: float) -> bool:
    """Say whether a way between two positions in bytes says anything of the wraps: it was not just read through."""
    return not 0 <= end - start <= _STREAMED * seconds * medium.rate


class Learner:
    """The belief about the wraps of one tape."""

    def __init__(self, medium: MediaType, prior: Prior | None = None) -> None:
        """Start from the nominal table and a prior."""
        self._medium = medium
        self._prior = prior or Prior()
        self._nominal = WrapMap.nominal(medium)
        self._points: list[tuple[float, float]] = []  # nominal coordinates, from and to
        spread = max(self._prior.spread, 1e-6)
        biases = self._prior.bias + np.linspace(-3.0, 3.0, self._prior.hypotheses) * spread
        self._step = 6.0 * spread / (self._prior.hypotheses - 1)
        self._known = [_Hypothesis(float(b), -0.5 * ((b - self._prior.bias) / spread) ** 2) for b in biases]
        self._table: WrapMap | None = None

    @property
    def count(self) -> int:
        """Observations so far, those forgotten left out."""
        return len(self._points)

    def observe(self, start: float, end: float, seconds: float) -> None:
        """Learn from one locate between two positions in bytes; the beginning of the tape is 0.

        What was read through rather than located, a short way forward, says nothing and is left out.
        """
        if not teaches(self._medium, start, end, seconds):
            return
        begun, reached = self._coordinate(start), self._coordinate(end)
        for hypothesis in self._known:
            self._update(hypothesis, begun, reached, seconds)
        self._points.append((begun, reached))
        best = max(hypothesis.likely for hypothesis in self._known)
        self._known = [hypothesis for hypothesis in self._known if hypothesis.likely > best - _SURE]
        self._table = None
        if len(self._points) > KEPT:
            self._forget()

    @property
    def table(self) -> WrapMap:
        """The table that the likeliest hypothesis gives."""
        if self._table is None:
            best = max(self._known, key=lambda hypothesis: hypothesis.likely)
            grid = np.arange(0.0, len(self._nominal.ends) * 1.1, 0.5)
            mean = self._mean(best, grid)
            reached = np.maximum.accumulate(grid / (1 + best.bias) + mean)
            wraps = np.arange(1, len(self._nominal.ends) + 1)
            ends = np.interp(wraps, reached, grid * self._medium.wrap)
            self._table = WrapMap(np.maximum.accumulate(ends + np.arange(len(ends))))  # a byte apart at least
        return self._table

    # ---- inside ----

    def _coordinate(self, position: float) -> float:
        return position / self._medium.wrap

    def _kernel(self, some: Floats, others: Floats) -> Floats:
        """Return the covariance of deviations: a random walk, and what is left between two hypotheses."""
        walk = self._prior.jitter**2 * np.minimum(some[:, None], others[None])
        left: Floats = walk + (self._step / 2) ** 2 * some[:, None] * others[None]
        return left

    def _weighed(self, hypothesis: _Hypothesis, at: Floats) -> tuple[Floats, Floats]:
        """Return the covariances of deviations at `at` with the observed times, and of the times among themselves."""
        points = np.array([self._points[number] for number in hypothesis.used])
        count = len(points)
        flat, weights = points.ravel(), np.array(hypothesis.slopes).ravel()
        cross = (self._kernel(at, flat) * weights).reshape(len(at), -1, 2).sum(axis=2)
        inner = (self._kernel(flat, flat) * weights[:, None] * weights[None]).reshape(count, 2, count, 2)
        return cross, inner.sum(axis=(1, 3)) + self._prior.noise**2 * np.eye(count)

    def _mean(self, hypothesis: _Hypothesis, at: Floats) -> Floats:
        """Return the expected deviations (wraps) at nominal coordinates, given what was observed."""
        if not hypothesis.used:
            return np.zeros(len(at))
        cross, inner = self._weighed(hypothesis, at)
        mean: Floats = cross @ np.linalg.solve(inner, np.array(hypothesis.rest))
        return mean

    def _deviation(self, hypothesis: _Hypothesis, at: Floats) -> tuple[Floats, Floats]:
        """Return the expected deviations and their covariance."""
        own = self._kernel(at, at)
        if not hypothesis.used:
            return np.zeros(len(at)), own
        cross, inner = self._weighed(hypothesis, at)
        solved = np.linalg.solve(inner, np.column_stack((hypothesis.rest, cross.T)))
        return cross @ solved[:, 0], own - cross @ solved[:, 1:]

    def _update(self, hypothesis: _Hypothesis, begun: float, reached: float, seconds: float) -> None:
        mean, spread = self._deviation(hypothesis, np.array([begun, reached]))
        places = np.array([begun, reached]) / (1 + hypothesis.bias) + mean
        expected, slopes = self._seconds(places)
        variance = float(slopes @ spread @ slopes) + self._prior.noise**2
        missed = seconds - expected
        fits = (1 - _OUTLIER) * np.exp(-0.5 * missed**2 / variance) / np.sqrt(2 * np.pi * variance)
        hypothesis.likely += float(np.log(fits + _OUTLIER / _SPAN))
        if abs(missed) <= _FAR * np.sqrt(variance):
            hypothesis.slopes.append((float(slopes[0]), float(slopes[1])))
            hypothesis.rest.append(missed + float(slopes @ mean))
            hypothesis.used.append(len(self._points))

    def _seconds(self, coordinates: Floats) -> tuple[float, Floats]:
        """Return the locate time between two coordinates (wraps), and how it changes with each."""
        inside = np.clip(coordinates, 0.0, len(self._nominal.ends) - 1e-9)
        index = inside.astype(np.int64)
        wrap = index + self._nominal.first
        forth = np.where(wrap % 2 == 0, 1.0, -1.0)
        x = np.where(forth > 0, inside - index, 1.0 - (inside - index))
        places = [Places(inside[n : n + 1], wrap[n : n + 1], x[n : n + 1]) for n in (0, 1)]
        band = (len(self._nominal.ends) + self._nominal.first) // BANDS
        # At a rate of next to nothing no way counts as streamed.
        seconds = float(LOCATE.seconds(places[0], places[1], band, 1e-12)[0])
        slope = LOCATE.full_length * (1.0 if x[1] >= x[0] else -1.0)
        return seconds, np.array([-slope * forth[0], slope * forth[1]])

    def _forget(self) -> None:
        """Forget the oldest observation."""
        self._points.pop(0)
        for hypothesis in self._known:
            if hypothesis.used and hypothesis.used[0] == 0:
                for kept in (hypothesis.used, hypothesis.slopes, hypothesis.rest):
                    kept.pop(0)
            hypothesis.used = [number - 1 for number in hypothesis.used]
