"""Studies: pictures, recipes and seeds, run, measured and reported.

::

    images.py       what the study looks at                record.py       what one run left behind
    spec.py         what is to be run                      store.py        where records are kept, safe from kills
    work.py         one run, carried out in a worker       study.py        all runs, over an executor
    measures.py     what a recovered prompt is worth       statistics.py   intervals, ranks, correlations
    report/         one page about all of it               tables.py       the same as CSV and Parquet

Nothing here imports torch; workers do.
"""
