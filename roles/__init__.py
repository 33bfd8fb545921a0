"""One module a role, one function each; deploy.py calls them in order.

Importing them sets up the Python process of a run, which lives for about a second.
"""

import atexit
import gc
import sys

# pyinfra turns compiled modules off, to leave none beside the files that it executes. What those
# import would be compiled anew in every run; here Python does as the operator told it.
sys.dont_write_bytecode = bool(sys.flags.dont_write_bytecode)

# The memory of a process that ends goes as a whole: Python need not look for garbage in it.
atexit.register(gc.freeze)
