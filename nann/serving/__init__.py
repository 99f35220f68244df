"""Answering requests from an exported model: where it lies, the form that loads here, one client in Python and one server over HTTP."""
