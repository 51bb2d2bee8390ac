"""The simulator: the production core and worker machine under a virtual clock, network and disk.

An oracle knows the real processes and checks Titan's promises. One seed draws everything: graphs,
workers, durations, exit codes and faults. The simulator never imports a shell.
"""
