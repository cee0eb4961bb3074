"""Muon in float32: momentum whose matrix updates are made orthogonal by a Newton-Schulz iteration.

PyTorch's own Muon iterates in bfloat16, which is many times slower than float32 on a CPU without bfloat16 units.
Source: Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


def orthogonalise(updates: Tensor) -> Tensor:
    """The nearest semi-orthogonal matrices to ``updates`` [count, out, in], approximately: singular values near 1."""
    tall = updates.shape[1] > updates.shape[2]
    x = updates.mT if tall else updates
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    a, b, c = _COEFFICIENTS
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    result: Tensor = x.mT if tall else x
    return result


class Muon(torch.optim.Optimizer):
    """For the matrices of the blocks only. Matrices of one shape are orthogonalised together.

    ``pieces`` says into how many equal row groups a matrix falls (a stacked query-key-value matrix into three).
    """

    def __init__(
        self,
        params: Iterable[tuple[torch.nn.Parameter, int]],
        lr: float,
        momentum: float = 0.95,
        weight_decay: float = 0.0,
    ) -> None:
        groups = [{"params": [parameter], "pieces": pieces} for parameter, pieces in params]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "pieces": 1})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Apply one update; gradients of zero everywhere leave a parameter to its weight decay."""
        by_shape: dict[tuple[int, int], list[tuple[Tensor, Tensor, float]]] = defaultdict(list)
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                momentum = self.state[parameter].setdefault("momentum", torch.zeros_like(parameter))
                momentum.lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(momentum, group["momentum"])
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                chunks = zip(parameter.chunk(group["pieces"]), update.chunk(group["pieces"]), strict=True)
                for target, piece in chunks:
                    by_shape[min(piece.shape), max(piece.shape)].append((target, piece, group["lr"]))
        for shape, jobs in by_shape.items():
            wide = torch.stack([piece if piece.shape == shape else piece.mT for _, piece, _ in jobs])
            for (target, piece, lr), direction in zip(jobs, orthogonalise(wide), strict=True):
                change = direction if piece.shape == shape else direction.mT
                # 0.2 * sqrt(longer side) gives updates the root mean square that AdamW's usually have.
                target.add_(change, alpha=-lr * 0.2 * max(shape) ** 0.5)
