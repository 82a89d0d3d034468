"""
Fuzzing of everything that reads bytes from outside: C{make fuzz}, or C{python -m vnet.test.fuzz}.

A L{target<vnet.test.fuzz.target.Target>} is a function of bytes that may raise L{vnet.errors.DecodeError} and
nothing else.  L{vnet.test.fuzz.registry} lists them.  An engine feeds them: atheris, which follows the coverage,
or a plain loop over L{vnet.test.fuzz.mutate}; L{vnet.test.test_fuzz} gives each a few hundred inputs in CI.
"""
