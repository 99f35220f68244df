"""Load generation: clients around any request function, and what their latencies amount to. Imports no TensorFlow."""
