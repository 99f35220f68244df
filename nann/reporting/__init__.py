"""Reports: self-contained HTML pages with inline pictures, from the numbers that other steps wrote.

`svg` draws with one style, `figures` holds the pictures, `page` the page itself (template in `templates/`), `recall_sections` and
`quality_sections` parts that several pages show, and the modules named `..._page` decide what stands on each. Nothing here imports
TensorFlow.
"""
