"""The kfp component that tells how a run ended: the exit task of every pipeline, run after success and failure alike."""

from kfp import dsl

from components.image import image


@dsl.component(base_image=image(), install_kfp_package=False)
def summarise(status: dsl.PipelineTaskFinalStatus, summary: dsl.Output[dsl.Markdown], steps: list, run_dir: str, run_id: str) -> None:
    """Writes what became of the run: its steps, the reason of a failure, and the lineage of its last artifact down to the logs."""
    from components.run_end import tell_run_end

    tell_run_end(summary.path, run_dir=run_dir, steps=steps, state=status.state, error=status.error_message, run=run_id)
