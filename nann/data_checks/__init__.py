"""Statistics of a window of a log, and whether they are in the range of the windows before it. Numpy only; `nann.steps.check_data` reads
the dataset and writes the verdict."""
