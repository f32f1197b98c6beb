"""Where images come from: one file per source, each with

`Settings`; `LABEL_COLUMNS(settings)`: the label table's columns where they are known before the fetch, else None;
`check(settings)`: problems that show without a network; `root(settings, destination)`: the folder that readers scan;
`plan(settings, destination) -> FetchPlan`: what a fetch would do; `fetch(settings, destination, *, seed, progress) ->
FetchReport`; `PROGRESS_UNIT`: what `progress(done, total)` counts ("B" for bytes).
"""
