"""Studies: pictures, recipes and seeds, run, measured and reported.

::

    images.py       what the study looks at                record.py         what one run left behind
    spec.py         what is to be run                      store.py          where records are kept, safe from kills
    work.py         one run, carried out in a worker       study.py          all runs, over an executor
    equal_cost.py   budgets that come to the same
    measures.py     which measures there are               measuring.py      the numbers of one prompt
    statistics.py   intervals, ranks, tests                summary.py        the numbers of a study
    set_distances.py  all pictures of a method at once     findings.py       what they say, in sentences
    report/         one page about all of it               tables.py         the same as CSV and Parquet

Nothing here imports torch; workers do.
"""
