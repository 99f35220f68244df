import numpy as np
import pytest
import tensorflow as tf

from ops.graphdef import functions
from ops.graphdef.editing import constant, consumers, copy_of, in_order_of_names, redirect, rename_nodes
from ops.graphdef.importing import evaluate, import_graph, output_types
from ops.graphdef.names import is_control, node_of, renamed, tensor_name
from ops.graphdef.reach import downstream, part_of, upstream, upstream_names

v1 = tf.compat.v1


def small_graph():
    """x splits into halves a and b; total = a + b waits for the check of x; beside it a node that nothing reads."""
    with tf.Graph().as_default() as graph:
        x = v1.placeholder(tf.float32, [None, 4], name="x")
        check = tf.debugging.assert_all_finite(x, "finite", name="check")
        _, b = tf.split(x, 2, axis=1, name="halves")
        with tf.control_dependencies([check.op]):
            tf.add(tf.identity(x[:, :2], name="a"), b, name="total")
        tf.square(x, name="unread")
    return graph.as_graph_def()


@pytest.mark.parametrize(("name", "node", "control"), [("a", "a", False), ("a/b:2", "a/b", False), ("^a/b", "a/b", True)])
def test_names_of_inputs(name, node, control):
    assert (node_of(name), is_control(name)) == (node, control)
    assert renamed(name, {node: "new", "b": "other"}) == name.replace(node, "new")
    assert renamed(name, {"b": "other"}) == name


def test_a_part_has_what_its_nodes_depend_on_and_nothing_else():
    graph_def = small_graph()
    names = upstream_names(graph_def, ["total"])
    assert {"x", "halves", "a", "total"} <= names
    assert "unread" not in names
    assert any(name.startswith("check") for name in names), "control inputs count"
    part = part_of(graph_def, ["total"])
    assert [node.name for node in part.node] == [node.name for node in graph_def.node if node.name in names]
    feeds = {"x": np.arange(8, dtype=np.float32).reshape(2, 4)}
    np.testing.assert_array_equal(evaluate(part, ["total:0"], feeds), evaluate(graph_def, ["total:0"], feeds))


def test_ops_come_after_what_they_depend_on():
    graph = import_graph(small_graph())
    order = [op.name for op in upstream([graph.get_operation_by_name("total")])]
    assert set(order) == upstream_names(graph.as_graph_def(), ["total"])
    for op in map(graph.get_operation_by_name, order):
        assert all(order.index(tensor.op.name) < order.index(op.name) for tensor in op.inputs)
    assert downstream(graph.get_operations(), {"halves"}) == {"halves", "total"}


def test_the_order_of_nodes_does_not_matter_to_the_bytes():
    graph_def = small_graph()
    turned = copy_of(graph_def)
    del turned.node[:]
    turned.node.extend(reversed(graph_def.node))
    assert turned != graph_def
    assert in_order_of_names(turned).SerializeToString(deterministic=True) == in_order_of_names(graph_def).SerializeToString(
        deterministic=True
    )


def test_nodes_get_new_names_and_are_replaced():
    graph_def = small_graph()
    before = copy_of(graph_def)
    changed = rename_nodes(graph_def, {"halves": "parts", "x": "input"})
    assert graph_def == before
    assert consumers(changed)["parts"] == consumers(graph_def)["halves"] == 1
    value = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.testing.assert_array_equal(evaluate(changed, ["total:0"], {"input": value}), evaluate(graph_def, ["total:0"], {"x": value}))
    changed.node.append(constant("zeros", np.zeros((2, 2), np.float32)))
    redirect(changed, {"a": "zeros"})
    np.testing.assert_array_equal(evaluate(changed, ["total:0"], {"input": value})[0], value[:, 2:])


def test_types_are_known_inside_loops_of_version_1():
    with tf.Graph().as_default() as graph:
        v1.disable_control_flow_v2()
        try:
            x = v1.placeholder(tf.float32, [None, 3], name="x")
            _, found = tf.while_loop(lambda i, y: i < 2, lambda i, y: (i + 1, tf.nn.relu(y, name="body")), [0, x])
        finally:
            v1.enable_control_flow_v2()
        tf.identity(found, name="y")
    graph_def = graph.as_graph_def()
    [inside] = [node.name for node in graph_def.node if node.name.endswith("body")]
    for name in ("y", inside, tensor_name(inside)):
        [(shape, dtype)] = output_types(graph_def, [name])
        assert shape.as_list() == [None, 3]
        assert dtype == tf.float32


def test_functions_of_the_library_are_changed_too():
    @tf.function
    def doubled(x):
        return tf.nn.relu(x) * 2.0

    with tf.Graph().as_default() as graph:
        tf.identity(doubled(v1.placeholder(tf.float32, [2], name="x")), name="y")

    def without_relu(graph_def):
        result = copy_of(graph_def)
        for node in result.node:
            node.op = "Identity" if node.op == "Relu" else node.op
        return result

    changed = functions.with_new_names(functions.change_everywhere(graph.as_graph_def(), without_relu, {"Relu"}))
    np.testing.assert_array_equal(evaluate(changed, ["y:0"], {"x": np.array([-1, 3], np.float32)})[0], [-2, 6])
    assert functions.change_everywhere(changed, without_relu, {"Relu"}) is changed
