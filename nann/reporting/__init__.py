"""Reports: self-contained HTML pages with inline pictures, from the numbers that other steps wrote.

`svg` draws with one style, `figures` holds the pictures, `page` the page itself (template in `templates/`), and
`evaluation_page`, `benchmark_page`, `run_page` decide what stands on each. Nothing here imports TensorFlow.
"""
