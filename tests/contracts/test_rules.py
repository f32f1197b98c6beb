"""The shape of the workflow: every rule is a complete form, every script an adapter, every environment complete."""

import ast
import re
import sys
from importlib.metadata import packages_distributions

import pytest
import yaml

from scanloom import code_dependencies, plugins

ROOT = code_dependencies.PACKAGE.parent
DIRECTIVES = ["input", "output", "log", "benchmark", "conda", "threads", "resources", "params", "script"]
# Snakemake's own machinery and the packages that only serve the other backend.
NOT_IN_ENVIRONMENTS = {"snakemake", "jax"}


def rules() -> dict[str, str]:
    found = {}
    for path in sorted((ROOT / "rules").glob("*.smk")):
        parts = re.split(r"^rule (\w+):\n", path.read_text(), flags=re.MULTILINE)
        found.update(zip(parts[1::2], parts[2::2], strict=True))
    return found


RULES = rules()
SCRIPTS = sorted((ROOT / "workflow_scripts").glob("*.py"))
ENV_OF = {name: re.search(r'conda:\s+"\.\./envs/(\w+)\.yaml"', text).group(1) for name, text in RULES.items()}


def test_there_are_rules():
    assert len(RULES) >= 10


@pytest.mark.parametrize("name", RULES)
def test_rule_is_a_complete_form_in_order(name):
    present = re.findall(r"^    (\w+):", RULES[name], flags=re.MULTILINE)
    needed = [d for d in DIRECTIVES if d != "input" or name != "download_dataset"]
    assert [d for d in present if d in DIRECTIVES] == needed
    assert f'"../workflow_scripts/{name}.py"' in RULES[name], "script = rule"
    assert re.search(rf'code=code_of\(\s*"{name}"', RULES[name]), "the rule must rerun when its code changes"
    assert f'"logs/{name}/' in RULES[name], "log folder = rule"
    assert "mem_mb=" in RULES[name]
    assert "runtime=" in RULES[name]


def test_every_script_belongs_to_a_rule():
    assert {path.stem for path in SCRIPTS} == set(RULES)


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.stem)
def test_script_is_a_short_adapter(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 60
    assert ast.get_docstring(ast.parse(text))
    assert "snakemake.config" not in text, "untracked: pass it through params"
    assert "log_to(snakemake.log[0])" in text


def test_rule_files_are_short_and_hold_no_functions():
    for path in (ROOT / "rules").glob("*.smk"):
        lines = path.read_text().splitlines()
        assert len(lines) <= 120, path.name
        if path.name != "common.smk":
            assert not [line for line in lines if line.startswith("def ")], path.name
    assert len((ROOT / "Snakefile").read_text().splitlines()) <= 60


def test_library_never_imports_snakemake():
    for path in (ROOT / "scanloom").rglob("*.py"):
        assert "snakemake" not in third_party_imports([path]), path


def third_party_imports(files) -> set[str]:
    """Top-level modules that the files import and that neither Python nor this project brings."""
    found = set()
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.level == 0:
                names = [node.module]
            found |= {name.split(".")[0] for name in names}
    if ROOT / "scanloom" / "lazy.py" in files:
        found.add("keras")
    return found - set(sys.stdlib_module_names) - {"scanloom"}


def files_of_rule(name: str) -> tuple:
    """Script, import closure, and every plug-in of the kinds that the rule's `code_of` names."""
    files = [ROOT / "workflow_scripts" / f"{name}.py"]
    call = RULES[name].split("code=code_of(", 1)[1]
    for kind in (
        "sources",
        "readers",
        "steps",
        "views",
        "encoders",
        "methods",
        "metrics",
        "explain",
        "report/sections",
    ):
        if re.search(rf'\b{kind}["=]', call.split("script:")[0]):
            files += [plugins.file_of(kind, plugin) for plugin in plugins.names(kind)]
    return code_dependencies.import_closure(*files)


def packages_of(env: str) -> set[str]:
    listed = yaml.safe_load((ROOT / "envs" / f"{env}.yaml").read_text())["dependencies"]
    pinned = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    return {pin.split("==")[0].lower() for pin in pinned}


@pytest.mark.parametrize("name", RULES)
def test_environment_lists_what_the_rule_imports(name):
    """Static; the slow group builds the environments for real."""
    listed = packages_of(ENV_OF[name])
    distributions = packages_distributions()
    for module in third_party_imports(files_of_rule(name)) - NOT_IN_ENVIRONMENTS:
        candidates = {d.lower().replace("_", "-") for d in distributions.get(module, [module])}
        assert candidates & listed, f"envs/{ENV_OF[name]}.yaml lacks {module} ({'/'.join(sorted(candidates))})"


def test_environments_pin_the_versions_of_the_lock():
    lock = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), flags=re.MULTILINE))
    for path in (ROOT / "envs").glob("*.yaml"):
        listed = yaml.safe_load(path.read_text())["dependencies"]
        for pin in next(entry["pip"] for entry in listed if isinstance(entry, dict)):
            package, version = pin.split("==")
            assert lock[package] == version, f"{path.name}: {pin}, but the lock has {lock[package]}"


def test_profiles_repeat_what_the_default_profile_sets():
    default = yaml.safe_load((ROOT / "profiles/default/profile.yaml").read_text())
    for path in (ROOT / "profiles").glob("*/profile.yaml"):
        assert set(default) <= set(yaml.safe_load(path.read_text())), path
