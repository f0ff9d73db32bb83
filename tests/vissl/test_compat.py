"""Each shim with what fails without it."""

from __future__ import annotations

import json
import sys
import warnings

import numpy as np
import pytest
from conftest import run_python

import mscn_plugin
from mscn_plugin import ConfigError
from mscn_plugin.vissl import compat
from mscn_plugin.warning_filters import quiet_warnings

MODERN_NUMPY = tuple(int(part) for part in np.__version__.split(".")[:2]) >= (2, 4)
CODE = {
    "mean AP meter": """
import torch
from vissl.meters.mean_ap_meter import MeanAPMeter
meter = MeanAPMeter({"num_classes": 2})
meter.update(torch.tensor([[0.9, 0.1], [0.2, 0.8]]), torch.tensor([[1, 0], [0, 1]]))
meter.sync_state()
assert abs(meter.value["mAP"] - 1) < 1e-6, meter.value
""",
    "SVM evaluation": """
import numpy as np
from vissl.utils.svm_utils.evaluate import get_precision_recall
precision, recall, score, ap = get_precision_recall(np.array([1, 0, 1]), np.array([3.0, 2.0, 1.0]))
matrix = np.zeros((1, 1))
matrix[0][0] = ap
assert abs(ap - (1 / 2 + 1 / 2 * 2 / 3)) < 0.1 and ap[0] == matrix[0, 0]
""",
    "SVM evaluation, aliases alone": """
import numpy as np
np.float = float
from vissl.utils.svm_utils.evaluate import get_precision_recall
np.zeros((1, 1))[0][0] = get_precision_recall(np.array([1, 0]), np.array([3.0, 2.0]))[3]
""",
    "R-MAC descriptors": """
import torch
from vissl.utils.instance_retrieval_utils.rmac import get_rmac_descriptors
assert torch.isfinite(get_rmac_descriptors(torch.rand(2, 4, 7, 7), 3)).all()
""",
}
ERRORS = {
    "mean AP meter": "module 'numpy' has no attribute 'float'",
    "SVM evaluation": "module 'numpy' has no attribute 'float'",
    "SVM evaluation, aliases alone": "setting an array element with a sequence",
    "R-MAC descriptors": "module 'numpy' has no attribute 'int'",
}


@pytest.fixture(scope="module")
def errors_of_plain_vissl():
    """What each use raises in a process without MSCN."""
    code = f"""
import json, vissl.data
errors = dict()
for use, code in {CODE!r}.items():
    try:
        exec(code, dict())
        errors[use] = ""
    except Exception as error:
        errors[use] = str(error)
print(json.dumps(errors))
"""
    return json.loads(run_python("-c", code).stdout.splitlines()[-1])


@pytest.mark.new_interpreter
@pytest.mark.skipif(not MODERN_NUMPY, reason="needed from NumPy 1.24 and 2.4 on")
@pytest.mark.parametrize("use", CODE)
def test_vissl_fails_without_and_works_with_the_shim(registered, errors_of_plain_vissl, use):
    assert ERRORS[use] in errors_of_plain_vissl[use]
    exec(CODE[use], {})


def test_average_precision_equals_vissls(registered):
    from vissl.utils.svm_utils import evaluate

    original = evaluate.calculate_ap.__wrapped__
    random = np.random.RandomState(0)
    recall, precision = np.sort(random.rand(20)), random.rand(20)
    assert float(evaluate.calculate_ap(recall, precision)) == float(original(recall, precision)[0])
    with pytest.raises(IndexError):
        evaluate.calculate_ap(recall, precision)[1]


def test_aliases_that_numpy_has_stay_as_they_are(monkeypatch):
    marker = object()
    monkeypatch.setattr(np, "float", marker, raising=False)
    compat.restore_numpy_aliases()
    assert np.float is marker


OUTDATED = [
    ("pkg_resources is deprecated as an API", "vissl.utils.misc"),
    ("The 'torchvision.transforms._functional_video' module is d", "torchvision.transforms.x"),
    ("`torch.jit.script` is deprecated. Please", "torch.jit._script"),
    ("`broadcast_buffers` is deprecated. Use", "classy_vision.generic.distributed_util"),
    ("Grad strides do not match bucket view strides. This", "torch.autograd.graph"),
    ("'pin_memory' argument is set as true but no accelerator is", "torch.utils.data.dataloader"),
]


@pytest.mark.parametrize(("message", "module"), OUTDATED)
def test_warnings_are_filtered_by_message_and_module(message, module):
    def shown(text: str, where: str) -> int:
        with warnings.catch_warnings(record=True) as caught:
            warnings.resetwarnings()
            quiet_warnings()
            warnings.warn_explicit(text, UserWarning, "file.py", 1, module=where)
        return len(caught)

    assert shown(message, module) == 0
    assert shown("something else", module) == 1
    assert shown(message, "users.module") == 1


def test_tensorboard_gets_the_trunks_rate_where_the_heads_is_another(registered):
    from vissl.hooks import tensorboard_hook

    assert tensorboard_hook.round([0.0123456, 0.5], 5) == 0.01235
    assert tensorboard_hook.round(0.0123456, 5) == 0.01235


def test_vissls_scheduler_flattens_results(registered):
    from vissl.utils.misc import flatten_dict

    assert flatten_dict({"a": {"b": 1}, "c": 2}) == {"a_b": 1, "c": 2}


def test_hooks_are_known_by_the_arguments_that_they_begin_with(registered, monkeypatch):
    from vissl.utils import hydra_config

    assert compat.unknown_hook() is None
    hook = "infer_and_assert_hydra_config"
    monkeypatch.setattr(hydra_config, hook, lambda cfg, engine_name: None)  # VISSL's main branch
    assert compat.unknown_hook() is None
    monkeypatch.setattr(hydra_config, hook, lambda bundle, cfg: None)
    assert f"{hook} takes (bundle, cfg), where VISSL 0.1.6" in compat.unknown_hook()
    monkeypatch.delattr(hydra_config, hook)
    assert f"{hook} is missing" in compat.unknown_hook()


@pytest.mark.parametrize(
    ("argument", "refused"),
    [
        ("config=mscn/quickstart", True),
        ("config.TRAINER.TASK_NAME=mscn_task", True),
        ("config=test/cpu_test/test_cpu_resnet_simclr", False),
        ("config.CHECKPOINT.DIR=/home/mscn/run", False),
    ],
)
def test_beside_unknown_hooks_vissls_own_configurations_are_left_alone(
    registered, monkeypatch, caplog, argument, refused
):
    from vissl.utils import hydra_config

    def theirs(bundle):
        return bundle

    monkeypatch.setattr(hydra_config, "infer_and_assert_hydra_config", theirs)
    monkeypatch.setattr(sys, "argv", ["tool", argument])
    if refused:
        with pytest.raises(ConfigError, match="cannot run with this VISSL"):
            mscn_plugin.register()
    else:
        mscn_plugin.register()
        assert caplog.text.count("cannot run with this VISSL; others are left alone") == 1
    assert hydra_config.infer_and_assert_hydra_config is theirs
