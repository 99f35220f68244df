"""The kfp component of the step `benchmark`."""

from kfp import dsl

from components.image import image


@dsl.component(base_image=image(), install_kfp_package=False)
def benchmark(
    converted_model: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    benchmark: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
    page: dsl.Output[dsl.HTML],
    config: dict,
    input_digest: str,
    code_digest: str,
    run_dir: str,
    start_from: str,
    overwrite: bool,
) -> str:
    """Measures latency and throughput of the exported graph. Returns the digest of its artifact."""
    from components.adapters import run_step

    return run_step("benchmark", locals())
