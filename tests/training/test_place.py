"""Where a run goes on whose epochs had another number of steps before."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from mscn_plugin.training.place import PLACE_KEY, Place, place_of


@pytest.mark.parametrize(
    ("iteration", "epochs", "now", "place", "says"),
    [
        (1000, 10, 100, (10, 0), ""),
        (1000, 10, 200, (10, 0), "200 iterations now, and 100 in the checkpoint: rates"),
        (1000, 10, 50, (10, 0), "50 iterations now, and 100 in the checkpoint: rates"),
        (1000, 10, 99, (10, 0), "99 iterations now, and 100 in the checkpoint: rates"),
        (1051, 10, 100, (10, 51), ""),
        (1051, 10, 50, (10, 25), "the epoch resumes at its batch 25"),
        (1051, 10, 200, (10, 102), "the epoch resumes at its batch 102"),
        (1100, 10, 50, (10, 50), "the epoch resumes at its batch 50"),  # of its last step
        (30, 0, 50, (0, 15), "the epoch resumes at its batch 15"),
    ],
)
@pytest.mark.parametrize("vissls", [False, True])
def test_a_run_goes_on_at_the_same_share_of_its_epochs(
    iteration, epochs, now, place, says, vissls, caplog
):
    caplog.set_level("INFO")
    state = {} if vissls else {PLACE_KEY: {"step": iteration, "per_epoch": 100}}
    content = {"iteration": iteration, "train_phase_idx": epochs - 1, "classy_state_dict": state}
    within = iteration != 100 * epochs
    if vissls and within:  # nothing says of how many steps its epoch is
        place, says = (epochs, 0), f"it has {now} now, and starts over"
    assert place_of(content, now, within) == Place(*place, now)
    assert says in caplog.text
    assert bool(caplog.records) == bool(says)


def test_vissls_hooks_go_by_the_steps_of_now(registered, monkeypatch):
    from vissl.hooks.dino_hooks import DINOHook
    from vissl.hooks.state_update_hooks import FreezeParametersHook

    from mscn_plugin.training.task import _ours

    seen = []
    for vissls, moment in (
        (DINOHook, "on_forward"),
        (DINOHook, "on_update"),
        (FreezeParametersHook, "on_backward"),
    ):
        monkeypatch.setattr(vissls, moment, lambda _, task: seen.append(task.iteration))
        task = SimpleNamespace(iteration=1000, ahead=500)
        getattr(_ours(vissls()), moment)(task)
        assert (task.iteration, task.ahead) == (1000, 500)
    assert seen == [500, 500, 500]


def test_the_targets_momentum_goes_by_the_steps_of_now(registered):
    from mscn_plugin.training.hooks.target_network import TargetNetworkHook

    given = []
    loss = SimpleNamespace(update_target=lambda _, *steps: given.append(steps))
    settings = SimpleNamespace(LOG_FREQUENCY=7)
    task = SimpleNamespace(iteration=1000, ahead=500, max_iteration=5500, config=settings)
    task.loss, task.base_model = loss, torch.nn.Identity()
    TargetNetworkHook().on_update(task)
    assert given == [(500, 5000)]
