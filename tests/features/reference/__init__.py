"""The 72 features a second time, slowly, written from the specification alone: what `midas features` must equal.

Nothing of midas_ray/features is used but the order of the columns. Textbook formulas, exact sums of prints (`Fraction`)
and `math.fsum`; each window is looked at afresh. `clean` reads the tables, `buckets` knows coverage and windows,
`book`, `trades` and `windows` have the formulas, `features` compares.
"""
