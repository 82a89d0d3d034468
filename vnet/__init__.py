"""
vnet: any computers on the Internet become one private LAN.
"""

__all__ = ["__version__"]

__version__ = "0.1.0"
