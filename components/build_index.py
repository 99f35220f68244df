"""The kfp component of the step `build-index`."""

from kfp import dsl

from components.image import image


@dsl.component(base_image=image(), install_kfp_package=False)
def build_index(
    embeddings: dsl.Input[dsl.Artifact],
    index: dsl.Output[dsl.Artifact],
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
    """Builds the HNSW graph over the item vectors. Returns the digest of its artifact."""
    from components.adapters import run_step

    return run_step("build-index", locals())
