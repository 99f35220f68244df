"""The kfp component of the step `item-prior`."""

from kfp import dsl

from components.image import image


@dsl.component(base_image=image(), install_kfp_package=False)
def item_prior(
    converted_model: dsl.Input[dsl.Model],
    dataset: dsl.Input[dsl.Dataset],
    item_prior: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
    config: dict,
    input_digest: str,
    code_digest: str,
    run_dir: str,
    start_from: str,
    overwrite: bool,
) -> str:
    """Makes tables of items whose prior is what is read now and what is new. Returns the digest of its artifact."""
    from components.adapters import run_step

    return run_step("item-prior", locals())
