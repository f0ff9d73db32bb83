"""What Hydra cannot take gets the line to type; what it does not find, the pages that there are."""

from __future__ import annotations

import shlex

import pytest

from mscn_plugin.vissl import command_line
from mscn_plugin.vissl.config_hook import refusal

KEY = "config.CHECKPOINT.DIR"
PATHS = ("lr=0.1", "jürgen", "~/x", "a[1]", "{a", "a(b", "it's", 'say "it"', "a,b", "x;y", "a:b=c")


@pytest.mark.hydra
@pytest.mark.parametrize("path", PATHS)
def test_the_line_to_type_gives_the_text(registered, path):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    said = refusal(["config=mscn/quickstart", f"{KEY}={path}"])
    assert said.startswith(f"{KEY}={path} is not in Hydra's grammar")
    (typed,) = shlex.split(said.partition("for this text type ")[2])
    (override,) = OverridesParser.create().parse_overrides([typed])
    assert (override.get_key_element(), override.value()) == (KEY, path)


def test_a_value_that_the_shell_took_apart_is_put_together():
    said = command_line.about_grammar("runs", ["tool", f"{KEY}=my", "runs"])
    assert said.endswith(f"""type '{KEY}="my runs"'""")
    assert command_line.about_grammar("foo", ["tool", "config=mscn/quickstart", "foo"]) is None


@pytest.mark.hydra
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["config=mscn/quikstart"], ["did you mean mscn/quickstart?"]),
        (["config=test/cpu_test/test_cpu_regnet_mocoo"], ["test_cpu_regnet_moco?"]),
        (["config=mscn/byol", "+config/mscn/machine=gpu_2"], ["mean mscn/machine/gpu_"]),
        ([], ["no config is named: add config=<name>", "mscn/quickstart"]),
    ],
)
def test_the_nearest_config_is_named_or_all_are_listed(registered, arguments, words):
    said = refusal(arguments)
    assert all(word in said for word in words)
    assert "Config search path" not in said
    assert "mscn/machine/cpu" not in said.partition("Pages of")[2]


def test_help_of_vissls_tool(capsys):
    tool = "/somewhere/tools/run_distributed_engines.py"
    with pytest.raises(SystemExit) as end:
        command_line.print_help([tool, "--help"])
    assert end.value.code in (0, None)
    assert "config=<name>" in capsys.readouterr().out
    command_line.print_help([tool, "config=mscn/quickstart"])
    command_line.print_help(["/another/program.py", "--help"])


def test_only_vissls_tool_without_a_page_is_answered():
    tool = "/somewhere/tools/run_distributed_engines.py"
    assert command_line.names_no_config([tool])
    assert command_line.names_no_config([tool, "config=mscn/quikstart"])
    assert not command_line.names_no_config([tool, "config=mscn/quickstart"])
    assert not command_line.names_no_config([tool, "config=test/cpu_test/test_cpu_regnet_moco"])
    assert not command_line.names_no_config(["/another/program.py"])
