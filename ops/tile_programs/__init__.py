"""Programs for the native retrieval ops: steps, their text, and how ops of a graph become steps. `ops.scoring_program` joins the parts."""
