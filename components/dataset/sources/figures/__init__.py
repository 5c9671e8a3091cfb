"""Figures: charts of another dataset's labels, with what a paper would say of each."""
