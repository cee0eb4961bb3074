"""The posterior of linear weights, one vector a candidate and a part that all share: from sums, in closed form.

A candidate has weights w_c = w_0 + v_c, with normal priors on w_0 (`share` of the prior variance) and v_c (the rest).
What all have in common, that a prompt is hard, is so learnt from every event, and a new candidate starts from it.
With G_c = sum w z z', b_c = sum w y z, prior precisions L0 and L1 (in units of the noise) and S_c = (G_c + L1)^-1,

    P   = L0 + sum_c (L1 - L1 S_c L1)            m_0 = P^-1 sum_c L1 S_c b_c
    m_c = S_c (b_c + L1 (m_0 + prior_c))         cov_c = noise^2 (S_c + S_c L1 P^-1 L1 S_c)

which costs one d x d inverse a candidate and one more. A candidate's prior moves its own intercept only, so its
prediction does not depend on which others are asked about.

Source: hierarchical linear model, Gelman & Hill (2007), chapter 12; Lindley & Smith, JRSS B 34 (1972).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from ..types import Array

Stack = tuple[Array, Array, NDArray[np.float32] | None]


@dataclass(frozen=True)
class Posterior:
    """Per candidate (axis 0; the last row is one never seen): mean (k, d), pull (k, d), covariance (k, d, d).

    `pull` is how far the weights move per unit of the candidate's prior. The covariance is float32, since it is what a
    request reads most; it may be left out where only means are asked for. `stacks` keeps the arrays of recently asked
    pools side by side.
    """

    rows: dict[str, int]
    mean: Array
    pull: Array
    covariance: NDArray[np.float32] | None
    stacks: dict[tuple[str, ...], Stack] = field(default_factory=dict)

    def predict(self, z: Array, candidates: Sequence[str], shift: Array) -> tuple[Array, Array]:
        """Mean and variance (n, k) for rows z (n, d) whose first column is 1; `shift` (k,) are the priors."""
        _, _, covariance = self._stack(tuple(candidates))
        assert covariance is not None
        narrow = z.astype(np.float32)
        rotated = (narrow @ covariance).reshape(len(z), len(candidates), -1)
        variance = np.matmul(rotated, narrow[:, :, None])[:, :, 0].astype(np.float64)
        return self.expect(z, candidates, shift), np.maximum(variance, 0.0)

    def expect(self, z: Array, candidates: Sequence[str], shift: Array) -> Array:
        """The mean alone, which costs a fraction."""
        mean, pull, _ = self._stack(tuple(candidates))
        return np.asarray(z @ (mean + pull * shift))

    def _stack(self, candidates: tuple[str, ...]) -> Stack:
        """Weights (d, k), pulls (d, k) and covariances (d, k x d) of one pool."""
        stack = self.stacks.get(candidates)
        if stack is None:
            rows = [self.rows.get(name, -1) for name in candidates]
            covariance = self.covariance
            if covariance is not None:
                covariance = covariance[rows].transpose(1, 0, 2).reshape(self.mean.shape[1], -1)
            stack = self.mean[rows].T.copy(), self.pull[rows].T.copy(), covariance
            if len(self.stacks) >= 16:
                self.stacks.clear()
            self.stacks[candidates] = stack
        return stack


def posterior(
    names: Sequence[str],
    gram: Array,
    moment: Array,
    spread: Array,
    noise: float,
    share: float,
    with_covariance: bool = True,
) -> Posterior:
    """From sums (k, d, d) and (k, d); `spread` (d,) is the prior variance of each weight, `noise` the targets' std.

    Callers give the names sorted, so that no order of arrival matters.
    """
    own = noise**2 / (spread * (1.0 - share))
    inverse = np.linalg.inv(gram + np.diag(own))
    inverse = 0.5 * (inverse + inverse.transpose(0, 2, 1))
    common, common_inverse = np.zeros(len(spread)), np.zeros((len(spread), len(spread)))
    if share > 0.0:
        precision = np.diag(noise**2 / (spread * share)) + len(names) * np.diag(own)
        common_inverse = np.linalg.inv(precision - own[:, None] * inverse.sum(axis=0) * own)
        common = common_inverse @ (own * np.matmul(inverse, moment[:, :, None])[:, :, 0].sum(axis=0))
    inverse = np.concatenate([inverse, np.diag(1.0 / own)[None]])
    moment = np.concatenate([moment, np.zeros((1, len(spread)))])
    reach = inverse * own
    covariance = None
    if with_covariance:
        covariance = (noise**2 * (inverse + reach @ common_inverse @ reach.transpose(0, 2, 1))).astype(np.float32)
    return Posterior(
        {name: row for row, name in enumerate(names)},
        np.matmul(inverse, (moment + own * common)[:, :, None])[:, :, 0],
        reach[:, :, 0].copy(),  # not a view, which would keep all of it
        covariance,
    )
