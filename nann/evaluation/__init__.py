"""Evaluation: metrics of retrieved lists, simple baselines, and the runs of an exported graph that feed them.

`docs/evaluation.md` holds the definitions and the protocol. `metrics` and `recommenders` are numpy and scipy and import no TensorFlow.
"""
