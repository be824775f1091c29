"""Graph models of TensorFlow.js to ONNX: ``model.json`` holds TensorFlow's GraphDef, ``.bin`` files the weights.

The operators, https://www.tensorflow.org/api_docs/python/tf/raw_ops, are those of `tfjs_operators`; how NHWC becomes
NCHW is told in `nchw_graph`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from visavis.errors import InputError
from visavis.models.convert.nchw_graph import NchwGraph
from visavis.models.convert.tfjs_operators import ELEMENTWISE, OPERATORS, Attributes, Node
from visavis.models.convert.tfjs_weights import parse_json, read_weights

__all__ = ["graph_model"]

_MOST_NODES = 20_000


def graph_model(data: bytes, companions: Mapping[str, bytes] | None = None) -> bytes:
    """Return the ONNX file of a graph model: NCHW, float32, batch axis free.

    Parameters
    ----------
    data
        ``model.json``.
    companions
        Its binary files, by name.

    Returns
    -------
    A model whose input and outputs have the names of the graph's signature, without ``:0``.

    Raises
    ------
    InputError
        If it is not a graph model, files are missing or of another size, or it has an operator that is not known
        here; the message names that and its node.
    """
    model = parse_json(data)
    topology = model.get("modelTopology") if isinstance(model, dict) else None
    if not isinstance(topology, dict) or not isinstance(topology.get("node"), list) or "weightsManifest" not in model:
        raise InputError("not a TensorFlow.js graph model: it has no modelTopology.node and weightsManifest")
    weights = read_weights(model["weightsManifest"], companions or {})
    nodes = _by_name(topology["node"])
    graph = NchwGraph(weights)
    for node in _in_order(nodes):
        try:
            _add(graph, node)
        except InputError as error:
            raise InputError(f"node {node['name'][:80]!r} ({str(node['op'])[:40]}): {error}") from None
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            told = f"{type(error).__name__}: {error}"[:120]
            raise InputError(f"node {node['name'][:80]!r} ({str(node['op'])[:40]}) is malformed: {told}") from None
    return graph.finish(_outputs(model, nodes))


def _by_name(nodes: list[Any]) -> dict[str, Node]:
    if len(nodes) > _MOST_NODES:
        raise InputError(f"more than {_MOST_NODES} nodes: not a model for here")
    named: dict[str, Node] = {}
    for node in nodes:
        if not isinstance(node, dict) or not all(isinstance(node.get(key), str) for key in ("name", "op")):
            raise InputError("not a TensorFlow.js graph model: a node has no name or op")
        if node["name"] in named:
            raise InputError(f"two nodes are called {node['name'][:80]!r}")
        named[node["name"]] = node
    return named


def _sources(node: Node) -> list[str]:
    """Return the names of the nodes that a node reads."""
    names = node.get("input") or []
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InputError(f"node {node['name'][:80]!r} misstates its inputs")
    return [name.removesuffix(":0") for name in names if not name.startswith("^")]  # "^" only orders them


def _in_order(nodes: Mapping[str, Node]) -> list[Node]:
    """Return the nodes so that each comes after those it reads."""
    readers: dict[str, list[str]] = {name: [] for name in nodes}
    waiting: dict[str, int] = {}
    for name, node in nodes.items():
        sources = _sources(node)
        for source in sources:
            if source not in nodes:
                raise InputError(f"node {name[:80]!r} ({node['op'][:40]}) reads {source[:80]!r}, which does not exist")
            readers[source].append(name)
        waiting[name] = len(sources)
    ready = [name for name, count in waiting.items() if not count]
    for name in ready:  # grows as it goes
        for reader in readers[name]:
            waiting[reader] -= 1
            if not waiting[reader]:
                ready.append(reader)
    if len(ready) != len(nodes):
        raise InputError("the graph has a cycle: not a model that can be converted")
    return [nodes[name] for name in ready]


def _outputs(model: Mapping[str, Any], nodes: Mapping[str, Node]) -> dict[str, str]:
    """Return the names of the outputs, by node: those of the signature, else what nobody reads."""
    signature = model.get("signature") or (model.get("userDefinedMetadata") or {}).get("signature") or {}
    outputs = signature.get("outputs") if isinstance(signature, dict) else None
    if isinstance(outputs, dict) and outputs:
        try:
            named = {row["name"].removesuffix(":0"): name.removesuffix(":0") for name, row in outputs.items()}
        except (KeyError, TypeError, AttributeError):
            raise InputError("the signature misstates the model's outputs") from None
        for name in named:
            if name not in nodes:
                raise InputError(f"the signature names an output {name[:80]!r}, which is no node")
        return named
    read = {source for node in nodes.values() for source in _sources(node)}
    return {name: name for name, node in nodes.items() if name not in read and node["op"] != "Const"}


def _add(graph: NchwGraph, node: Node) -> None:
    """Add what a node computes to the graph; the nodes it reads have been added before."""
    op, name, sources = node["op"], node["name"], _sources(node)
    if op not in OPERATORS:
        raise InputError(f"an operator that is not known here; known are {', '.join(sorted(OPERATORS))}")
    if op in ELEMENTWISE and all(source in graph.constants for source in sources):
        values = [graph.constants[source] for source in sources]
        graph.take_room(4 * np.broadcast(*values).size)
        graph.constants[name] = np.asarray(ELEMENTWISE[op][1](*values))
        return
    OPERATORS[op](graph, node, sources, Attributes(node))
