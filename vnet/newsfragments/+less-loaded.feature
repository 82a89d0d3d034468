A node needs 4 MB less: what speaks with relays, proxies, other firewalls and those who ask for names is loaded when it is needed; with `PYTHONOPTIMIZE=2` it needs 3.5 MB less again.
