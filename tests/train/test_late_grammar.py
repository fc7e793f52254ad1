"""The grammar of international addresses is built when one is checked, and checks as before."""

import subprocess
import sys

CODE = """
import sys
from mlops_pipelines.train.late_grammar import build_late
build_late()
import jsonschema
assert "lark" not in sys.modules, "built at once"
def valid(address):
    schema = {"type": "string", "format": "iri-reference"}
    checker = jsonschema.Draft7Validator.FORMAT_CHECKER
    return jsonschema.Draft7Validator(schema, format_checker=checker).is_valid(address)
assert valid("https://example.org/é")
assert not valid("https://exa mple.org/<>")
assert "lark" in sys.modules
import rfc3987_syntax
assert rfc3987_syntax.__file__
"""


def test_the_grammar_is_built_when_an_address_is_checked() -> None:
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_process_that_has_it_already_keeps_it() -> None:
    code = (
        "import rfc3987_syntax as it\nfrom mlops_pipelines.train.late_grammar import build_late\n"
    )
    code += "import sys\nbuild_late()\nassert sys.modules['rfc3987_syntax'] is it"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
