"""BYOL's loss over several masks per branch, and its target network (section 4.5, A.1).

The online network predicts, from each masked view, what the target network makes of the masked
views of the other branch; the target is an exponential moving average of the online network. The
loss owns the target network, as VISSL's MoCo loss owns its key encoder.

Shape shorthand: B images, K0 and K1 masks, D embedding size.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F

from mscn_plugin.errors import RunError
from mscn_plugin.losses.branches import check_shapes, split_by_branch
from mscn_plugin.losses.registry import EmbeddingLoss, register_loss
from mscn_plugin.masking.per_branch import NumMasks, masks_per_branch
from mscn_plugin.types import is_number

TARGET_INPUTS = ("masked", "unmasked")
_OF_THE_TASK = "config.TRAINER.TASK_NAME must be mscn_task, which builds and updates it"


def byol(predictions: list[list[Tensor]], projections: list[list[Tensor]]) -> Tensor:
    """Regression loss ``2 - 2 cos``, summed over both directions, averaged over pairs of masks.

    Each prediction of a branch is compared with every projection of the *other* branch, never
    with another mask of its own view. The mean cosine over K0 * K1 pairs is the product of the
    two branches' mean vectors, so that the cost grows with K0 + K1.

    Args:
        predictions: for each of the two branches a list of its masks' predictions ``[B, D]`` by
            the online network, of any length.
        projections: the same of the target network; it may have another number of masks. No
            gradient flows through them.

    Returns:
        The loss, a scalar from 0 (same directions) to 8 (opposite ones): the mean over images.

    Raises:
        ValueError: shapes differ.
    """
    check_shapes(*predictions, *projections)
    online, target = (
        [torch.stack([F.normalize(mask, dim=1) for mask in branch]).mean(dim=0) for branch in side]
        for side in (predictions, projections)
    )
    cosines = [(online[b] * target[1 - b].detach()).sum(dim=1) for b in (0, 1)]
    return (4 - 2 * (cosines[0] + cosines[1])).mean()


def target_momentum(update: int, num_updates: int, base: float, end: float = 1.0) -> float:
    """tau of one update: ``base`` at the first, ``end`` at the last, a cosine between (A.1).

    Args:
        update: number of the optimizer step that it comes after, from 0 to ``num_updates - 1``.
        num_updates: optimizer steps of the run.
        base: tau at the start; 0.996 in the paper.
        end: tau at the end; 1 in the paper.
    """
    progress = update / max(num_updates - 1, 1)
    return end - (end - base) * (math.cos(math.pi * progress) + 1) / 2


@torch.no_grad()
def ema_update(target: Iterable[Tensor], online: Iterable[Tensor], momentum: float) -> None:
    """Move ``target`` in place to ``momentum * target + (1 - momentum) * online``.

    As a step towards the online weights: towards the end of a run ``momentum`` rounds to 1 in
    float32, and a sum of two products, whose weights no longer add up to 1, would drift.
    """
    target = list(target)
    torch._foreach_add_(target, torch._foreach_sub(list(online), target), alpha=1 - momentum)


@register_loss("byol_loss")
class BYOLLoss(EmbeddingLoss):
    """BYOL (Grill et al. 2020) over the cross-branch pairs of masked views (section 4.5, A.1).

    The online network is VISSL's model: a trunk and, as heads, the projector and last the
    predictor. The target network is a copy of it without the predictor. It is never trained:
    an EMA update moves it after each optimizer step, and its weights are in the loss's state, not
    among the model's parameters.

    Batch normalization of the target uses the statistics of its own batch, as BYOL's own code
    does. Its running statistics are those of its own passes, not averages of the online
    network's: they describe the activations of the weights that they stand beside, so that the
    target can be evaluated. On several ranks they are the first rank's, as
    DistributedDataParallel keeps the online network's (with SyncBN all are the same).

    ``TargetNetworkHook`` calls the methods; it comes with ``TRAINER.TASK_NAME: mscn_task``.

    Args:
        num_masks: K, or ``[K0, K1]``; the collator's value.
        target_momentum: tau of the first update, at least 0 and below 1; it goes to
            ``target_momentum_end`` along a cosine. The paper's is 0.996 (A.1).
        target_input: ``"masked"``: the target sees the masked views that the online network sees,
            the literal reading of Figure 5; ``"unmasked"``: the views before masking, so that the
            online network predicts what it cannot see. Not stated in the paper.
        target_momentum_end: tau of the last update, from ``target_momentum`` to 1, the paper's
            (A.1). With both 0 the target has the online network's weights in every step: that is
            SimSiam's stop-gradient, with four times its loss.

    Raises:
        ValueError: a value is outside of its range; the message starts with its name.
    """

    def __init__(
        self,
        num_masks: NumMasks = 1,
        target_momentum: float = 0.996,
        target_input: str = "masked",
        target_momentum_end: float = 1.0,
    ) -> None:
        super().__init__()
        if not is_number(target_momentum) or not 0 <= target_momentum < 1:
            raise ValueError(
                f"target_momentum is {target_momentum!r}; it must be at least 0 and below 1"
            )
        if not is_number(target_momentum_end) or not target_momentum <= target_momentum_end <= 1:
            raise ValueError(
                f"target_momentum_end is {target_momentum_end!r}; it must be from target_momentum, "
                f"{target_momentum}, to 1"
            )
        if target_input not in TARGET_INPUTS:
            raise ValueError(
                f"target_input is {target_input!r}; it must be one of {list(TARGET_INPUTS)}"
            )
        self.num_masks = masks_per_branch(num_masks)
        self.target_momentum = float(target_momentum)
        self.target_momentum_end = float(target_momentum_end)
        self.target_input = target_input
        self.target: Any = None
        self.projections: Tensor | None = None
        self._restored: dict[str, Any] | None = None

    def build_target(self, model: Any) -> None:
        """Copy ``model``, a VISSL model, without its last head; then load a restored state.

        The copy has the model's device, memory format and kind of batch normalization.
        """
        target = copy.deepcopy(model, process_groups_of(model)).requires_grad_(False)
        target.heads, target.head_names = target.heads[:-1], target.head_names[:-1]
        self.target = target
        if self._restored is not None:
            self.load_state_dict(self._restored)
            self._restored = None

    def load_state_dict(self, state_dict: Mapping[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Restore the target; before it is built, keep ``state_dict`` until then.

        VISSL restores losses before the hooks start, and the target needs the model.
        """
        if self.target is None:
            self._restored = dict(state_dict)
            return None
        return super().load_state_dict(state_dict, *args, **kwargs)

    @property
    def target_masks(self) -> list[int]:
        """``[K0, K1]`` of the target's views."""
        return self.num_masks if self.target_input == "masked" else masks_per_branch(1)

    def _built_target(self) -> Any:
        if self.target is None:
            raise RunError(f"byol_loss has no target network: {_OF_THE_TASK}")
        return self.target

    @torch.no_grad()
    def project(self, views: Tensor | list[Tensor]) -> None:
        """Compute and keep the target's projections of ``views``, a batch as the model takes it.

        Raises:
            RunError: there is no target.
        """
        (self.projections,) = self._built_target()(views)

    def of_embeddings(self, embeddings: Tensor) -> Tensor:
        """The loss of the predictions ``[(K0 + K1) * B, D]``, float32.

        Raises:
            RunError: the target has not projected the batch.
        """
        if self.projections is None:
            raise RunError(f"byol_loss has no projections of its target network: {_OF_THE_TASK}")
        return byol(
            split_by_branch(embeddings, self.num_masks),
            split_by_branch(self.projections.float(), self.target_masks),
        )

    @torch.no_grad()
    def update_target(self, model: torch.nn.Module, update: int, num_updates: int) -> float:
        """Move the target towards ``model`` after optimizer step ``update`` of ``num_updates``.

        Returns:
            The momentum tau of this update.

        Raises:
            RunError: there is no target.
        """
        target = self._built_target()
        names, weights = zip(*target.named_parameters())
        online = dict(model.named_parameters())
        momentum = target_momentum(
            update, num_updates, self.target_momentum, self.target_momentum_end
        )
        ema_update(weights, (online[name] for name in names), momentum)
        if dist.is_initialized() and dist.get_world_size() > 1:
            broadcast(b for b in target.buffers() if b.is_floating_point())
        return momentum

    def extra_repr(self) -> str:
        return (
            f"num_masks={self.num_masks}, target_momentum={self.target_momentum}, "
            f"target_input={self.target_input!r}, target_momentum_end={self.target_momentum_end}"
        )


def process_groups_of(model: torch.nn.Module) -> dict[int, Any]:
    """The process groups of SyncBN layers, as a memo by which ``copy.deepcopy`` shares them.

    A process group is a connection between ranks and cannot be copied.
    """
    groups = (getattr(module, "process_group", None) for module in model.modules())
    return {id(group): group for group in groups if group is not None}


def broadcast(tensors: Iterable[Tensor]) -> None:
    """Give all ranks the first rank's values, in one message."""
    tensors = list(tensors)
    if not tensors:
        return
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    dist.broadcast(flat, src=0)
    for tensor, values in zip(tensors, flat.split([t.numel() for t in tensors])):
        tensor.copy_(values.view_as(tensor))
