"""`plimsoll import` of scripts: what is certain is carried over as a shell would have it, and what is not is refused or named."""

from typing import Any

import pytest
from tests.plimsoll_operator.cli.importing import a_deployment, at, imported, said

from plimsoll_operator.cli.importing import Choices, Others, import_object

MODEL = "Qwen/Qwen3-8B"


def of_a_script(script: str, *arguments: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    """A container that runs it."""
    rows = [{"name": name, "value": value} for name, value in (env or {}).items()]
    return {"command": ["bash", "-c", script], "args": list(arguments), "env": rows}


CERTAIN: list[tuple[str, dict[str, Any]]] = [
    ("unquoted variables are split", of_a_script("vllm serve $MODEL $MORE", env={"MODEL": MODEL, "MORE": " --max-model-len 8192  "})),
    ("the script's own too", of_a_script(f"MORE='--max-model-len 8192'\nvllm serve {MODEL} $MORE")),
    ("all arguments", of_a_script('exec vllm serve "$@"', "--", MODEL, "--max-model-len", "8192")),
    ("one argument", of_a_script('vllm serve "$1" --max-model-len=$2', "sh", MODEL, "8192")),
    ("arguments that the script sets", of_a_script(f'set -- {MODEL} --max-model-len 8192\nvllm serve "$@"')),
    ("an array", of_a_script(f'ARGS=(--max-model-len\n 8192)\nARGS+=(--disable-log-stats)\nvllm serve {MODEL} "${{ARGS[@]}}"')),
    ("an array without members says nothing", of_a_script(f'A=()\nvllm serve {MODEL} "${{A[@]}}" --max-model-len 8192')),
    ("what is put in for nothing", of_a_script(f'vllm serve {MODEL} --max-model-len "${{LEN:-8192}}"')),
    ("also by another variable", of_a_script(f"vllm serve {MODEL} --max-model-len ${{LEN:-${{OTHER:-8192}}}}")),
    ("and where it is there", of_a_script(f"vllm serve {MODEL} ${{MORE:+--max-model-len $MORE}}", env={"MORE": "8192"})),
    ("more is added to a variable", of_a_script(f"A=--max-model-len\nA+='=8192'\nvllm serve {MODEL} $A")),
    ("a group", of_a_script(f"(vllm serve {MODEL} --max-model-len 8192 2>&1 | tee /log)")),
    ("a redirection in the middle", of_a_script(f"vllm serve {MODEL} >/log 2>&1 --max-model-len 8192")),
    ("text that is fed to another", of_a_script(f"cat > /x <<EOF\nvllm serve no/no\nEOF\nvllm serve {MODEL} --max-model-len 8192")),
    ("a branch before it", of_a_script(f"if [ ! -d /x ]; then mkdir /x; fi\nvllm serve {MODEL} --max-model-len 8192")),
    ("the kubelet's variables that name others", {
        "args": [MODEL, "--max-model-len=$(LEN)"], "env": [{"name": "N", "value": "19"}, {"name": "LEN", "value": "8$(N)2"}]}),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "container"), CERTAIN, ids=[row[0] for row in CERTAIN])
def test_what_a_shell_would_make_of_it_is_carried_over(sentence: str, container: dict[str, Any]) -> None:
    one = imported(a_deployment(container))
    assert at(one.manifest, "spec.model.name") == MODEL, sentence
    assert at(one.manifest, "spec.engine.maxModelLen") == 8192, said(one)


REFUSED: list[tuple[str, dict[str, Any], str]] = [
    ("one of two branches", of_a_script(f"if $BIG; then vllm serve a/b; else vllm serve {MODEL}; fi"), "several branches"),
    ("a script that it writes", of_a_script(f"cat > /x <<EOF\nvllm serve {MODEL}\nEOF\nbash /x"), "cannot be told beforehand"),
    ("a command in a variable", of_a_script(f'eval "vllm serve {MODEL}"'), "cannot be told beforehand"),
    ("a model that nobody knows", of_a_script('vllm serve "$MODEL"'), "names the model by $MODEL"),
    ("one that a branch sets", of_a_script(f"M=a/b\nif $BIG; then M={MODEL}; fi\nvllm serve $M"), "names the model by $M"),
    ("a quote that is not closed", of_a_script(f"vllm serve '{MODEL}"), "no closing quotation"),
    ("arguments as one text", {"args": f"--model {MODEL}"}, "is one text"),
    ("a flag and its value as one word", {"args": [f"--model {MODEL}"]}, "as one word"),
    ("a folder below another", {"command": ["vllm", "serve", "./model"]}, "a folder below another"),
]


@pytest.mark.parametrize(("sentence", "container", "words"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_is_not_certain_is_refused_by_name(sentence: str, container: dict[str, Any], words: str) -> None:
    assert words in str(import_object(a_deployment(container), Others.of([]), Choices()).refusal), sentence


NAMED: list[tuple[str, dict[str, Any], str]] = [
    ("a value that another program gives", of_a_script(f"vllm serve {MODEL} -tp $(nvidia-smi -L | wc -l)"), "-tp is not carried over"),
    ("a variable that a branch sets", of_a_script(f"L=1\n[ -z $X ] && L=2\nvllm serve {MODEL} --max-model-len $L"), "--max-model-len is"),
    ("a variable that a loop sets", of_a_script(f"for L in 1 2; do :; done\nvllm serve {MODEL} --max-model-len $L"), "--max-model-len is"),
    ("all arguments, of which nobody knows one", of_a_script(f'vllm serve {MODEL} "${{ARGS[@]}}"'), "${ARGS[@]} is not carried over"),
    ("a second server", of_a_script(f"vllm serve {MODEL} & vllm serve a/b --port 1 & wait"), "a second vllm serve is not carried over"),
    ("a branch with the only server", of_a_script(f"if true; then vllm serve {MODEL}; fi"), "is taken to be run"),
    ("a model that is named before another", {"args": [f"--model={MODEL}", "--model=a/b"]}, f"the model {MODEL} is not carried over"),
    ("another server of vLLM's", {"command": ["python", "-m", "vllm.entrypoints.api_server", "--model", MODEL]}, "answers /generate"),
]


@pytest.mark.parametrize(("sentence", "container", "words"), NAMED, ids=[row[0] for row in NAMED])
def test_what_is_left_out_of_a_script_is_named(sentence: str, container: dict[str, Any], words: str) -> None:
    assert words in said(imported(a_deployment(container))), sentence


def test_a_dollar_in_single_quotes_is_a_dollar() -> None:
    one = imported(a_deployment(of_a_script(f"vllm serve {MODEL} --chat-template '$HOME/x'")))
    assert list(at(one.manifest, "spec.engine.extraArgs")) == ["--chat-template=$HOME/x"]


EXPORTED: list[tuple[str, str, dict[str, str]]] = [
    ("what is exported", "export A=1; B=2; export C; C=3; D=4", {"A": "1"}),
    ("what is exported after it is set", "A=1; export A", {"A": "1"}),
    ("what stands before the server", "A=1", {}),
    ("what stands before another program", "A=1 mkdir x", {}),
]


@pytest.mark.parametrize(("sentence", "script", "env"), EXPORTED, ids=[row[0] for row in EXPORTED])
def test_the_engine_gets_the_variables_that_a_shell_would_give_it(sentence: str, script: str, env: dict[str, str]) -> None:
    one = imported(a_deployment(of_a_script(f"{script}\nE=5 vllm serve {MODEL}")))
    rows = {row["name"]: row.get("value") for row in at(one.manifest, "spec.template.env") or ()}
    assert rows == env | {"E": "5"}, sentence


GROWING: list[tuple[str, dict[str, Any]]] = [
    ("a variable that says itself twice", of_a_script("A=aaaaaaaa\n" + "A=$A$A\n" * 40 + f"vllm serve {MODEL} $A")),
    ("an array that does", of_a_script("A=(aaaaaaaa)\n" + 'A=("${A[@]}" "${A[@]}")\n' * 40 + f'vllm serve {MODEL} "${{A[@]}}"')),
    ("the kubelet's, in one word", {"args": ["--model=" + "$(A)" * 5000], "env": [{"name": "A", "value": "a" * 5000}]}),
    ("the kubelet's that name one another", {
        "args": [f"--model={MODEL}"], "env": [{"name": f"A{n}", "value": f"$(A{n - 1})" * 9 if n else "a"} for n in range(40)]}),
]  # fmt: skip


@pytest.mark.parametrize(("sentence", "container"), GROWING, ids=[row[0] for row in GROWING])
def test_what_grows_without_end_is_refused(sentence: str, container: dict[str, Any]) -> None:
    assert "characters" in str(import_object(a_deployment(container), Others.of([]), Choices()).refusal), sentence


@pytest.mark.parametrize(
    "text", ["${" * 5000 + "}" * 5000, "$(" * 5000 + ")" * 5000, "${A:-" * 5000 + "}" * 5000, "(" * 5000, "if " * 5000]
)
def test_a_script_may_be_nested_as_it_likes(text: str) -> None:
    import_object(a_deployment(of_a_script(f"{text}\nvllm serve {MODEL}")), Others.of([]), Choices())
