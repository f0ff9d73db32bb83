"""One pass per branch: batch normalization sees a branch at a time, in trunk and heads."""

from __future__ import annotations

import copy

import pytest
import torch

pytestmark = pytest.mark.usefixtures("registered")


@pytest.fixture
def models(compose, batch_folder):
    from vissl.models import build_model

    config = compose("config=mscn/byol_quickstart", f"config.MSCN.DATA={batch_folder}")
    torch.manual_seed(0)
    branchwise = build_model(config.MODEL, config.OPTIMIZER)
    config.MODEL.BASE_MODEL_NAME = "multi_input_output_model"
    vissl = build_model(config.MODEL, config.OPTIMIZER)
    vissl.load_state_dict(branchwise.state_dict())
    return branchwise, vissl


def test_each_branch_passes_as_if_it_were_alone(models):
    branchwise, vissl = models
    batch = [torch.randn(4, 3, 56, 56), torch.randn(12, 3, 56, 56) + 2]
    # Running statistics follow each pass, in order.
    alone = copy.deepcopy(vissl)
    expected = torch.cat([alone(views)[0] for views in batch])
    (output,) = branchwise(batch)
    assert torch.equal(output, expected)
    for name, tensor in alone.state_dict().items():
        assert torch.equal(branchwise.state_dict()[name], tensor), name
    assert not torch.allclose(vissl(torch.cat(batch))[0], expected, atol=1e-2)


def test_one_tensor_passes_as_in_vissl(models):
    branchwise, vissl = models
    views = torch.randn(6, 3, 56, 56)
    assert torch.equal(branchwise(views)[0], vissl(views)[0])


def test_gradients_are_those_of_two_passes(models):
    branchwise, vissl = models
    batch = [torch.randn(4, 3, 56, 56), torch.randn(4, 3, 56, 56) + 2]
    branchwise(batch)[0].square().sum().backward()
    sum(vissl(views)[0].square().sum() for views in batch).backward()
    for mine, theirs in zip(branchwise.parameters(), vissl.parameters()):
        torch.testing.assert_close(mine.grad, theirs.grad)
