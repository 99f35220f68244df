"""What is in service: versions of a model, and the pointer that says which of them is it."""
