from vnet.unkeptsources import keepNone

if not __debug__:
    # With python -O nobody debugs.
    keepNone()
