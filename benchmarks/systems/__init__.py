"""The papers in miniature: one file a system, whose claim is declared before it is run.

    python -m benchmarks.systems              every claim that has changed since it was last run, then the page
    python -m benchmarks.systems dbl clip     these, whether they have changed or not
    python -m benchmarks.systems --page       docs/systems.md from what was found, nothing is run

`benchmarks/systems/NAME.py` is of the recipe NAME and holds `CLAIM` (claim.py): what the paper says, what of it
is tried here, on which data, against which baseline, by which metric, with what margin and which seeds, and the
function that measures both sides of one seed. Seeds and baseline are part of the file, so they are declared before
there is a figure; what was found is `found/NAME.json`, with the declaration it was found under, the commit and the
machine. A claim edited after its run is shown as not yet run. The words of a verdict are those of the house: a
difference over seeds and groups of items together, at 95%, and what the test could have seen.

A claim should take a minute. `Place` (place.py) shares data, columns and trained models between claims, so that
a baseline two claims have in common is trained once. What a recipe says of its own steps is read from it
(`of_recipe`), not said again; subsets.py draws as many pairs at random as rules keep.
"""
