"""Errors of frameworks and systems as a page may show them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scanloom.spoken_errors import LONGEST, spoken_error

KERAS = (  # Keras 3.15 for an image without channels
    "Exception encountered when calling Conv2D.call().\n\n\x1b[1mDepth of filter must not be 0 for 'x' with input "
    "shapes: [4,16,16,0], [3,3,0,4].\x1b[0m\n\nArguments received by Conv2D.call():\n  • inputs=tf.Tensor(shape=(4,))"
)
GRAPH = (  # TensorFlow 2.21 for a label that is no class
    "Graph execution error:\n\nDetected at node compile_loss/Sparse defined at (most recent call last):\n"
    '  File "/tmp/study/resource_check.py", line 233, in <module>\n\n'
    '  File "/home/anna b/.venv/lib/python3.11/site-packages/keras/src/ops/nn.py", line 2216, in sparse\n\n'
    "Received a label value of 9 which is outside the valid range of [0, 3).  Label values: 9 9\n"
    "\t [[{{node compile_loss/Sparse}}]] [Op:__inference_one_step_on_data_307]"
)
TRACED = (  # TensorFlow 2.21 while it traces a function
    'in user code:\n\n    File "/srv/anna/graph.py", line 3, in f  *\n'
    "        def f(x, n): return tf.reshape(x, [n, 7])\n\n"
    "    ValueError: Dimension size must be evenly divisible by 7 but is 10\n"
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (KERAS, "Depth of filter must not be 0 for 'x' with input shapes: [4,16,16,0], [3,3,0,4]."),
        (GRAPH, "Received a label value of 9 which is outside the valid range of [0, 3).  Label values: 9 9"),
        (TRACED, "ValueError: Dimension size must be evenly divisible by 7 but is 10"),
        (
            "{{function_node __wrapped__Uniform_device_/job:localhost/device:CPU:0}} OOM when allocating tensor",
            "OOM when allocating tensor",
        ),
        ("there is no file /home/anna/studies/absent.npz", "there is no file …/absent.npz"),
        ("No such file: '/home/anna b/my study/absent.npz'", "No such file: '…/absent.npz'"),
        (r"cannot read C:\Users\anna\absent.npz", "cannot read …/absent.npz"),
        ("~anna/studies/x.npz: truncated", "…/x.npz: truncated"),
        ("half/of/a path, 1/2 and https://keras.io/api/layers stay", None),
        ("batch = 1: Input should be greater than or equal to 2", None),
        ("KeyError: 'x'", None),
        ("", "no message"),
        ("\n  \n", "no message"),
    ],
)
def test_what_is_wrong_is_kept_and_where_it_happened_is_not(text, said):
    assert spoken_error(text) == (text if said is None else said)


@given(st.text())
def test_any_message_becomes_one_short_line_without_escapes(text):
    said = spoken_error(f"\x1b[1m{text}\x1b[0m")
    assert 0 < len(said) <= LONGEST
    assert len(said.splitlines()) == 1
    assert "\x1b[1m" not in said
