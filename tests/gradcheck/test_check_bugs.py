"""Each test plants one realistic bug, a changed line in the network's own source, and asks the checker to find it."""

import inspect
import textwrap
from dataclasses import dataclass
from types import FunctionType

import numpy as np
import pytest

from pipeline.gradcheck.check import check_gradients
from pipeline.nn import activations, costs, dropout, penalties
from pipeline.nn.initializers import initialize
from pipeline.nn.network import Architecture, Network, Regularization

ALL = {"W1", "b1", "W2", "b2", "W3", "b3"}
WEIGHTS, BIASES = {"W1", "W2", "W3"}, {"b1", "b2", "b3"}


@dataclass
class Bug:
    name: str
    function: FunctionType
    line: str
    instead: str
    wrong: set[str]  # the tensors that must be named, and no others
    activation: str = "tanh"
    output: str = "softmax"
    masked: bool = False
    random_b: bool = False  # invisible where b = 0: found by the preflight's second point
    note: str = ""  # what the report must say about it


backward, forward = Network._backward, Network._forward
BUGS = [
    Bug("1/m missing", costs.cross_entropy_gradient, "np.multiply(dZ, 1 / dZ.shape[-1], out=dZ)", "pass", ALL,
        note="m: a division by m is missing"),
    Bug("divided by m twice", costs.cross_entropy_gradient, "1 / dZ.shape[-1]", "1 / dZ.shape[1] ** 2", ALL,
        note="divided by m twice"),
    Bug("divided by the number of classes instead of m", costs.cross_entropy_gradient, "dZ.shape[-1]", "dZ.shape[0]",
        ALL),
    Bug("Y - A instead of A - Y", costs.cross_entropy_gradient, "np.subtract(A, Y, out=dZ)",
        "np.subtract(Y, A, out=dZ)",
        ALL, note="a sign"),
    Bug("sigmoid output with the sign of Y lost", costs.cross_entropy_gradient, "np.subtract(A, Y, out=dZ)",
        "np.add(A, Y, out=dZ)", ALL, output="sigmoid"),
    Bug("L2 forgotten in dW", penalties.add_l2_gradient, "np.add(gradient, scratch, out=gradient)", "pass", WEIGHTS,
        note="look at the L2 penalty"),
    Bug("λ/2m instead of λ/m", penalties.add_l2_gradient, "lambd / m", "lambd / (2 * m)", WEIGHTS,
        note="look at the L2 penalty"),
    Bug("L2 with the batch's m", Network._add_penalty_gradient, "r.lambd, r.m", "r.lambd, self.max_batch", WEIGHTS,
        note="look at the L2 penalty"),
    Bug("L2 on b as well", Network._add_penalty_gradient,
        "r, scratch = self.regularization, self._workspace.weights_scratch",
        "r, scratch = self.regularization, self._workspace.weights_scratch\n"
        "    for layer, db in gradients.b.items(): db += r.lambd / r.m * parameters.b[layer]", BIASES, random_b=True,
        note="· b3: look at the L2 penalty, which is on weights alone"),
    Bug("L1 without its sign", penalties.add_l1_gradient, "np.sign(weights, out=scratch)", "scratch[...] = 1", WEIGHTS),
    Bug("L1 with 1/m", penalties.add_l1_gradient, "lambd_l1 / (2 * m)", "lambd_l1 / m", WEIGHTS,
        note="look at the L1 penalty"),
    Bug("L1 forgotten in dW", penalties.add_l1_gradient, "np.add(gradient, scratch, out=gradient)", "pass", WEIGHTS,
        note="look at the L1 penalty"),
    Bug("db summed over both axes", backward, "views.dot(dZ, views.ones, out=gradients.b[layer])",
        "gradients.b[layer][...] = dZ.sum()", BIASES, note="look at layer 3 first: at db3 itself"),
    Bug("db summed over units", backward, "views.dot(dZ, views.ones, out=gradients.b[layer])",
        "gradients.b[layer][...] = dZ.sum(axis=0)[:len(dZ), None]", BIASES),
    Bug("db averaged once more", backward, "views.dot(dZ, views.ones, out=gradients.b[layer])",
        "gradients.b[layer][...] = dZ.mean(axis=1, keepdims=True)", BIASES, note="divided by m twice"),
    Bug("db of the first layer forgotten", backward, "views.dot(dZ, views.ones, out=gradients.b[layer])",
        "layer > 1 and views.dot(dZ, views.ones, out=gradients.b[layer])", {"b1"}),
    Bug("db added to the last step's", backward, "views.dot(dZ, views.ones, out=gradients.b[layer])",
        "gradients.b[layer][...] += dZ @ views.ones", BIASES),
    Bug("W not transposed", backward, "views.dot(dZ.mT, parameters.W[layer], out=dA.mT)",
        "views.dot(dZ.mT, parameters.W[layer].mT, out=dA.mT)",
        {"W1", "b1", "W2", "b2"}, note="look at layer 2 first: at dZ[2]"),
    Bug("W of the layer below", backward, "parameters.W[layer]", "parameters.W[layer - 1]", {"W1", "b1", "W2",
        "b2"}),
    Bug("activation's slope forgotten", backward, "self._activations[layer - 1].backward",
        "(lambda dA, A, G: None)", {"W1", "b1", "W2", "b2"}),
    Bug("ReLU's mask from the wrong layer", backward, "views.G[layer - 1])", "views.G[max(1, layer - 2)])",
        {"W1", "b1", "W2", "b2"}, activation="relu", note="look at layer 2 first: at dZ[2]"),
    Bug("ReLU's slope 1 everywhere", activations.piecewise_linear_backward, "np.multiply(dA, G, out=dA)", "pass",
        {"W1", "b1", "W2", "b2"}, activation="relu"),
    Bug("leaky ReLU's slope 0 below zero", activations.piecewise_linear_backward, "np.multiply(dA, G, out=dA)",
        "np.multiply(dA, G > 0.5, out=dA)", {"W1", "b1", "W2", "b2"}, activation="leaky_relu"),
    Bug("tanh' = 1 - A", activations.tanh_backward, "np.multiply(A, A, out=G)", "G[...] = A", {"W1", "b1", "W2", "b2"}),
    Bug("tanh' from Z instead of A", activations.tanh_backward, "np.multiply(A, A, out=G)",
        "np.multiply(np.arctanh(A), np.arctanh(A), out=G)", {"W1", "b1", "W2", "b2"}),
    Bug("sigmoid' = 1 - A", activations.sigmoid_backward, "np.multiply(A, G, out=G)", "pass", {"W1", "b1", "W2", "b2"},
        activation="sigmoid"),
    Bug("dropout's mask not applied again", dropout.backward, "np.multiply(dA, D, out=dA)", "pass",
        {"W1", "b1", "W2", "b2"}, masked=True),
    Bug("dropout not rescaled on the way back", dropout.backward, "np.multiply(dA, D, out=dA)",
        "np.multiply(dA, D != 0, out=dA)", {"W1", "b1", "W2", "b2"}, masked=True),
    Bug("dW from activations before dropout", backward,
        "views.dot(views.inputs[layer], dZ.mT, out=gradients.W[layer].mT)",
        "views.dot(views.Z[layer - 1] if layer > 1 else views.inputs[1], dZ.mT, out=gradients.W[layer].mT)",
        {"W2", "W3"}, masked=True, note="look at layer 3 first: at dW3 itself"),
    Bug("dW of the first layer from inputs before dropout", Network.cost_and_gradients,
        "self._backward(parameters, gradients, masks, views, w)",
        "views.inputs[1] = X; self._backward(parameters, gradients, masks, views, w)", {"W1"}, masked=True),
    Bug("dropout not rescaled forward", dropout.apply, "np.multiply(A, D, out=out)", "np.multiply(A, D != 0, out=out)",
        ALL, masked=True, note="The network's cost"),
    Bug("bias forgotten forward", forward, "np.add(Z, parameters.b[layer], out=Z)", "pass", set(),
        note="The network's cost at a random point"),
    Bug("the first batch kept for dW1", forward, "views.inputs[layer] = A",
        "views.inputs[layer] = A if layer != 1 else views.inputs.get(1, A.copy())", {"W1"}, note="Disagree: W1."),
    Bug("the first activations kept for dW2", forward, "views.inputs[layer] = A",
        "views.inputs[layer] = A if layer != 2 else views.inputs.get(2, A.copy())", {"W2"}, note="Disagree: W2."),
    Bug("the first slopes kept for dZ1", backward, "D = masks[layer - 1] if masks is not None else None",
        "D = None; G = views.__dict__.setdefault(f'G{layer}', views.G[layer - 1].copy())\n"
        "        views.G[layer - 1][...] = G if layer == 2 else views.G[layer - 1]",
        {"W1", "b1"}, activation="relu", note="Disagree: W1, b1."),
    Bug("the first mask kept on the way back", backward, "D = masks[layer - 1] if masks is not None else None",
        "D = views.__dict__.setdefault(f'D{layer}', None if masks is None else masks[layer - 1])",
        {"W1", "b1", "W2", "b2"}, masked=True, note="look at layer 2 first"),
    Bug("cost summed, not averaged", costs.softmax_cost, "/ Z.shape[-1]", "/ 1", set(), note="The network's cost at θ"),
    Bug("L2 cost without the half", penalties.l2_cost, "lambd / (2 * m)", "lambd / m", set(),
        note="The network's cost"),
    Bug("cost's penalty forgotten", Network.penalty, "r = self.regularization", "return 0.0", set(),
        note="The network's cost"),
]  # fmt: skip


def plant(monkeypatch, bug):
    """Change one line of a function in place, wherever it is already referred to."""
    source = textwrap.dedent(inspect.getsource(bug.function))
    assert source.count(bug.line) == 1, f"the line that this bug changes is gone: {bug.line}"
    scope = dict(bug.function.__globals__)
    exec(source.replace(bug.line, bug.instead), scope)
    monkeypatch.setattr(bug.function, "__code__", scope[bug.function.__name__].__code__)


def report_of(bug):
    n = 1 if bug.output == "sigmoid" else 4
    architecture = Architecture((4, 4, 4, n), (bug.activation,) * 2, bug.output)
    keep = {"keep_prob": (0.7, 0.6), "keep_prob_input": 0.8} if bug.masked else {}
    network = Network(architecture, Regularization(m=100, lambd=2.0, lambd_l1=3.0, **keep), max_batch=16)
    rng = np.random.default_rng(5)
    parameters = initialize(architecture, rng=rng)
    for b in parameters.b.values() if bug.random_b else ():
        b[...] = rng.standard_normal(b.shape)
    masks = network.draw_masks(16, rng) if bug.masked else None
    X, y = rng.standard_normal((4, 16)), rng.integers(0, architecture.num_classes, 16)
    return check_gradients(network, parameters, X, y, masks=masks, rng=rng)


@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name)
def test_planted_bug_is_caught_and_the_right_tensor_named(bug, monkeypatch):
    assert report_of(bug).verdict == "good"
    plant(monkeypatch, bug)
    report = report_of(bug)
    assert report.verdict in ("wrong", "suspect")
    assert {name for name, error in report.tensors.items() if error > 1e-7} == bug.wrong
    assert bug.note in " ".join(report.notes)
    if bug.wrong:
        assert report.worst[0][0].split("[")[0] in bug.wrong


def test_a_penalty_on_b_cannot_be_seen_where_b_is_0(monkeypatch):
    bug = next(bug for bug in BUGS if bug.name == "L2 on b as well")
    bug = Bug(bug.name, bug.function, bug.line, bug.instead, bug.wrong, random_b=False)
    plant(monkeypatch, bug)
    assert report_of(bug).verdict == "good"
