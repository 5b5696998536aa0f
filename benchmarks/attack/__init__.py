"""Damaged and hostile files for every door: `python -m benchmarks.attack --minutes=5`.

Good files are made (`field`), then changed by chance (`changes`) or replaced by hostile ones (`networks`, `data`,
`runs`, `servers`, `shown`), and given to the commands inside of a forked child with limits on time, memory and file
size (`runner`). What may happen: status 0 or 2, at most one error line, no code of a file executed, which would leave
a mark, and nothing shown that a terminal or a browser would obey. All is a function of the seed but how many cases fit
into the minutes.
"""
