"""The kfp component of the step `extract`."""

from kfp import dsl

from components.image import image


@dsl.component(base_image=image(), install_kfp_package=False)
def extract(
    model: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    embeddings: dsl.Output[dsl.Artifact],
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
    """Computes the vectors of all items. Returns the digest of its artifact."""
    from components.adapters import run_step

    return run_step("extract", locals())
