"""One plain function per pipeline step: paths, a frozen config and keyword-only scalars in, a `StepResult` out."""
