"""The kfp component of the step `train` on several machines."""

from kfp import dsl

from components.image import image


@dsl.component(base_image=image(), install_kfp_package=False)
def train(
    dataset: dsl.Input[dsl.Dataset],
    model: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
    summary: dsl.Output[dsl.Markdown],
    page: dsl.Output[dsl.HTML],
    config: dict,
    job: dict,
    input_digest: str,
    code_digest: str,
    run_dir: str,
    start_from: str,
    overwrite: bool,
    in_service: dsl.Input[dsl.Artifact] = None,
) -> str:
    """Trains the scorer on the workers of a Kubeflow training job. Returns the digest of its artifact."""
    from components.training_job import run_train_step

    return run_train_step(locals())
