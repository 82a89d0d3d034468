from vnet.unkeptsources import keepNone
from vnet.unusedmodules import forgetTests

forgetTests()
if not __debug__:
    # With python -O nobody debugs.
    keepNone()
